/**
 * Binary frames: 12 bytes of header, then 16-bit PCM, all little-endian.
 *
 *     0        1        2        4                                12
 *     | version| track  | flags  | position of the first sample   | samples …
 */

/** @import {ClientPosition} from './messages.js' */

export const FRAME_VERSION = 1
export const HEADER_BYTES = 12

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/**
 * Makes one audio frame.
 *
 * @param {number} track
 * @param {ClientPosition} position of the first sample
 * @param {Int16Array} samples
 * @returns {ArrayBuffer} of its own, safe to hand to a socket
 */
export function encodeFrame(track, position, samples) {
  const frame = new ArrayBuffer(HEADER_BYTES + samples.length * 2)
  const view = new DataView(frame)
  view.setUint8(0, FRAME_VERSION)
  view.setUint8(1, track)
  view.setUint16(2, 0, true)
  view.setBigUint64(4, BigInt(position), true)
  if (LITTLE_ENDIAN) new Int16Array(frame, HEADER_BYTES).set(samples)
  else for (const [at, sample] of samples.entries()) view.setInt16(HEADER_BYTES + at * 2, sample, true)
  return frame
}

/**
 * Reads an audio frame (servers in tests).
 *
 * @param {ArrayBuffer} frame
 * @returns {{track: number, position: ClientPosition, samples: Int16Array}}
 * @throws {RangeError} where it is no frame of this version
 */
export function decodeFrame(frame) {
  const sound = frame.byteLength - HEADER_BYTES
  if (sound < 0 || sound % 2) throw new RangeError(`no audio frame: ${frame.byteLength} bytes`)
  const view = new DataView(frame)
  if (view.getUint8(0) !== FRAME_VERSION) throw new RangeError(`frame version ${view.getUint8(0)}`)
  if (view.getUint16(2, true) !== 0) throw new RangeError(`frame flags ${view.getUint16(2, true)}`)
  const position = view.getBigUint64(4, true)
  if (position > 2n ** 53n) throw new RangeError(`frame position ${position}`)
  const samples = new Int16Array(sound / 2)
  for (let at = 0; at < samples.length; at++) samples[at] = view.getInt16(HEADER_BYTES + at * 2, true)
  return { track: view.getUint8(1), position: Number(position), samples }
}
