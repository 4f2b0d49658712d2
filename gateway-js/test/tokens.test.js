/** Risk: one word's doubt is marked under another, since the second pass writes other tokens than were spoken. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { commonEnds, plain, plainWords, tokensOf, wordsOfTokens } from '../src/tokens.js'

/**
 * What stands behind each token of the text, `null` for none.
 * @param {string} text
 * @param {string} spoken
 */
function behind(text, spoken) {
  const words = spoken.split(' ').map(word => ({ word, begin: 0, end: 0, confidence: 1 }))
  return wordsOfTokens(tokensOf(text), words).map(word => word?.word ?? null)
}

test('case and punctuation do not part a token from its word', () => {
  assert.deepEqual(behind('“Hello,” said O’Neill: don’t!', "hello said o'neill don't"), [
    'hello',
    'said',
    "o'neill",
    "don't",
  ])
})

test('a number in digits stands for as many words as it has tokens', () => {
  assert.deepEqual(behind('I have 20 dollars.', 'i have twenty dollars'), ['i', 'have', 'twenty', 'dollars'])
})

test('a token that is punctuation alone stands for no word', () => {
  assert.deepEqual(behind('Well – no …', 'well no'), ['well', null, 'no', null])
})

test('where tokens and words are not as many, no word is guessed', () => {
  assert.deepEqual(behind('I have $25.', 'i have twenty five dollars'), [null, null, null])
  assert.deepEqual(behind('good morning', 'good'), [null, null])
})

test('tokens end where they end in the text', () => {
  assert.deepEqual(
    tokensOf(' How  can ').map(({ text, end }) => [text, end]),
    [
      ['How', 4],
      ['can', 9],
    ],
  )
  assert.deepEqual(tokensOf(''), [])
})

test('plain words are those of any script, with what is inside them', () => {
  assert.deepEqual(plainWords('«Été» in São Paulo, 3.5 % -- well-known'), [
    'été',
    'in',
    'são',
    'paulo',
    '3.5',
    'well-known',
  ])
  assert.equal(plain('...'), '')
})

test('what two lists have in common is counted once', () => {
  assert.deepEqual(commonEnds(['a', 'b', 'c'], ['a', 'x', 'y', 'c']), { head: 1, tail: 1 })
  assert.deepEqual(commonEnds(['a', 'a'], ['a', 'a', 'a']), { head: 2, tail: 0 })
  assert.deepEqual(commonEnds([], ['a']), { head: 0, tail: 0 })
  assert.deepEqual(commonEnds(['a'], ['b', 'a']), { head: 0, tail: 1 })
})
