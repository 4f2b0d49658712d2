/** What the page of latencies makes of the gateway's points: lines, scales and figures. Pure. */

/**
 * @typedef {{p50_ms: number, p95_ms: number, count: number}} Quantiles
 * @typedef {{queue: number, features: number, acoustic: number, decoder: number, back: number}} Steps
 * @typedef {object} Point
 * @property {number} at_ms
 * @property {number} calls
 * @property {number | null} room
 * @property {number} lag_ms
 * @property {Quantiles | null} word
 * @property {Quantiles | null} final
 * @property {Quantiles | null} chunk
 * @property {Steps | null} steps
 * @typedef {{every_ms: number, window_ms: number, kept: number, points: Point[]}} Figures
 */

/** In the order that sound takes. What is between the stages is waiting. */
export const STEPS = /** @type {const} */ ([
  ['queue', 'waiting between stages'],
  ['features', 'features'],
  ['acoustic', 'acoustic'],
  ['decoder', 'decoder'],
  ['back', 'return to the gateway'],
])

/** Room for a curve: 1, 2 or 5 times a power of ten. @param {number} largest */
export function niceTop(largest) {
  if (largest <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(largest))
  for (const step of [1, 2, 5]) if (largest <= step * power) return step * power
  return 10 * power
}

/**
 * A line through values, drawn on a field of 100 by 100; where a value is missing it is interrupted.
 * @param {{at_ms: number, value: number | null}[]} values ascending
 * @param {{from_ms: number, until_ms: number, top: number}} field
 */
export function lineOf(values, { from_ms, until_ms, top }) {
  let path = ''
  let drawing = false
  for (const { at_ms, value } of values) {
    if (value === null) {
      drawing = false
      continue
    }
    const x = ((at_ms - from_ms) / (until_ms - from_ms)) * 100
    const y = 100 - (value / top) * 100
    // A lone value is a dot: a line of no length with round ends.
    path += drawing ? `L${x.toFixed(2)} ${y.toFixed(2)}` : `M${x.toFixed(2)} ${y.toFixed(2)}h0`
    drawing = true
  }
  return path
}

/**
 * Each step's place on the caption's way.
 * @param {Steps} steps milliseconds
 * @returns {{name: keyof Steps, label: string, ms: number, begin: number, length: number}[]} shares of the whole
 */
export function waterfall(steps) {
  const whole = Math.max(
    1e-9,
    STEPS.reduce((sum, [name]) => sum + steps[name], 0),
  )
  let begin = 0
  return STEPS.map(([name, label]) => {
    const length = steps[name] / whole
    const step = { name, label, ms: steps[name], begin, length }
    begin += length
    return step
  })
}

/** Milliseconds for people. @param {number} ms */
export function inWords(ms) {
  if (ms >= 10_000) return `${Math.round(ms / 1000)} s`
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`
  return ms < 10 && !Number.isInteger(ms) ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`
}
