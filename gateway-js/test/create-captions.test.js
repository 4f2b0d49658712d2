/** Risk: a token goes into the address, a ticket is used twice, or a socket opens that nobody wants any more. */

import assert from 'node:assert/strict'
import { beforeEach, mock, test } from 'node:test'
import { createCaptions } from '../src/create-captions.js'

/** @import {Start} from '../src/messages.js' */

/** @type {Start} */
const START = {
  type: 'start',
  kind: 'live',
  tracks: [{ name: 'a', encoding: 'pcm_s16le', sample_rate: 16000 }],
}
const url = 'http://gateway.example/v1/stream'
const onTell = () => {}

/** Sockets in the order in which they were opened. @type {FakeSocket[]} */
let sockets = []

class FakeSocket {
  /** @type {(() => void) | null} */
  onclose = null

  /**
   * @param {URL} address
   * @param {string[]} protocols
   */
  constructor(address, protocols) {
    if (protocols.some(name => !/^[\w.-]+$/.test(name))) throw new SyntaxError('no subprotocol')
    this.address = String(address)
    this.protocols = protocols
    sockets.push(this)
  }

  close() {}
}

/** Lets what was promised come, and the pause before the next connection pass. */
async function laterOn() {
  await new Promise(resolve => setImmediate(resolve))
  mock.timers.tick(1000)
  await new Promise(resolve => setImmediate(resolve))
}

beforeEach(() => {
  sockets = []
  mock.timers.reset()
  mock.timers.enable({ apis: ['setTimeout'] })
  globalThis.WebSocket = /** @type {any} */ (FakeSocket)
})

test('a token goes as a second subprotocol and never into the address', () => {
  createCaptions({ url, start: START, onTell, token: 'abc.def' })
  assert.deepEqual(sockets[0]?.protocols, ['stenoflow.v1', 'bearer.abc.def'])
  assert.equal(sockets[0]?.address, 'ws://gateway.example/v1/stream')
  createCaptions({ url, start: START, onTell })
  assert.deepEqual(sockets[1]?.protocols, ['stenoflow.v1'])
})

test('every connection asks for a ticket of its own', async () => {
  let tickets = 0
  createCaptions({ url, start: START, onTell, token: async () => `ticket_${++tickets}` })
  await laterOn()
  sockets[0]?.onclose?.()
  await laterOn()
  assert.deepEqual(
    sockets.map(({ protocols }) => protocols[1]),
    ['bearer.ticket_1', 'bearer.ticket_2'],
  )
})

test('a call that is left while its ticket is fetched opens no socket', async () => {
  /** @type {(ticket: string) => void} */
  let give = () => {}
  const token = () => new Promise(resolve => (give = resolve))
  const captions = createCaptions({ url, start: START, onTell, token })
  captions.abandon()
  give('ticket_1')
  await laterOn()
  assert.equal(sockets.length, 0)
})

test('a ticket that could not be had, or is none, is asked for again', async () => {
  const answers = [
    () => Promise.reject(new Error('away')),
    async () => 'not a ticket',
    async () => 'ticket_3',
  ]
  createCaptions({ url, start: START, onTell, token: () => (answers.shift() ?? answers[0])?.() ?? '' })
  for (let turn = 0; turn < 4; turn += 1) await laterOn()
  assert.deepEqual(
    sockets.map(({ protocols }) => protocols[1]),
    ['bearer.ticket_3'],
  )
})
