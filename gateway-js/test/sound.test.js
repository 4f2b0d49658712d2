/** Risk: sound gets lost, shifted, aliased or clipped between microphone and frame. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PacedSource, splitVoices, WindowedSource } from '../src/file-source.js'
import { FIRST_FRAME_MS, FrameWatch } from '../src/frame-watch.js'
import { decodeFrame, encodeFrame } from '../src/frames.js'
import { Resampler, toPcm16 } from '../src/resample.js'
import { Ring } from '../src/ring.js'

/**
 * @param {number} rate
 * @param {number} hertz
 * @param {number} length
 */
function tone(rate, hertz, length) {
  return Float32Array.from({ length }, (_, at) => 0.5 * Math.sin((2 * Math.PI * hertz * at) / rate))
}

/** @param {Float32Array} sound */
function rms(sound) {
  return Math.sqrt(sound.reduce((sum, value) => sum + value * value, 0) / sound.length)
}

test('a frame is 12 bytes of little-endian header, then samples', () => {
  const frame = encodeFrame(3, 2 ** 40 + 5, Int16Array.of(1, -2))
  assert.deepEqual([...new Uint8Array(frame)], [1, 3, 0, 0, 5, 0, 0, 0, 0, 1, 0, 0, 1, 0, 254, 255])
  assert.deepEqual(decodeFrame(frame), { track: 3, position: 2 ** 40 + 5, samples: Int16Array.of(1, -2) })
})

test('a frame that was cut anywhere is refused', () => {
  const frame = encodeFrame(0, 0, Int16Array.of(1))
  for (const length of [0, 1, 11, 13]) assert.throws(() => decodeFrame(frame.slice(0, length)), RangeError)
})

for (const rate of [8000, 22050, 44100, 48000, 96000]) {
  test(`${rate} Hz becomes 16 kHz without a shift and without noise`, () => {
    const output = new Resampler(rate, 16000).push(tone(rate, 1000, rate))
    assert.ok(output.length > 15900 && output.length <= 16000)
    const middle = output.subarray(1000, 15000)
    const wanted = tone(16000, 1000, output.length).subarray(1000, 15000)
    const error = rms(middle.map((value, at) => value - (wanted[at] ?? 0)))
    assert.ok(error < 1e-4 * rms(wanted), `error ${error}`)
  })
}

test('what 16 kHz cannot hold is gone, not folded back', () => {
  for (const hertz of [8800, 10000, 15000, 20000]) {
    const output = new Resampler(48000, 16000).push(tone(48000, hertz, 48000)).subarray(500, 15000)
    assert.ok(rms(output) < 0.35e-4, `${hertz} Hz: ${rms(output)}`)
  }
})

test('any chunking gives the same samples', () => {
  const sound = tone(44100, 700, 20000)
  const whole = new Resampler(44100, 16000).push(sound)
  for (const size of [1, 127, 128, 1000, 4096]) {
    const resampler = new Resampler(44100, 16000)
    const parts = []
    for (let at = 0; at < sound.length; at += size)
      parts.push(...resampler.push(sound.subarray(at, at + size)))
    assert.deepEqual(Float32Array.from(parts), whole)
  }
})

test('what is too loud is clipped, not wrapped', () => {
  assert.deepEqual(
    toPcm16(Float32Array.of(1.5, -1.5, 0, 1, -1)),
    Int16Array.of(32767, -32768, 0, 32767, -32768),
  )
})

test('the ring gives back what it got, over its seam, after growing', () => {
  const ring = new Ring(10)
  ring.push(Int16Array.of(1, 2, 3, 4, 5, 6, 7))
  ring.discard(5)
  ring.push(Int16Array.of(8, 9, 10, 11, 12))
  assert.deepEqual(ring.read(5, 12), Int16Array.of(6, 7, 8, 9, 10, 11, 12))
  ring.grow(13)
  assert.deepEqual(ring.read(6, 12), Int16Array.of(7, 8, 9, 10, 11, 12))
})

test('a full ring lets the oldest go, counts it, and reads it as silence', () => {
  const ring = new Ring(4)
  assert.equal(ring.push(Int16Array.of(1, 2, 3)), 0)
  assert.equal(ring.push(Int16Array.of(4, 5, 6)), 2)
  assert.deepEqual(ring.read(0, 6), Int16Array.of(0, 0, 3, 4, 5, 6))
  assert.equal(ring.push(new Int16Array(9).fill(9)), 9)
  assert.deepEqual([ring.begin, ring.end, ring.lost], [11, 15, 11])
})

test('a file goes out as far as there is room, whole, and then stops once', () => {
  const source = new WindowedSource([new Int16Array(40000).fill(1), new Int16Array(30000).fill(2)])
  const got = [0, 0]
  let room = 20000
  let stops = 0
  const sink = {
    /** @param {number} track @param {Int16Array} samples */
    push(track, samples) {
      got[track] = (got[track] ?? 0) + samples.length
    },
    /** @param {number} track */
    room: track => room - (got[track] ?? 0),
    stop() {
      stops += 1
    },
  }
  source.feed(sink)
  assert.deepEqual([got, stops], [[20000, 20000], 0])
  room = 100000
  source.feed(sink)
  source.feed(sink)
  assert.deepEqual([got, stops], [[40000, 30000], 1])
})

test('the sample keeps the pace of life when a timer comes late, both voices together', () => {
  const source = new PacedSource([new Int16Array(16000), new Int16Array(15000)], 160)
  const got = [0, 0]
  let stopped = false
  /** @type {number[]} */
  const due = []
  const sink = {
    /** @param {number} track @param {Int16Array} samples */
    push(track, samples) {
      got[track] = (got[track] ?? 0) + samples.length
    },
    stop() {
      stopped = true
    },
  }
  const next = source.feed(sink, 500, (_, due_ms) => due.push(due_ms))
  assert.deepEqual([got, due, next], [[7680, 7680], [160, 320, 480], 140])
  assert.equal(
    source.feed(sink, 5000, () => {}),
    null,
  )
  assert.deepEqual([got, stopped], [[16000, 16000], true])
})

test('one voice on both sides of a stereo file is one track', () => {
  const left = tone(16000, 300, 1000)
  const right = tone(16000, 400, 1000)
  assert.equal(splitVoices([left, left.slice()]).length, 1)
  assert.equal(splitVoices([left, right]).length, 2)
  assert.equal(splitVoices([left, right, right]).length, 1)
  assert.equal(splitVoices([]).length, 0)
})

test('a microphone that stops delivering is noticed, one that is only slow to begin is not', () => {
  const watch = new FrameWatch(0)
  for (let now = 250; now <= FIRST_FRAME_MS; now += 250) assert.equal(watch.check(now), 'fine')
  watch.frame(0.1, 2000)
  assert.equal(watch.check(2250), 'fine')
  assert.equal(watch.check(2500), 'fine')
  assert.equal(watch.check(2750), 'no_frames')
})

test('a microphone that delivers nothing but zeros is noticed', () => {
  const watch = new FrameWatch(0)
  let verdict = 'fine'
  for (let now = 0; now <= 3250; now += 250) {
    watch.frame(0, now)
    verdict = watch.check(now)
  }
  assert.equal(verdict, 'only_zeros')
})

test('a page that was held up does not blame the microphone', () => {
  const watch = new FrameWatch(0)
  watch.frame(0.1, 100)
  assert.equal(watch.check(10_000), 'fine')
})
