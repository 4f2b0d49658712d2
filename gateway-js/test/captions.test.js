/** Risk: a word is shown twice, comes back after its final, or two voices get out of order (PAINS 10). */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Captions } from '../src/captions.js'

/** @import {Final} from '../src/messages.js' */

/**
 * @param {string} text
 * @param {Record<string, number>} [fields]
 * @returns {import('../src/messages.js').Partial}
 */
function partial(text, fields = {}) {
  return {
    type: 'partial',
    track: 0,
    utterance: 0,
    revision: 1,
    begin: 0,
    end: 8000,
    text,
    stable: 0,
    ...fields,
  }
}

/**
 * @param {string} text
 * @param {Record<string, number>} [fields]
 * @returns {Final}
 */
function final(text, fields = {}) {
  return {
    type: 'final',
    track: 0,
    utterance: 0,
    begin: 0,
    end: 16000,
    text,
    words: [],
    alternatives: [],
    confidence: 1,
    ...fields,
  }
}

/** @param {Captions} captions */
const texts = captions => captions.lines().map(({ text }) => text)

test('a partial that comes after its final is dropped', () => {
  const captions = new Captions()
  captions.receive(partial('good'))
  captions.receive(final('good morning'))
  assert.equal(captions.receive(partial('good mor', { revision: 9 })), null)
  assert.deepEqual(texts(captions), ['good morning'])
})

test('an older revision changes nothing', () => {
  const captions = new Captions()
  captions.receive(partial('good morning', { revision: 5 }))
  assert.equal(captions.receive(partial('good', { revision: 4 })), null)
  assert.deepEqual(texts(captions), ['good morning'])
})

test('a final that comes again after a resume is there once', () => {
  const captions = new Captions()
  captions.receive(final('good morning'))
  assert.equal(captions.receive(final('good morning')), null)
  assert.deepEqual(texts(captions), ['good morning'])
})

test('utterance numbers that begin anew after Redis came back empty are new utterances', () => {
  const captions = new Captions()
  captions.receive(final('good morning'))
  const change = captions.receive(partial('how', { begin: 20000, end: 24000 }))
  assert.equal(change?.line.text, 'how')
  captions.receive(final('how can i help', { begin: 20000, end: 40000 }))
  assert.deepEqual(texts(captions), ['good morning', 'how can i help'])
})

test('a line keeps its key from first partial to final, even where its begin moves', () => {
  const captions = new Captions()
  const first = captions.receive(partial('good', { begin: 480 }))
  const last = captions.receive(final('good morning', { begin: 320 }))
  assert.equal(first?.line.key, last?.line.key)
})

test('an utterance that turns out empty goes away', () => {
  const captions = new Captions()
  const shown = captions.receive(partial('uh'))
  const change = captions.receive(final(''))
  assert.deepEqual(change?.gone, [shown?.line.key])
  assert.deepEqual(texts(captions), [])
})

test('an open line that a final passes by goes away', () => {
  const captions = new Captions()
  const shown = captions.receive(partial('hm', { utterance: 0, end: 4000 }))
  const change = captions.receive(final('good morning', { utterance: 1, begin: 4000, end: 16000 }))
  assert.deepEqual(change?.gone, [shown?.line.key])
})

test('two voices stand in the order of their beginning, the lower track first where both begin at once', () => {
  const captions = new Captions()
  captions.receive(final('c', { track: 1, begin: 500, end: 600 }))
  captions.receive(partial('d', { track: 0, utterance: 1, begin: 700, end: 900 }))
  captions.receive(final('b', { track: 0, begin: 500, end: 650 }))
  captions.receive(final('a', { track: 2, begin: 100, end: 200 }))
  assert.deepEqual(texts(captions), ['a', 'b', 'c', 'd'])
})
