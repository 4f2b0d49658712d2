/**
 * <live-captions>: captions as they come, for eyes and for ears apart.
 *
 * Eyes get partials word by word: what is already on the screen is not touched unless it changed, and a word that
 * settles changes its colour, never its place. A final is written over its draft, in the same element: only the words
 * that differ are touched, and a breath of colour is all that shows it. Ears get finals only, politely, from a region
 * of their own (PAINS 28), so a draft is not heard before its final; `announce="off"` silences it. With the slot `empty`
 * a page says something before the first word.
 *
 * `second-pass` names the model that a page asks for, `drafts` says that there is one: then what is stable to its end
 * has ended, and no pen stands behind it.
 *
 * @example
 *   const captions = document.querySelector('live-captions')
 *   captions.voices = ['Agent', 'Customer']
 *   captions.receive(message)   // a partial or a final, as the server sent it
 */

/** @import {Line} from './captions.js' */
/** @import {Final, Partial} from './messages.js' */

import { Captions, inConversation } from './captions.js'
import sheet from './live-captions.css.js'
import { CAPTION_RATE } from './messages.js'
import { commonEnds, tokensOf, wordsOfTokens } from './tokens.js'
import { clock } from './transcript.js'

/** Below these a word is marked, and marked strongly. */
const DOUBT = 0.75
const MUCH_DOUBT = 0.5
const NEAR_THE_END_PX = 80
const SPOKEN_KEPT = 6

/** @typedef {{line: Line, element: HTMLLIElement, words: HTMLElement}} Drawn */

export class LiveCaptions extends HTMLElement {
  /** @type {string[]} */
  #voices = []
  #captions = new Captions()
  /** In the order of the conversation. @type {Drawn[]} */
  #drawn = []
  #followsEnd = true
  #parts

  constructor() {
    super()
    const root = this.attachShadow({ mode: 'open' })
    root.adoptedStyleSheets = [sheet]
    const list = make('ol', '')
    list.setAttribute('role', 'list') // Safari forgets it where list-style is none
    const scroller = make('div', 'scroller')
    scroller.tabIndex = 0
    scroller.setAttribute('role', 'region')
    scroller.setAttribute('aria-label', 'Captions')
    const empty = document.createElement('slot')
    empty.name = 'empty'
    const rule = make('div', 'rule')
    const newest = make('button', 'newest')
    newest.textContent = 'Go to the newest words'
    newest.hidden = true
    newest.type = 'button'
    const aloud = make('div', 'aloud')
    aloud.setAttribute('aria-live', 'polite')
    const sheetOfPaper = make('div', 'sheet')
    const pad = make('div', 'pad')
    sheetOfPaper.append(rule, empty, list)
    pad.append(sheetOfPaper)
    scroller.append(pad)
    root.append(scroller, newest, aloud)
    this.#parts = { list, scroller, empty, newest, aloud }
    newest.onclick = () => this.#goToEnd()
    scroller.onscroll = () => this.#noteScroll()
    new ResizeObserver(() => this.#followsEnd && this.#goToEnd()).observe(scroller)
  }

  /** Names of the tracks, by number. */
  get voices() {
    return this.#voices
  }

  set voices(names) {
    this.#voices = names
    this.setAttribute('voices', String(names.length))
  }

  /** The model that hears each utterance again, by name; `off` for none, null for what is served. */
  get secondPass() {
    return this.getAttribute('second-pass')
  }

  /** All lines in the order of the conversation. */
  get lines() {
    return this.#captions.lines()
  }

  /** Forgets everything, the welcome in the slot `empty` too: a new call. */
  clear() {
    this.#captions = new Captions()
    this.#drawn = []
    this.#parts.list.replaceChildren()
    this.#parts.aloud.replaceChildren()
    this.#parts.empty.hidden = true
    this.#followsEnd = true
    this.#parts.newest.hidden = true
  }

  /**
   * Takes a caption.
   * @param {Partial | Final} message
   * @returns {boolean} whether it is on the screen; false for one that came too late or twice
   */
  receive(message) {
    const change = this.#captions.receive(message)
    if (change === null) return false
    for (const key of change.gone) this.#erase(key)
    if (change.line.text !== '' || this.#drawn.some(({ line }) => line.key === change.line.key))
      this.#draw(change.line)
    if (change.line.final && change.line.text !== '') this.#speak(change.line)
    if (this.#followsEnd) this.#goToEnd()
    else this.#parts.newest.hidden = false
    return true
  }

  /** @param {Line} line */
  #draw(line) {
    let drawn = this.#drawn.findLast(({ line: { key } }) => key === line.key)
    if (drawn === undefined) {
      drawn = this.#addLine(line)
      this.#parts.empty.hidden = true
    }
    drawn.line = line
    drawn.element.classList.toggle('open', !line.final)
    drawn.element.classList.toggle('draft', !line.final && line.stable === line.text.length)
    writeWords(drawn.words, line)
  }

  /** @param {Line} line */
  #addLine(line) {
    const element = make('li', 'line')
    element.dataset.side = String(line.track % 2)
    element.dataset.track = String(line.track)
    const time = document.createElement('time')
    time.textContent = clock(line.begin)
    time.dateTime = `PT${(line.begin / CAPTION_RATE).toFixed(1)}S`
    const said = make('div', 'said')
    const who = make('p', 'who')
    who.append(make('span', 'mark'), this.#voices[line.track] ?? `Track ${line.track + 1}`)
    const words = make('p', 'words')
    said.append(who, words)
    element.append(time, said)
    const drawn = { line, element, words }
    let at = this.#drawn.length
    while (at > 0 && inConversation(/** @type {Drawn} */ (this.#drawn[at - 1]).line, line) > 0) at -= 1
    this.#parts.list.insertBefore(element, this.#drawn[at]?.element ?? null)
    this.#drawn.splice(at, 0, drawn)
    this.#nameOnce(at)
    this.#nameOnce(at + 1)
    return drawn
  }

  /** A name stands only where the voice changes. @param {number} at */
  #nameOnce(at) {
    const drawn = this.#drawn[at]
    drawn?.element.classList.toggle('again', this.#drawn[at - 1]?.line.track === drawn.line.track)
  }

  /** @param {string} key */
  #erase(key) {
    const at = this.#drawn.findIndex(({ line }) => line.key === key)
    if (at < 0) return
    this.#drawn[at]?.element.remove()
    this.#drawn.splice(at, 1)
    this.#nameOnce(at)
  }

  /** @param {Line} line */
  #speak(line) {
    if (this.getAttribute('announce') === 'off') return
    const spoken = make('p', '')
    spoken.textContent = this.#voices.length > 1 ? `${this.#voices[line.track]}: ${line.text}` : line.text
    this.#parts.aloud.append(spoken)
    while (this.#parts.aloud.childElementCount > SPOKEN_KEPT) this.#parts.aloud.firstElementChild?.remove()
  }

  #goToEnd() {
    if (this.#drawn.length === 0) return // what stands in the slot is read from its beginning
    this.#parts.scroller.scrollTop = this.#parts.scroller.scrollHeight
    this.#parts.newest.hidden = true
    this.#followsEnd = true
  }

  #noteScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#parts.scroller
    this.#followsEnd = scrollHeight - scrollTop - clientHeight < NEAR_THE_END_PX
    if (this.#followsEnd) this.#parts.newest.hidden = true
  }
}

/**
 * Writes a line's words into its paragraph, leaving alone every word that is there already.
 * @param {HTMLElement} paragraph spans with one space between each two
 * @param {Line} line
 */
function writeWords(paragraph, line) {
  const tokens = tokensOf(line.text)
  replaceWords(
    paragraph,
    tokens.map(({ text }) => text),
    line.final,
  )
  const words = wordsOfTokens(tokens, line.words)
  for (const [at, { end }] of tokens.entries()) {
    const span = /** @type {HTMLElement} */ (paragraph.children[at])
    span.classList.toggle('tail', end > line.stable)
    const confidence = words[at]?.confidence ?? 1
    span.classList.toggle('doubt', confidence < DOUBT)
    span.classList.toggle('much', confidence < MUCH_DOUBT)
    if (confidence < DOUBT) span.title = `${Math.round(confidence * 100)} % sure`
  }
}

/**
 * Makes the paragraph say `texts`. What a final changes in words that were shown settles; only what comes to a
 * paragraph as it is spoken arrives.
 * @param {HTMLElement} paragraph
 * @param {string[]} texts
 * @param {boolean} final
 */
function replaceWords(paragraph, texts, final) {
  const spans = /** @type {HTMLElement[]} */ ([...paragraph.children])
  const look = final && spans.length > 0 ? 'settled' : 'new'
  const { head, tail } = commonEnds(
    spans.map(span => span.textContent ?? ''),
    texts,
  )
  const old = spans.slice(head, spans.length - tail)
  const next = spans[spans.length - tail] ?? null
  for (const text of texts.slice(head, texts.length - tail)) {
    const span = old.shift()
    if (span === undefined) insertWord(paragraph, text, look, next)
    else if (span.textContent !== text) {
      span.textContent = text
      if (final) span.classList.add(look)
    }
  }
  for (const span of old) {
    const space = span.previousSibling ?? span.nextSibling
    space?.remove()
    span.remove()
  }
}

/**
 * @param {HTMLElement} paragraph
 * @param {string} text
 * @param {string} look
 * @param {HTMLElement | null} next the word that it stands before; null: none
 */
function insertWord(paragraph, text, look, next) {
  const span = make('span', `word ${look}`)
  span.textContent = text
  if (next !== null) next.before(span, ' ')
  else if (paragraph.hasChildNodes()) paragraph.append(' ', span)
  else paragraph.append(span)
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} className
 */
function make(tag, className) {
  const element = document.createElement(tag)
  if (className !== '') element.className = className
  return element
}

customElements.define('live-captions', LiveCaptions)
