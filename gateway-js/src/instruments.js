/** The page's instruments: latency from mouth to screen, where the time goes, and how far each voice is. */

/** @import {Latency, Progress} from './messages.js' */
/** @import {WordLatency} from './latency.js' */

import { quantile } from './latency.js'

/** In the order that sound takes; the first two are the floor that no server can go below. */
const STEPS = /** @type {const} */ ([
  ['chunk', 'chunk'],
  ['look_ahead', 'look-ahead'],
  ['queue', 'queue'],
  ['features', 'features'],
  ['acoustic', 'acoustic'],
  ['decoder', 'decoder'],
  ['back', 'return'],
])
const STEPS_KEPT = 15
/** Below this a level counts as none. */
const QUIET_DB = -54

/**
 * The parts of a latency message, in milliseconds.
 * @param {Latency} message
 * @returns {Record<(typeof STEPS)[number][0], number>}
 */
function partsOf({ chunk_ms, look_ahead_ms, steps }) {
  return { chunk: chunk_ms, look_ahead: look_ahead_ms, ...steps }
}

export class StepBar {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root
    /** @type {Latency[]} */
    this.newest = []
    const bar = element('div', 'bar')
    this.segments = STEPS.map((_, at) => element('span', at < 2 ? 'floor' : ''))
    this.figures = STEPS.map(() => element('b', ''))
    bar.append(...this.segments)
    root.append(bar)
    for (const [at, [, label]] of STEPS.entries()) {
      const step = element('div', 'step')
      step.append(/** @type {HTMLElement} */ (this.figures[at]), label)
      root.append(step)
    }
    this.clear()
  }

  clear() {
    this.newest = []
    this.root.classList.add('blank')
    for (const figure of this.figures) figure.textContent = '–'
  }

  /** Shows the median of the newest messages: one slow chunk is no reason to jump. @param {Latency} message */
  show(message) {
    this.root.classList.remove('blank')
    this.newest.push(message)
    if (this.newest.length > STEPS_KEPT) this.newest.shift()
    for (const [at, [name]] of STEPS.entries()) {
      const sorted = this.newest.map(each => partsOf(each)[name]).sort((a, b) => a - b)
      const ms = quantile(sorted, 0.5)
      const figure = /** @type {HTMLElement} */ (this.figures[at])
      figure.textContent = ms < 10 ? ms.toFixed(1).replace('.0', '') : String(Math.round(ms))
      this.segments[at]?.style.setProperty('--share', ms.toFixed(1))
    }
  }
}

export class VoiceList {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root
    /** @type {{level: HTMLElement, behind: HTMLElement}[]} */
    this.voices = []
  }

  /** @param {string[]} names */
  begin(names) {
    this.voices = names.map(() => ({ level: element('span', 'level'), behind: element('span', 'behind') }))
    this.root.replaceChildren(
      ...names.map((name, track) => {
        const item = element('li', 'voice')
        const label = element('span', 'name')
        label.textContent = name
        const { level, behind } = /** @type {{level: HTMLElement, behind: HTMLElement}} */ (
          this.voices[track]
        )
        item.append(element('span', 'mark'), label, level, behind)
        return item
      }),
    )
  }

  /** @param {Progress} message */
  progress({ tracks }) {
    for (const { track, behind_s } of tracks) {
      const voice = this.voices[track]
      if (voice !== undefined) voice.behind.textContent = `${behind_s.toFixed(1)} s behind`
    }
  }

  /**
   * @param {number} track
   * @param {number} rms 0 to 1
   */
  level(track, rms) {
    this.voices[track]?.level.style.setProperty('--level', loudness(rms).toFixed(3))
  }

  rest() {
    for (const { level, behind } of this.voices) {
      level.style.setProperty('--level', '0')
      behind.textContent = ''
    }
  }
}

/**
 * A loudness from 0 to 1 for the eye.
 * @param {number} rms
 */
export function loudness(rms) {
  const db = 20 * Math.log10(Math.max(rms, 1e-6))
  return Math.min(1, Math.max(0, 1 - db / QUIET_DB))
}

/** @param {Int16Array} samples */
export function rmsOf(samples) {
  let power = 0
  for (const sample of samples) power += sample * sample
  return Math.sqrt(power / Math.max(1, samples.length)) / 32768
}

/**
 * Writes the summary of word latencies.
 * @param {{p50: HTMLElement, p95: HTMLElement, p95Part: HTMLElement}} figures
 * @param {ReturnType<WordLatency['summary']>} summary
 */
export function showWordLatency({ p50, p95, p95Part }, summary) {
  p50.textContent = summary === null ? '–' : String(Math.round(summary.p50))
  p95.textContent = summary === null ? '–' : String(Math.round(summary.p95))
  p95Part.hidden = summary === null
}

/**
 * @param {string} tag
 * @param {string} className
 */
function element(tag, className) {
  const made = document.createElement(tag)
  made.className = className
  return made
}
