/** Lines, scales and the waterfall of the page of latencies. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inWords, lineOf, niceTop, waterfall } from '../src/latency-figures.js'

test('a scale holds its largest value, and little more', () => {
  assert.deepEqual([0, 1, 3, 47, 100, 101, 730].map(niceTop), [1, 1, 5, 50, 100, 200, 1000])
})

test('a line is interrupted where nothing was measured, and a lone value is seen', () => {
  const values = [10, null, 5, 0].map((value, at) => ({ at_ms: at * 10, value }))
  assert.equal(
    lineOf(values, { from_ms: 0, until_ms: 40, top: 10 }),
    'M0.00 0.00h0M50.00 50.00h0L75.00 100.00',
  )
})

test('the steps follow each other and fill the whole way', () => {
  const way = waterfall({ queue: 10, features: 5, acoustic: 20, decoder: 5, back: 10 })
  assert.deepEqual(
    way.map(({ name, begin }) => [name, Math.round(begin * 100)]),
    [
      ['queue', 0],
      ['features', 20],
      ['acoustic', 30],
      ['decoder', 70],
      ['back', 80],
    ],
  )
  assert.ok(Math.abs(way.reduce((sum, { length }) => sum + length, 0) - 1) < 1e-9)
})

test('milliseconds are said as people read them', () => {
  assert.deepEqual([0, 4.25, 42, 999, 1234, 12_345].map(inWords), [
    '0 ms',
    '4.3 ms',
    '42 ms',
    '999 ms',
    '1.2 s',
    '12 s',
  ])
})
