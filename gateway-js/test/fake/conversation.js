/** What the fake gateway hears: a call about a parcel, of our own making. */

/** @import {Word} from '../../src/messages.js' */

import { CAPTION_RATE } from '../../src/messages.js'

/** Who, as it is heard at first, and as a second pass writes it. */
const TURNS = /** @type {const} */ ([
  [
    0,
    'good morning you are speaking with dana how can i help',
    'Good morning, you are speaking with Dana. How can I help?',
  ],
  [
    1,
    'hi yes my parcel was due on tuesday and it still has not come',
    'Hi, yes: my parcel was due on Tuesday, and it still has not come.',
  ],
  [
    0,
    'i am sorry to hear that could you read me the number on the receipt',
    'I am sorry to hear that. Could you read me the number on the receipt?',
  ],
  [1, 'of course it is four seven one nine dash two two', 'Of course, it is 4719-22.'],
  [0, 'thank you one moment please', 'Thank you. One moment, please.'],
  [
    0,
    'i can see it left the depot in leeds this morning',
    'I can see it left the depot in Leeds this morning.',
  ],
  [1, 'so will it be here before the weekend', 'So, will it be here before the weekend?'],
  [
    0,
    'yes by friday noon at the latest and you will get a text message when the driver is near',
    'Yes, by Friday noon at the latest, and you will get a text message when the driver is near.',
  ],
  [1, 'that would be lovely thank you so much', 'That would be lovely, thank you so much!'],
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
  for (const [who, text, written] of TURNS) {
    const begin = at
    /** @type {Word[]} */
    const words = text.split(' ').map(word => {
      const from = at
      at += WORD_S
      return { word, begin: samples(from), end: samples(at), confidence: DOUBTED.get(word) ?? 0.97 }
    })
    if (tracks === 1 || who === track % 2)
      utterances.push({ words, written, begin: samples(begin), end: samples(at) })
    at += PAUSE_S
  }
  return utterances
}

/** @param {number} seconds */
function samples(seconds) {
  return Math.round(seconds * CAPTION_RATE)
}
