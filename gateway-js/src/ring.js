/**
 * The client's memory of what it may have to send again: one track's samples from `committed` on.
 *
 * Bounded: when the server stays away so long that it is full, the oldest samples give way and count as lost.
 * A stretch that was lost is read as silence, so that the call keeps one timeline (PAINS 7).
 */

/** @import {ClientPosition} from './messages.js' */

export class Ring {
  /** @param {number} capacity in samples */
  constructor(capacity) {
    /** First sample still held. @type {ClientPosition} */
    this.begin = 0
    /** After the last sample that came. @type {ClientPosition} */
    this.end = 0
    /** Samples that gave way before the server had committed them. */
    this.lost = 0
    this.memory = new Int16Array(capacity)
  }

  get capacity() {
    return this.memory.length
  }

  /**
   * Makes it larger, keeping what it holds; never smaller.
   * @param {number} capacity in samples
   */
  grow(capacity) {
    if (capacity <= this.capacity) return
    const held = this.read(this.begin, this.end)
    this.memory = new Int16Array(capacity)
    this.write(this.begin, held)
  }

  /**
   * Takes the next samples.
   * @param {Int16Array} samples
   * @returns {number} how many older samples gave way
   */
  push(samples) {
    const kept = samples.length > this.capacity ? samples.subarray(samples.length - this.capacity) : samples
    const end = this.end + samples.length
    this.write(end - kept.length, kept)
    const begin = Math.max(this.begin, end - this.capacity)
    const gaveWay = begin - this.begin
    this.begin = begin
    this.end = end
    this.lost += gaveWay
    return gaveWay
  }

  /**
   * Forgets what the server has committed.
   * @param {ClientPosition} before
   */
  discard(before) {
    this.begin = Math.min(Math.max(this.begin, before), this.end)
  }

  /**
   * Reads `[begin, end)`; what gave way comes as silence.
   * @param {ClientPosition} begin
   * @param {ClientPosition} end not beyond `this.end`
   * @returns {Int16Array} a copy
   */
  read(begin, end) {
    if (begin > end || end > this.end)
      throw new RangeError(`read [${begin}, ${end}) of ring ending ${this.end}`)
    const samples = new Int16Array(end - begin)
    for (let position = Math.max(begin, this.begin); position < end; ) {
      const at = position % this.capacity
      const length = Math.min(this.capacity - at, end - position)
      samples.set(this.memory.subarray(at, at + length), position - begin)
      position += length
    }
    return samples
  }

  /**
   * @param {ClientPosition} position
   * @param {Int16Array} samples at most the capacity
   */
  write(position, samples) {
    for (let done = 0; done < samples.length; ) {
      const at = (position + done) % this.capacity
      const length = Math.min(this.capacity - at, samples.length - done)
      this.memory.set(samples.subarray(done, done + length), at)
      done += length
    }
  }
}
