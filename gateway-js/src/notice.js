/**
 * The page's one line of notice. A sentence is said once and stays until the next, or it stands for as long as
 * something lasts: a hint about a track's sound, a server that is behind. What stands is taken away when it is over,
 * and only then; what was said meanwhile is left alone.
 */

/** @import {Quality, Status} from './messages.js' */

import { STATUS_SENTENCES } from './sentences.js'

/** @typedef {'hint' | 'bad'} Tone */

export class Notice {
  /** @param {(sentence: string, tone: Tone) => void} show an empty sentence: nothing to say */
  constructor(show) {
    this.show = show
    this.shown = ''
    /** Sentences by what they are about: a track's sound, a track's or the session's status. @type {Map<string, string>} */
    this.standing = new Map()
  }

  /**
   * @param {string} sentence empty: nothing more to say than what stands
   * @param {Tone} [tone]
   */
  say(sentence, tone = 'hint') {
    this.shown = sentence || this.sentence
    this.show(this.shown, sentence === '' ? 'hint' : tone)
  }

  /** @param {Quality} message */
  quality({ track, hint }) {
    this.change(standing => {
      if (hint === null) standing.delete(`sound ${track}`)
      else standing.set(`sound ${track}`, hint.message)
    })
  }

  /** `normal` ends what was said of its track, or of all where it names none. @param {Status} message */
  status({ status, track }) {
    const sentence = STATUS_SENTENCES[status]
    if (status === 'normal' && typeof track !== 'number') this.forgetStatus()
    else if (status === 'normal') this.change(standing => standing.delete(`status ${track}`))
    else if (sentence !== undefined)
      this.change(standing => standing.set(`status ${track ?? 'of all'}`, sentence))
  }

  /** A server that has just begun, or gone on elsewhere, says anew how it is. */
  forgetStatus() {
    this.change(standing => {
      for (const about of standing.keys()) if (about.startsWith('status ')) standing.delete(about)
    })
  }

  /** The call is over: its hints may still be read, nothing stands any more. */
  end() {
    this.forgetStatus()
    this.standing.clear()
  }

  /** @param {(standing: Map<string, string>) => void} alter */
  change(alter) {
    const before = this.sentence
    alter(this.standing)
    const { sentence } = this
    const isCovered = this.shown !== before && sentence === ''
    if (sentence !== before && !isCovered) this.say(sentence)
  }

  /** All that stands. */
  get sentence() {
    return [...new Set(this.standing.values())].join(' ')
  }
}
