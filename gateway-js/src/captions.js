/**
 * What has been said so far: finals that stay and, per track, utterances that are still open.
 *
 * A pure model. `live-captions.js` draws it, `transcript.js` writes it down. It keeps PAINS 10 away from both: a
 * partial of a final utterance, an older revision and a final that came before (after a resume) change nothing.
 *
 * With a second pass a track has several open utterances: those that have ended and wait for their final (drafts,
 * stable to their end) and the one that is being spoken. Numbers and positions rise together. Only positions hold for
 * the whole session, for numbers begin anew after Redis came back empty (DESIGN 8).
 */

/** @import {CaptionPosition, Final, Partial, Word} from './messages.js' */

/**
 * One utterance as a reader sees it.
 * @typedef {object} Line
 * @property {string} key          stable from first partial to final
 * @property {number} track
 * @property {CaptionPosition} begin
 * @property {CaptionPosition} end
 * @property {string} text
 * @property {number} stable       characters of `text` that will not change
 * @property {boolean} final
 * @property {Word[]} words        of a final
 * @property {number} confidence   of a final, else 0
 */

/**
 * What one message did: a line that came or changed, and the keys of lines that it makes void. A draft and its final
 * are one line: same key, same place.
 * @typedef {{line: Line, gone: string[]}} Change
 */

export class Captions {
  constructor() {
    /** Per track, in order. @type {Line[][]} */
    this.finals = []
    /** Per track, open lines by utterance. @type {Map<number, {line: Line, revision: number}>[]} */
    this.open = []
  }

  /**
   * Takes a caption message.
   * @param {Partial | Final} message
   * @returns {Change | null} null where it changes nothing
   */
  receive(message) {
    return message.type === 'final' ? this.takeFinal(message) : this.takePartial(message)
  }

  /** @param {Partial} message */
  takePartial({ track, utterance, revision, begin, end, text, stable }) {
    if (isWithin(begin, end, this.finalEnd(track))) return null
    const open = this.openOf(track)
    const known = open.get(utterance)
    if (known !== undefined && revision < known.revision) return null
    if (known === undefined && text === '') return null
    const middle = (begin + end) / 2
    const gone = this.dropOpen(
      track,
      (other, line) => other !== utterance && other > utterance === line.begin <= middle, // of an older numbering
    )
    const key = known?.line.key ?? lineKey(track, utterance, begin)
    const line = { key, track, begin, end, text, stable, final: false, words: [], confidence: 0 }
    open.set(utterance, { line, revision })
    return { line, gone }
  }

  /** @param {Final} message */
  takeFinal({ track, utterance, begin, end, text, words, confidence }) {
    if (isWithin(begin, end, this.finalEnd(track))) return null
    const open = this.openOf(track)
    const key = open.get(utterance)?.line.key ?? lineKey(track, utterance, begin)
    open.delete(utterance)
    const gone = this.dropOpen(
      track,
      (other, line) => other < utterance || isWithin(line.begin, line.end, end),
    )
    const line = { key, track, begin, end, text, stable: text.length, final: true, words, confidence }
    this.finalsOf(track).push(line)
    if (text === '') gone.push(key)
    return { line, gone }
  }

  /**
   * All tracks as one conversation, by the time that an utterance begins; the lower track first where two begin at
   * once.
   * @returns {Line[]}
   */
  lines() {
    const all = this.finals.flat()
    for (const open of this.open) for (const { line } of open?.values() ?? []) all.push(line)
    return all.filter(({ text }) => text !== '').sort(inConversation)
  }

  /**
   * Takes open lines away.
   * @param {number} track
   * @param {(utterance: number, line: Line) => boolean} isVoid
   * @returns {string[]} their keys
   */
  dropOpen(track, isVoid) {
    const gone = []
    for (const [utterance, { line }] of this.openOf(track)) {
      if (!isVoid(utterance, line)) continue
      gone.push(line.key)
      this.openOf(track).delete(utterance)
    }
    return gone
  }

  /** @param {number} track */
  finalEnd(track) {
    return this.finals[track]?.at(-1)?.end ?? 0
  }

  /** @param {number} track */
  finalsOf(track) {
    this.finals[track] ??= []
    return /** @type {Line[]} */ (this.finals[track])
  }

  /** @param {number} track */
  openOf(track) {
    this.open[track] ??= new Map()
    return /** @type {Map<number, {line: Line, revision: number}>} */ (this.open[track])
  }
}

/**
 * The order of a conversation.
 * @param {Pick<Line, 'begin' | 'track'>} a
 * @param {Pick<Line, 'begin' | 'track'>} b
 */
export function inConversation(a, b) {
  return a.begin - b.begin || a.track - b.track
}

/**
 * Whether an utterance lies in what is final up to `finalEnd`: half of it is enough, for a late partial may end later
 * than its final does, and an utterance begins where the one before it ends.
 * @param {CaptionPosition} begin
 * @param {CaptionPosition} end
 * @param {CaptionPosition} finalEnd
 */
function isWithin(begin, end, finalEnd) {
  return begin + end <= 2 * finalEnd
}

/**
 * @param {number} track
 * @param {number} utterance
 * @param {CaptionPosition} begin
 */
function lineKey(track, utterance, begin) {
  return `${track}.${utterance}.${begin}`
}
