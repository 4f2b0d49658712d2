/** Risk: a figure or a transcript says something that is not so. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Captions } from '../src/captions.js'
import { WordLatency } from '../src/latency.js'
import { parseServerMessage } from '../src/messages.js'
import { sentenceWhileWaiting } from '../src/sentences.js'
import { clock, writeTranscript } from '../src/transcript.js'

/** @import {Line} from '../src/captions.js' */

/**
 * @param {number} at
 * @param {string} text
 * @returns {import('../src/messages.js').Partial}
 */
function partial(at, text) {
  return { type: 'partial', track: 0, utterance: 0, revision: at, begin: 0, end: at, text, stable: 0 }
}

/** @returns {import('../src/messages.js').Final} */
function final() {
  const words = ['good', 'morning'].map((word, at) => ({
    word,
    begin: 0,
    end: 16000 * (at + 1),
    confidence: 1,
  }))
  const text = 'good morning'
  return {
    type: 'final',
    track: 0,
    utterance: 0,
    begin: 0,
    end: 32000,
    text,
    words,
    alternatives: [],
    confidence: 1,
  }
}

test('a word counts from when it was shown for good, not from when it was first guessed', () => {
  const latency = new WordLatency()
  for (let second = 1; second <= 3; second++) latency.heard(second, 10_000 + second * 1000)
  latency.seen(partial(1, 'good'), 11_300)
  latency.seen(partial(2, 'wood mourning'), 12_400)
  latency.seen(partial(3, 'good morning'), 12_600)
  latency.seen(final(), 13_000)
  assert.deepEqual(latency.latencies, [1600, 600])
})

test('a word that only the final shows counts to the final', () => {
  const latency = new WordLatency()
  latency.heard(1, 1000)
  latency.seen(final(), 2900)
  assert.deepEqual(latency.latencies, [1900, 900])
})

test('a chunk that the page was late to see does not make captions look fast', () => {
  const latency = new WordLatency()
  latency.heard(1, 1000)
  latency.heard(2, 2900)
  latency.seen(final(), 3000)
  assert.deepEqual(latency.summary(), { p50: 1000, p95: 2000, count: 2 })
})

/**
 * @param {string} text
 * @param {string} spoken
 * @returns {import('../src/messages.js').Final} each word a second long
 */
function heardAgain(text, spoken) {
  const words = spoken
    .split(' ')
    .map((word, at) => ({ word, begin: 16000 * at, end: 16000 * (at + 1), confidence: 1 }))
  return { ...final(), end: 16000 * words.length, text, words, pass: 2 }
}

/**
 * @param {number} at
 * @param {string} text
 */
function draft(at, text) {
  return { ...partial(at, text), stable: text.length }
}

test('case and punctuation that a second pass adds do not make a word late', () => {
  const latency = new WordLatency()
  latency.heard(2, 2000)
  latency.seen(draft(2, 'good morning'), 2600)
  latency.seen(heardAgain('Good morning!', 'good morning'), 4100)
  assert.deepEqual(latency.latencies, [1600, 600])
})

test('a word that a second pass corrects counts to the final, and no other with it', () => {
  const latency = new WordLatency()
  latency.heard(4, 4000)
  latency.seen(partial(3, 'i have plenty'), 3500)
  latency.seen(draft(4, 'i have plenty dollars'), 4500)
  latency.seen(heardAgain('I have 20 dollars.', 'i have twenty dollars'), 6000)
  assert.deepEqual(latency.latencies, [2500, 1500, 3000, 500])
})

test('words behind a correction that is not as long are found in the draft', () => {
  const latency = new WordLatency()
  latency.heard(3, 3000)
  latency.seen(partial(2, 'for tea'), 2100)
  latency.seen(draft(3, 'for tea dollars please'), 3500)
  latency.seen(heardAgain('40 dollars, please.', 'forty dollars please'), 5000)
  assert.deepEqual(latency.latencies, [4000, 1500, 500])
})

/** @type {Line[]} */
const LINES = [
  {
    key: 'a',
    track: 0,
    begin: 8000,
    end: 24000,
    text: 'five < six & seven',
    stable: 18,
    final: true,
    confidence: 0.9,
    words: [{ word: 'five', begin: 8000, end: 12000, confidence: 0.5 }],
  },
  {
    key: 'b',
    track: 1,
    begin: 3600 * 16000,
    end: 3601.5 * 16000,
    text: 'yes',
    stable: 3,
    final: true,
    confidence: 1,
    words: [],
  },
]

test('text, SubRip, WebVTT and JSON say the same', () => {
  const names = ['Agent', 'Customer']
  assert.equal(
    writeTranscript('txt', LINES, names),
    '[0:00] Agent: five < six & seven\n[1:00:00] Customer: yes\n',
  )
  assert.equal(
    writeTranscript('srt', LINES, names),
    '1\n00:00:00,500 --> 00:00:01,500\nAgent: five < six & seven\n\n2\n01:00:00,000 --> 01:00:01,500\nCustomer: yes\n',
  )
  assert.equal(
    writeTranscript('vtt', LINES, names),
    'WEBVTT\n\n00:00:00.500 --> 00:00:01.500\n<v Agent>five &lt; six &amp; seven\n\n01:00:00.000 --> 01:00:01.500\n<v Customer>yes\n',
  )
  const json = JSON.parse(writeTranscript('json', LINES, names))
  assert.equal(json.utterances[0].words[0].end_s, 0.75)
  assert.equal(json.utterances[1].name, 'Customer')
})

test('a transcript has the text of the second pass, not its plain words', () => {
  const captions = new Captions()
  captions.receive(heardAgain('I have 20 dollars.', 'i have twenty dollars'))
  const lines = captions.lines()
  assert.equal(writeTranscript('txt', lines, ['You']), '[0:00] I have 20 dollars.\n')
  assert.match(writeTranscript('vtt', lines, ['You']), /\nI have 20 dollars\.\n/)
  const [utterance] = JSON.parse(writeTranscript('json', lines, ['You'])).utterances
  assert.equal(utterance.text, 'I have 20 dollars.')
  assert.equal(utterance.words[2].word, 'twenty')
})

test('one voice needs no name', () => {
  assert.equal(writeTranscript('txt', LINES.slice(1), ['You']), '[1:00:00] yes\n')
})

test('a clock carries over', () => {
  assert.deepEqual(
    [0, 59.9, 60, 3599, 3600].map(second => clock(second * 16000)),
    ['0:00', '0:59', '1:00', '59:59', '1:00:00'],
  )
})

test('what is no message of this version is left out', () => {
  for (const text of ['', '{', 'null', '[]', '{"type":1}', '{"type":"news"}', '"ack"'])
    assert.equal(parseServerMessage(text), null)
  assert.deepEqual(parseServerMessage('{"type":"reconnect"}'), { type: 'reconnect' })
})

test('waiting says for how long, and that nothing is lost', () => {
  const cause = { code: 'at_capacity', message: 'x' }
  assert.equal(sentenceWhileWaiting(cause, 4000, false), 'All lines are busy. Trying again in 4 s.')
  assert.equal(
    sentenceWhileWaiting(cause, 0, true),
    'All lines are busy. What you say is kept. Trying again.',
  )
})
