/** Risk: the page goes on saying what is over, or takes away what still holds. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Notice } from '../src/notice.js'
import { STATUS_SENTENCES } from '../src/sentences.js'

/** @import {Quality, Status} from '../src/messages.js' */

function listening() {
  const heard = { sentence: '', tone: '', shows: 0 }
  const notice = new Notice((sentence, tone) => {
    Object.assign(heard, { sentence, tone, shows: heard.shows + 1 })
  })
  return { notice, heard }
}

/**
 * @param {Status['status']} status
 * @param {number} [track]
 * @returns {Status}
 */
const status = (status, track) => ({ type: 'status', status, ...(track === undefined ? {} : { track }) })

/**
 * @param {number} track
 * @param {string} [message]
 * @returns {Quality}
 */
const quality = (track, message) => ({
  type: 'quality',
  track,
  level_db: -20,
  clipping: 0,
  snr_db: null,
  bandwidth_hz: null,
  hint: message === undefined ? null : { code: 'x', message },
})

test('reduced is one quiet sentence, said once, and normal takes it away', () => {
  const { notice, heard } = listening()
  notice.status(status('reduced'))
  notice.status(status('reduced'))
  assert.deepEqual(heard, { sentence: STATUS_SENTENCES.reduced, tone: 'hint', shows: 1 })
  notice.status(status('normal'))
  assert.equal(heard.sentence, '')
})

test('normal takes away nothing else', () => {
  const { notice, heard } = listening()
  notice.say('The microphone is gone.', 'bad')
  notice.status(status('normal'))
  notice.status(status('rewind'))
  assert.equal(heard.sentence, 'The microphone is gone.')
})

test('what was said over a status outlives it', () => {
  const { notice, heard } = listening()
  notice.status(status('reduced'))
  notice.say('The oldest sound had to go.', 'bad')
  notice.status(status('normal'))
  assert.deepEqual([heard.sentence, heard.tone], ['The oldest sound had to go.', 'bad'])
})

test('where nothing more is to be said, what stands is said again', () => {
  const { notice, heard } = listening()
  notice.status(status('reduced'))
  notice.say('The microphone stopped delivering sound.')
  notice.say('')
  assert.equal(heard.sentence, STATUS_SENTENCES.reduced)
})

test('a hint about the sound and a status stand side by side and go one by one', () => {
  const { notice, heard } = listening()
  notice.status(status('reduced'))
  notice.quality(quality(1, 'Speak up.'))
  assert.equal(heard.sentence, `${STATUS_SENTENCES.reduced} Speak up.`)
  notice.quality(quality(1))
  assert.equal(heard.sentence, STATUS_SENTENCES.reduced)
})

test('normal of one track leaves what holds for another', () => {
  const { notice, heard } = listening()
  notice.status(status('reduced', 0))
  notice.status(status('reduced', 1))
  notice.status(status('normal', 0))
  assert.equal(heard.sentence, STATUS_SENTENCES.reduced)
  notice.status(status('normal'))
  assert.equal(heard.sentence, '')
})

test('another server after a break, or the end of a call, forgets the status', () => {
  const { notice, heard } = listening()
  notice.status(status('reduced'))
  notice.forgetStatus()
  assert.equal(heard.sentence, '')
  notice.status(status('reduced'))
  notice.quality(quality(0, 'Speak up.'))
  notice.end()
  assert.equal(heard.sentence, 'Speak up.', 'may still be read')
  notice.quality(quality(0, 'Speak up.'))
  assert.equal(heard.sentence, 'Speak up.')
})
