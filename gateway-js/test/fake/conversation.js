/** What the fake gateway hears: a call about a parcel, of our own making. */

/** @import {Word} from '../../src/messages.js' */

import { CAPTION_RATE } from '../../src/messages.js'

const TURNS = /** @type {const} */ ([
  [0, 'good morning you are speaking with dana how can i help'],
  [1, 'hi yes my parcel was due on tuesday and it still has not come'],
  [0, 'i am sorry to hear that could you read me the number on the receipt'],
  [1, 'of course it is four seven one nine dash two two'],
  [0, 'thank you one moment please'],
  [0, 'i can see it left the depot in leeds this morning'],
  [1, 'so will it be here before the weekend'],
  [0, 'yes by friday noon at the latest and you will get a text message when the driver is near'],
  [1, 'that would be lovely thank you so much'],
])
const WORD_S = 0.27
const PAUSE_S = 0.7
/** Words that the fake is unsure of. */
const DOUBTED = new Map([
  ['dana', 0.44],
  ['leeds', 0.61],
  ['dash', 0.7],
  ['depot', 0.68],
  ['tuesday', 0.72],
])

/**
 * @param {number} track
 * @param {number} tracks with one track, one voice says it all
 */
export function CONVERSATION(track, tracks) {
  let at = 0.4
  const utterances = []
  for (const [who, text] of TURNS) {
    const begin = at
    /** @type {Word[]} */
    const words = text.split(' ').map(word => {
      const from = at
      at += WORD_S
      return { word, begin: samples(from), end: samples(at), confidence: DOUBTED.get(word) ?? 0.97 }
    })
    if (tracks === 1 || who === track % 2) utterances.push({ words, begin: samples(begin), end: samples(at) })
    at += PAUSE_S
  }
  return utterances
}

/** @param {number} seconds */
function samples(seconds) {
  return Math.round(seconds * CAPTION_RATE)
}
