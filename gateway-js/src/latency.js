/**
 * `word` latency as MEASURING 1 defines it, on the sender's own clock: from the end of a word in the sound to the
 * first caption that showed it and was not revised afterwards.
 *
 * The clock is fixed by the sound itself: a chunk that ends at second S and is there at time T says that second S was
 * spoken at T or earlier, so the earliest such offset within the last minute is the one that counts. Queues in the
 * page make an offset later, never earlier, and a slow server cannot move it at all.
 */

/** @import {Final, Partial} from './messages.js' */

import { CAPTION_RATE } from './messages.js'

const OFFSETS_KEPT = 400 // a minute of 160 ms chunks
const LATENCIES_KEPT = 200

export class WordLatency {
  constructor() {
    /** Time minus second, per chunk; newest last. @type {number[]} */
    this.offsets = []
    /** What open utterances showed and when. @type {Map<string, {at: number, words: string[]}[]>} */
    this.shown = new Map()
    /** Newest last, in milliseconds. @type {number[]} */
    this.latencies = []
  }

  /**
   * A chunk of sound is there.
   * @param {number} end_s where it ends, in seconds since the track began
   * @param {number} now milliseconds
   */
  heard(end_s, now) {
    this.offsets.push(now - end_s * 1000)
    if (this.offsets.length > OFFSETS_KEPT) this.offsets.shift()
  }

  /**
   * A caption is on the screen.
   * @param {Partial | Final} caption
   * @param {number} now milliseconds
   */
  seen(caption, now) {
    const key = `${caption.track}.${caption.utterance}`
    const history = this.shown.get(key) ?? []
    history.push({ at: now, words: caption.text.split(/\s+/).filter(Boolean) })
    if (caption.type === 'partial') {
      this.shown.set(key, history)
      return
    }
    this.shown.delete(key)
    const offset = Math.min(...this.offsets)
    if (!Number.isFinite(offset)) return
    for (const [at, word] of caption.words.entries()) {
      const spoken = offset + (word.end / CAPTION_RATE) * 1000
      this.latencies.push(shownAt(history, at) - spoken)
    }
    this.latencies.splice(0, this.latencies.length - LATENCIES_KEPT)
  }

  /**
   * @returns {{p50: number, p95: number, count: number} | null} milliseconds; null before the first word
   */
  summary() {
    if (this.latencies.length === 0) return null
    const sorted = [...this.latencies].sort((a, b) => a - b)
    return { p50: quantile(sorted, 0.5), p95: quantile(sorted, 0.95), count: sorted.length }
  }
}

/**
 * When word `at` of the final was first shown with all before it as they stayed.
 * @param {{at: number, words: string[]}[]} history last entry: the final
 * @param {number} at
 */
function shownAt(history, at) {
  const settled = history.at(-1)
  if (settled === undefined) throw new RangeError('no caption was shown')
  let since = settled.at
  for (const { at: time, words } of history.toReversed()) {
    for (let word = 0; word <= at; word++) if (words[word] !== settled.words[word]) return since
    since = time
  }
  return since
}

/**
 * The nearest-rank quantile.
 * @param {number[]} sorted ascending, not empty
 * @param {number} share 0 to 1
 */
export function quantile(sorted, share) {
  return /** @type {number} */ (sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)])
}
