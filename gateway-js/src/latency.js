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
import { commonEnds, plain, plainWords } from './tokens.js'

const OFFSETS_KEPT = 400 // a minute of 160 ms chunks
const LATENCIES_KEPT = 200

/**
 * One caption of an utterance: its words without case and punctuation, which make no other word of one.
 * @typedef {{at: number, words: string[], whole: boolean}} Shown `whole`: a draft, which has the words to the end
 */

export class WordLatency {
  constructor() {
    /** Time minus second, per chunk; newest last. @type {number[]} */
    this.offsets = []
    /** What open utterances showed and when. @type {Map<string, Shown[]>} */
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
    if (caption.type === 'partial') {
      const whole = caption.stable === caption.text.length
      history.push({ at: now, words: plainWords(caption.text), whole })
      this.shown.set(key, history)
      return
    }
    history.push({ at: now, words: caption.words.map(({ word }) => plain(word)), whole: true })
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
 * When word `at` of the final was first shown with all before it as they stayed. A draft has all words, so what the
 * second pass corrects in it leaves the words before and behind as they were.
 * @param {Shown[]} history last entry: the final
 * @param {number} at
 */
function shownAt(history, at) {
  const final = history.at(-1)
  if (final === undefined) throw new RangeError('no caption was shown')
  let { at: since, words: settled } = final
  let place = at
  for (const { at: time, words, whole } of history.slice(0, -1).reverse()) {
    const { head, tail } = commonEnds(words, settled)
    if (place >= head) {
      if (!whole || place < settled.length - tail) return since
      place += words.length - settled.length
    }
    if (whole) settled = words
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
