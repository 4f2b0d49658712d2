/** Risk: the two sides of the wire disagree. Reads the examples that the Python suite reads. */

import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Captions } from '../src/captions.js'
import { parseServerMessage, SERVER_TYPES } from '../src/messages.js'
import { Session, State } from '../src/session.js'

const FOLDER = fileURLToPath(new URL('../../tests/wire/examples/', import.meta.url))
const CLIENT_TYPES = new Set(['start', 'finalize', 'stop'])

/** @typedef {{name: string, message: any}} Example */

/** A file holds one message, or a list of them; server or client. @returns {Example[]} */
function examples() {
  if (!existsSync(FOLDER)) return []
  return readdirSync(FOLDER)
    .filter(name => name.endsWith('.json'))
    .sort()
    .flatMap(name => {
      const content = JSON.parse(readFileSync(FOLDER + name, 'utf8'))
      const messages = Array.isArray(content) ? content : [content]
      return messages.map((message, at) => ({ name: `${name}#${at}`, message: message.message ?? message }))
    })
}

const all = examples()
const skip = all.length === 0 ? 'tests/wire/examples is not there' : false

test('every type that this side knows has an example, and no other has', { skip }, () => {
  const types = new Set(all.map(({ message }) => message.type))
  assert.deepEqual([...types].sort(), [...SERVER_TYPES, ...CLIENT_TYPES].sort())
})

for (const { name, message } of all.filter(({ message: { type } }) => SERVER_TYPES.has(type))) {
  test(`${name} (${message.type}) is understood`, () => {
    assert.deepEqual(parseServerMessage(JSON.stringify(message)), message)
    const session = new Session({ random: () => 0 })
    session.receive({
      type: 'begin',
      now: 0,
      start: {
        type: 'start',
        kind: 'live',
        tracks: Array.from({ length: 8 }, () => ({ name: 'x', encoding: 'pcm_s16le', sample_rate: 16000 })),
      },
    })
    session.receive({ type: 'opened', now: 0, connection: session.connection })
    /** @type {any} */
    const started = {
      type: 'started',
      session: 's',
      resume_token: 't',
      bundle: 'b',
      tracks: [],
      limits: { window_s: 12, max_frame_s: 2, max_tracks: 8 },
    }
    if (message.type === 'started')
      message.tracks = [] // it names positions that this session has not reached
    else session.receive({ type: 'message', now: 0, connection: session.connection, message: started })
    session.receive({ type: 'message', now: 0, connection: session.connection, message })
    if (message.type !== 'error') assert.notEqual(session.state, State.FAILED)
    if (message.type === 'partial' || message.type === 'final')
      assert.notEqual(new Captions().receive(message), null)
  })
}
