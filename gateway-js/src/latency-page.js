/** The page of latencies: asks its gateway every few seconds for the points that it has not, and draws them. */

/** @import {Figures, Point, Quantiles} from './latency-figures.js' */

import { inWords, lineOf, niceTop, waterfall } from './latency-figures.js'
import { part } from './part.js'

const SVG = 'http://www.w3.org/2000/svg'
const RETRY_MS = 2000
const LIMIT_MS = 5000

/** @type {{title: string, lines: [string, (point: Point) => number | null][], unit: (value: number) => string}[]} */
const CHARTS = [
  { title: 'Word on the screen', lines: quantilesOf('word'), unit: inWords },
  { title: 'Final', lines: quantilesOf('final'), unit: inWords },
  { title: 'Chunk', lines: quantilesOf('chunk'), unit: inWords },
  { title: 'Lag of the worst call', lines: [['lag', point => point.lag_ms]], unit: inWords },
  {
    title: 'Calls and free places',
    lines: [
      ['open calls', point => point.calls],
      ['tracks that could begin', point => point.room],
    ],
    unit: String,
  },
]

/** @type {Point[]} */
let points = []

/** @param {'word' | 'final' | 'chunk'} name @returns {[string, (point: Point) => number | null][]} */
function quantilesOf(name) {
  return [
    ['half', point => point[name]?.p50_ms ?? null],
    ['95 %', point => point[name]?.p95_ms ?? null],
  ]
}

async function follow() {
  for (;;) {
    let pause = RETRY_MS
    try {
      const newest = points.at(-1)?.at_ms ?? 0
      const answer = await fetch(`/latency/figures?after_ms=${newest}`, {
        cache: 'no-store',
        signal: AbortSignal.timeout(LIMIT_MS),
      })
      if (!answer.ok) throw new Error(`the gateway answers ${answer.status}`)
      const figures = /** @type {Figures} */ (await answer.json())
      points = [...points, ...figures.points].slice(-figures.kept)
      pause = figures.every_ms
      if (points.length > 0) show(figures)
      tell('live', 'Live')
    } catch (error) {
      const gone =
        error instanceof TypeError || (error instanceof DOMException && error.name === 'TimeoutError')
      tell(
        'bad',
        gone ? 'The gateway does not answer' : String(error instanceof Error ? error.message : error),
      )
    }
    await new Promise(resolve => setTimeout(resolve, pause))
  }
}

/** @param {'live' | 'bad'} tone @param {string} text */
function tell(tone, text) {
  part('state', HTMLElement).dataset.tone = tone
  if (part('state-text', HTMLElement).textContent !== text) part('state-text', HTMLElement).textContent = text
}

/** @param {Figures} figures */
function show({ every_ms, kept }) {
  const last = /** @type {Point} */ (points.at(-1))
  part('now', HTMLElement).replaceChildren(
    tile(String(last.calls), last.calls === 1 ? 'open call' : 'open calls'),
    tile(last.room === null ? '–' : String(last.room), 'tracks could begin'),
    tile(inWords(last.lag_ms), 'lag'),
    quantileTile(last.word, 'word'),
    quantileTile(last.final, 'final'),
    quantileTile(last.chunk, 'chunk'),
  )
  const field = { from_ms: last.at_ms - every_ms * (kept - 1), until_ms: last.at_ms }
  part('charts', HTMLElement).replaceChildren(...CHARTS.map(chart => figure(chart, field)))
  const steps = points.findLast(point => point.steps !== null)?.steps
  part('way', HTMLElement).replaceChildren(
    ...(steps ? waterfall(steps).flatMap(way) : [element('span', 'soft', 'No caption yet.')]),
  )
}

/** @param {string} value @param {string} label */
function tile(value, label) {
  const made = element('div', 'tile')
  made.append(element('b', '', value), element('span', '', label))
  return made
}

/** @param {Quantiles | null} quantiles @param {string} label */
function quantileTile(quantiles, label) {
  if (quantiles === null) return tile('–', label)
  return tile(inWords(quantiles.p50_ms), `${label} · 95\u00a0% in ${inWords(quantiles.p95_ms)}`)
}

/**
 * @param {(typeof CHARTS)[number]} chart
 * @param {{from_ms: number, until_ms: number}} field
 */
function figure({ title, lines, unit }, field) {
  const made = element('figure', 'chart')
  const caption = element('figcaption', '')
  caption.append(element('h2', '', title))
  const values = lines.map(([, figureOf]) =>
    points.map(point => ({ at_ms: point.at_ms, value: figureOf(point) })),
  )
  const known = values.flat().flatMap(({ value }) => (value === null ? [] : [value]))
  if (lines.length > 1) {
    for (const [at, [name]] of lines.entries()) caption.append(element('span', `key line-${at + 1}`, name))
  }
  made.append(caption)
  if (known.length === 0) {
    made.append(element('p', 'none', 'Nothing measured yet'))
    return made
  }
  const top = niceTop(Math.max(...known))
  const plot = element('div', 'plot')
  const svg = drawn('svg', { viewBox: '0 0 100 100', preserveAspectRatio: 'none', role: 'img' })
  svg.setAttribute(
    'aria-label',
    `${title}: ${unit(/** @type {number} */ (known.at(-1)))} now, scale to ${unit(top)}`,
  )
  for (const y of [0, 50, 100])
    svg.append(drawn('line', { class: 'grid', x1: '0', x2: '100', y1: `${y}`, y2: `${y}` }))
  for (const [at, line] of values.entries()) {
    svg.append(drawn('path', { class: `line-${at + 1}`, d: lineOf(line, { ...field, top }) }))
  }
  const scale = element('div', 'scale')
  scale.append(
    ...[top, top / 2, 0].map(value =>
      element('span', '', Number.isInteger(value) || unit !== String ? unit(value) : ''),
    ),
  )
  plot.append(svg, scale)
  const span = element('p', 'span')
  span.append(
    element('span', '', `${Math.round((field.until_ms - field.from_ms) / 60_000)} min ago`),
    element('span', '', 'now'),
  )
  plot.append(span)
  made.append(plot)
  return made
}

/** @param {ReturnType<typeof waterfall>[number]} step */
function way({ name, label, ms, begin, length }) {
  const bar = element('span', name === 'queue' || name === 'back' ? 'way-bar waiting' : 'way-bar')
  const mark = element('i', '')
  mark.style.setProperty('--begin', begin.toFixed(4))
  mark.style.setProperty('--length', length.toFixed(4))
  bar.append(mark)
  return [element('span', '', label), bar, element('b', '', inWords(ms))]
}

/** @param {string} tag @param {string} className @param {string} [text] */
function element(tag, className, text = '') {
  const made = document.createElement(tag)
  if (className) made.className = className
  if (text) made.textContent = text
  return made
}

/** @param {string} tag @param {Record<string, string>} attributes */
function drawn(tag, attributes) {
  const made = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  return made
}

follow()
