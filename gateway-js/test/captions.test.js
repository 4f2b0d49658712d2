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

/**
 * A draft: an utterance that has ended and waits for its second pass.
 * @param {string} text
 * @param {Record<string, number>} [fields]
 */
const draft = (text, fields = {}) => partial(text, { stable: text.length, ...fields })

/** Three utterances of one track that are open at once. */
function threeOpen() {
  const captions = new Captions()
  captions.receive(draft('good morning', { utterance: 0, begin: 0, end: 16000, revision: 16000 }))
  captions.receive(draft('how can i help', { utterance: 1, begin: 16000, end: 32000, revision: 32000 }))
  captions.receive(partial('i w', { utterance: 2, begin: 32000, end: 40000, revision: 40000 }))
  return captions
}

test('several utterances are open at once, each on its line', () => {
  const captions = threeOpen()
  assert.deepEqual(texts(captions), ['good morning', 'how can i help', 'i w'])
  assert.deepEqual(
    captions.lines().map(({ text, stable, final }) => [stable === text.length, final]),
    [
      [true, false],
      [true, false],
      [false, false],
    ],
  )
})

test('a final takes the line of its draft and leaves those behind it open', () => {
  const captions = threeOpen()
  const keys = captions.lines().map(({ key }) => key)
  const change = captions.receive(final('Good morning.', { utterance: 0, begin: 0, end: 16000, pass: 2 }))
  assert.deepEqual(change?.gone, [])
  assert.deepEqual(
    captions.lines().map(({ key }) => key),
    keys,
    'same lines, same order',
  )
  assert.deepEqual(texts(captions), ['Good morning.', 'how can i help', 'i w'])
  captions.receive(partial('i want', { utterance: 2, begin: 32000, end: 44000, revision: 44000 }))
  captions.receive(final('How can I help?', { utterance: 1, begin: 16000, end: 32000, pass: 2 }))
  assert.deepEqual(texts(captions), ['Good morning.', 'How can I help?', 'i want'])
})

test('a final that ends a little later than its draft leaves the next utterance open', () => {
  const captions = threeOpen()
  captions.receive(final('Good morning.', { utterance: 0, begin: 0, end: 17600, pass: 2 }))
  assert.deepEqual(texts(captions), ['Good morning.', 'how can i help', 'i w'])
})

test('a draft whose final turned out empty goes away with the next final', () => {
  const captions = threeOpen()
  const [first] = captions.lines()
  const change = captions.receive(
    final('How can I help?', { utterance: 1, begin: 16000, end: 32000, pass: 2 }),
  )
  assert.deepEqual(change?.gone, [first?.key])
  assert.deepEqual(texts(captions), ['How can I help?', 'i w'])
})

test('a late partial is dropped though it ends behind its final', () => {
  const captions = threeOpen()
  captions.receive(final('Good morning.', { utterance: 0, begin: 0, end: 15000, pass: 2 }))
  assert.equal(captions.receive(draft('good morning', { begin: 0, end: 16000, revision: 99000 })), null)
  assert.deepEqual(texts(captions), ['Good morning.', 'how can i help', 'i w'])
})

test('a partial that is older than the draft of its utterance is dropped', () => {
  const captions = threeOpen()
  assert.equal(captions.receive(partial('good mor', { begin: 0, end: 12000, revision: 12000 })), null)
})

test('a draft that comes again after a resume is one line, and so is its final', () => {
  const captions = threeOpen()
  const before = captions.lines().map(({ key }) => key)
  captions.receive(draft('good morning', { utterance: 0, begin: 0, end: 16000, revision: 16000 }))
  captions.receive(draft('how can i help', { utterance: 1, begin: 16000, end: 32000, revision: 32000 }))
  assert.deepEqual(
    captions.lines().map(({ key }) => key),
    before,
  )
  const said = final('Good morning.', { utterance: 0, begin: 0, end: 16000, pass: 2 })
  assert.notEqual(captions.receive(said), null)
  assert.equal(captions.receive(said), null)
  assert.deepEqual(texts(captions), ['Good morning.', 'how can i help', 'i w'])
})

test('drafts of an older numbering give way to the same sound heard anew', () => {
  const captions = new Captions()
  captions.receive(final('good morning', { utterance: 0, begin: 0, end: 16000 }))
  captions.receive(draft('how can i help', { utterance: 1, begin: 16000, end: 32000 }))
  captions.receive(partial('i w', { utterance: 2, begin: 32000, end: 40000 }))
  captions.receive(partial('how can', { utterance: 0, begin: 16000, end: 24000 }))
  assert.deepEqual(texts(captions), ['good morning', 'how can', 'i w'])
  captions.receive(final('How can I help?', { utterance: 0, begin: 16000, end: 32000, pass: 2 }))
  captions.receive(partial('i want', { utterance: 1, begin: 32000, end: 44000 }))
  assert.deepEqual(texts(captions), ['good morning', 'How can I help?', 'i want'])
})

test('drafts of one voice do not touch those of the other', () => {
  const captions = threeOpen()
  captions.receive(draft('yes', { track: 1, utterance: 0, begin: 15000, end: 17000 }))
  captions.receive(final('How can I help?', { track: 0, utterance: 1, begin: 16000, end: 32000, pass: 2 }))
  assert.deepEqual(texts(captions), ['yes', 'How can I help?', 'i w'])
})
