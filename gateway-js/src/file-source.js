/**
 * A recording as PCM, and two ways to send it: as fast as the window allows, or at the pace of life.
 */

import { toPcm16 } from './resample.js'

export const FILE_RATE = 16000
const PUSH_S = 1

/**
 * @typedef {object} Recording
 * @property {Int16Array[]} tracks    one voice each
 * @property {number} duration_s
 * @property {AudioBuffer} sound      to be played
 */

/**
 * Decodes whatever the browser can play. Two different channels are two voices; a recording with one voice on both
 * sides, or with more than two channels, is mixed into one.
 *
 * @param {ArrayBuffer} bytes is detached by it
 * @returns {Promise<Recording>}
 * @throws {DOMException} EncodingError where it is no sound
 */
export async function decodeRecording(bytes) {
  // An offline context decodes to its own rate, with the browser's own resampler.
  const sound = await new OfflineAudioContext(1, 1, FILE_RATE).decodeAudioData(bytes)
  const channels = Array.from({ length: sound.numberOfChannels }, (_, channel) =>
    sound.getChannelData(channel),
  )
  return { tracks: splitVoices(channels).map(toPcm16), duration_s: sound.duration, sound }
}

/**
 * @param {Float32Array[]} channels
 * @returns {Float32Array[]} one or two voices
 */
export function splitVoices(channels) {
  const [left, right] = channels
  if (left === undefined) return []
  if (right === undefined) return [left]
  if (channels.length === 2) return sameSound(left, right) ? [left] : [left, right]
  const mono = new Float32Array(left.length)
  for (const channel of channels) {
    for (let at = 0; at < mono.length; at++) {
      mono[at] = /** @type {number} */ (mono[at]) + /** @type {number} */ (channel[at]) / channels.length
    }
  }
  return [mono]
}

/**
 * @param {Float32Array} left
 * @param {Float32Array} right
 */
function sameSound(left, right) {
  let difference = 0
  let power = 0
  for (let at = 0; at < left.length; at++) {
    const a = /** @type {number} */ (left[at])
    const b = /** @type {number} */ (right[at])
    difference += (a - b) ** 2
    power += a * a + b * b
  }
  return difference <= power * 1e-4
}

/**
 * Where a recording goes.
 * @typedef {object} Sink
 * @property {(track: number, samples: Int16Array) => void} push
 * @property {(track: number) => number} room
 * @property {() => void} stop
 */

/** Sends as fast as the window allows: `feed` after every ack. */
export class WindowedSource {
  /** @param {Int16Array[]} tracks */
  constructor(tracks) {
    this.tracks = tracks
    this.sent = tracks.map(() => 0)
    this.done = false
  }

  /**
   * Pushes what there is room for; stops the session behind the last sample.
   * @param {Sink} sink
   */
  feed(sink) {
    if (this.done) return
    for (const [number, samples] of this.tracks.entries()) {
      for (;;) {
        const from = this.sent[number] ?? 0
        const length = Math.min(sink.room(number), PUSH_S * FILE_RATE, samples.length - from)
        if (length <= 0) break
        sink.push(number, samples.subarray(from, from + length))
        this.sent[number] = from + length
      }
    }
    this.done = this.tracks.every((samples, number) => this.sent[number] === samples.length)
    if (this.done) sink.stop()
  }
}

/** Sends at the pace of life, by a clock and not by counting timers: a late timer catches up. */
export class PacedSource {
  /**
   * @param {Int16Array[]} tracks
   * @param {number} chunk_ms
   */
  constructor(tracks, chunk_ms) {
    this.tracks = tracks
    this.chunk = (FILE_RATE * chunk_ms) / 1000
    this.sent = 0
    this.length = Math.max(0, ...tracks.map(samples => samples.length))
  }

  /**
   * Pushes all chunks that are complete by now.
   * @param {Pick<Sink, 'push' | 'stop'>} sink
   * @param {number} elapsed_ms since it began
   * @param {(end_s: number, due_ms: number) => void} onChunk each chunk's end, and when it was due
   * @returns {number | null} milliseconds to the next chunk; null when all is sent
   */
  feed(sink, elapsed_ms, onChunk) {
    for (;;) {
      const end = Math.min(this.sent + this.chunk, this.length)
      const due_ms = (end / FILE_RATE) * 1000
      if (due_ms > elapsed_ms) return due_ms - elapsed_ms
      for (const [number, samples] of this.tracks.entries())
        sink.push(number, padded(samples, this.sent, end))
      this.sent = end
      onChunk(end / FILE_RATE, due_ms)
      if (end === this.length) {
        sink.stop()
        return null
      }
    }
  }
}

/**
 * @param {Int16Array} samples
 * @param {number} begin
 * @param {number} end
 */
function padded(samples, begin, end) {
  const part = new Int16Array(end - begin)
  part.set(samples.subarray(begin, end))
  return part
}
