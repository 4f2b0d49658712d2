/** What a client keeps of one track until it is final: sound, marks and pauses, and how far they were sent. */

import { Ring } from './ring.js'

/** @import {ClientPosition, Configure, Finalize, Pause, Settings, Stop, Unpause} from './messages.js' */

/** What the ring holds beyond the window: a segment (20 s) and the time of a reconnect. */
export const RING_BEYOND_WINDOW_S = 30

/**
 * What has to reach the server between two samples.
 * @typedef {object} Mark
 * @property {Configure | Finalize | Pause | Unpause | Stop} message
 * @property {ClientPosition} at
 * @property {boolean} sent
 * @property {number} configures  of a `configure`, how many the session has had with it; else 0
 */

export class Track {
  /**
   * @param {number} number
   * @param {number} rate      samples a second
   * @param {number} window_s  until the server says otherwise
   */
  constructor(number, rate, window_s) {
    this.number = number
    this.rate = rate
    this.ring = new Ring((window_s + RING_BEYOND_WINDOW_S) * rate)
    /** Next sample to send. @type {ClientPosition} */
    this.cursor = 0
    /** @type {ClientPosition} */
    this.received = 0
    /** @type {ClientPosition} */
    this.committed = 0
    /** @type {ClientPosition} */
    this.window_end = window_s * rate
    /** In order. @type {Mark[]} */
    this.marks = []
    /** Whether it was ever paused: then the server hears, wherever sound is sent again from, how it stood there. */
    this.wasPaused = false
    /** Muted stretches; the last one may be open. @type {{begin: ClientPosition, end: ClientPosition | null}[]} */
    this.pauses = []
  }

  get paused() {
    return this.pauses.at(-1)?.end === null
  }

  /**
   * Takes the next samples; of what is said while it is paused, the length alone.
   * @param {Int16Array} samples
   * @returns {number} how many older samples gave way
   */
  push(samples) {
    return this.ring.push(this.paused ? new Int16Array(samples.length) : samples)
  }

  /** @param {'finalize' | 'pause' | 'resume' | 'stop'} type */
  mark(type) {
    this.marks.push({ message: { type, track: this.number }, at: this.ring.end, sent: false, configures: 0 })
  }

  /**
   * @param {Settings} settings
   * @param {number} configures  how many the session has had with this one
   */
  configure(settings, configures) {
    const message = /** @type {const} */ ({ type: 'configure', track: this.number, ...settings })
    this.marks.push({ message, at: this.ring.end, sent: false, configures })
  }

  pause() {
    if (this.paused) return
    this.wasPaused = true
    this.pauses.push({ begin: this.ring.end, end: null })
    this.mark('pause')
  }

  resume() {
    const last = this.pauses.at(-1)
    if (last === undefined || last.end !== null) return
    last.end = this.ring.end
    this.mark('resume')
  }

  /** @param {ClientPosition} position */
  pausedAt(position) {
    return this.pauses.some(({ begin, end }) => begin <= position && (end === null || position < end))
  }

  /**
   * What the server is told where sound is sent again from; null where a mark that stands there tells it.
   * @returns {Pause | Unpause | null}
   */
  stateAtCursor() {
    const told = this.marks.some(
      ({ message: { type }, at }) => at === this.cursor && (type === 'pause' || type === 'resume'),
    )
    if (!this.wasPaused || told) return null
    return { type: this.pausedAt(this.cursor) ? 'pause' : 'resume', track: this.number }
  }

  /** What was changed before the cursor and is not final yet. @returns {Settings} */
  settingsBeforeCursor() {
    /** @type {Settings} */
    let settings = {}
    for (const { message, at } of this.marks) {
      if (message.type !== 'configure' || at >= this.cursor) continue
      const { type, track, ...changed } = message
      settings = { ...settings, ...changed }
    }
    return settings
  }

  /**
   * All before `committed` is final: it is never sent again.
   * @param {ClientPosition} committed
   * @returns {Mark[]} those that are final with it, and forgotten
   */
  commit(committed) {
    this.committed = Math.max(this.committed, committed)
    this.ring.discard(this.committed)
    /** @param {Mark} mark */
    const kept = ({ message, at, sent }) => message.type === 'stop' || !sent || at > this.committed
    const gone = this.marks.filter(mark => !kept(mark))
    this.marks = this.marks.filter(kept)
    this.pauses = this.pauses.filter(({ end }) => end === null || end > this.ring.begin)
    return gone
  }

  /**
   * Sound goes out again from `next` on, and so do the marks that stand there or later: whether the server had one
   * that stands exactly at `next` cannot be known, and it recognises one that it had.
   * @param {ClientPosition} next
   */
  moveCursor(next) {
    this.cursor = next
    for (const mark of this.marks) if (mark.at >= next) mark.sent = false
  }
}
