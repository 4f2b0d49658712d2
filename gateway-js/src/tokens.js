/**
 * A caption's text token by token, and the words behind them.
 *
 * A token is what stands between two spaces: `Hello,` or `20` or a lone dash. A word is plain: lower case, without
 * punctuation, with its times and its confidence. The second pass writes tokens, so the two need not be as many.
 */

/** @import {Word} from './messages.js' */

/** @typedef {{text: string, end: number}} Token `end`: in characters of the whole text */

/**
 * @param {string} text
 * @returns {Token[]}
 */
export function tokensOf(text) {
  return [...text.matchAll(/\S+/g)].map(({ 0: token, index }) => ({ text: token, end: index + token.length }))
}

/**
 * A token as a word would be: without case and outer punctuation.
 * @param {string} token
 * @returns {string} empty for a token that is punctuation alone
 */
export function plain(token) {
  return token
    .toLowerCase()
    .replaceAll('’', "'")
    .replace(/^[^\p{L}\p{M}\p{N}]+|[^\p{L}\p{M}\p{N}]+$/gu, '')
}

/** @param {string} text */
export function plainWords(text) {
  return tokensOf(text)
    .map(token => plain(token.text))
    .filter(word => word !== '')
}

/**
 * Which word each token stands for: the first for the first, and so on, `20` for `twenty` as well.
 * @param {Token[]} tokens
 * @param {Word[]} words
 * @returns {(Word | undefined)[]} one for each token; all undefined where they are not as many, since a guess would
 *   put one word's doubt under another
 */
export function wordsOfTokens(tokens, words) {
  const spoken = tokens.map(({ text }) => plain(text) !== '')
  if (spoken.filter(Boolean).length !== words.length) return tokens.map(() => undefined)
  let next = 0
  return spoken.map(isWord => (isWord ? words[next++] : undefined))
}

/**
 * How many entries two lists have in common at their beginning and, beyond those, at their end.
 * @param {string[]} before
 * @param {string[]} after
 * @returns {{head: number, tail: number}} together no more than the shorter list has
 */
export function commonEnds(before, after) {
  const shorter = Math.min(before.length, after.length)
  let head = 0
  while (head < shorter && before[head] === after[head]) head += 1
  let tail = 0
  while (tail < shorter - head && before.at(-1 - tail) === after.at(-1 - tail)) tail += 1
  return { head, tail }
}
