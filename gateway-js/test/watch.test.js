/** Risk: a watcher is lost where its server moves, hears a socket that it left, or asks for a call that is over for ever. */

import assert from 'node:assert/strict'
import { beforeEach, mock, test } from 'node:test'
import { kindOf, lengthOf, namesOf, titleOf } from '../src/open-calls.js'
import { watch } from '../src/watch.js'

/** @import {ServerMessage} from '../src/messages.js' */
/** @import {WatchNews} from '../src/watch.js' */

/** In the order in which they were opened. @type {FakeSocket[]} */
let sockets = []
/** @type {WatchNews[]} */
let news = []
/** @type {ServerMessage[]} */
let messages = []

class FakeSocket {
  /** @type {(() => void) | null} */
  onclose = null
  /** @type {((event: {data: unknown}) => void) | null} */
  onmessage = null
  closed = false

  /**
   * @param {URL} address
   * @param {string[]} protocols
   */
  constructor(address, protocols) {
    this.address = String(address)
    this.protocols = protocols
    sockets.push(this)
  }

  close() {
    this.closed = true
  }

  /** @param {object} message */
  say(message) {
    this.onmessage?.({ data: JSON.stringify(message) })
  }
}

const partial = {
  type: 'partial',
  track: 0,
  utterance: 0,
  revision: 1,
  begin: 0,
  end: 1,
  text: 'a',
  stable: 0,
}

beforeEach(() => {
  sockets = []
  news = []
  messages = []
  mock.timers.reset()
  mock.timers.enable({ apis: ['setTimeout'] })
  globalThis.WebSocket = /** @type {any} */ (FakeSocket)
  globalThis.location = /** @type {any} */ ({ href: 'https://gateway.example/watch/#s00-1' })
})

function begin() {
  return watch({
    session: 's00-1',
    token: 'abc.def',
    onMessage: message => messages.push(message),
    onNews: one => news.push(one),
  })
}

/** @param {number} number */
function socket(number) {
  const found = sockets[number]
  assert.ok(found, `socket ${number} of ${sockets.length}`)
  return found
}

test('it watches where the page came from, with the token as a subprotocol', () => {
  begin()
  assert.equal(socket(0).address, 'wss://gateway.example/v1/sessions/s00-1/captions')
  assert.deepEqual(socket(0).protocols, ['stenoflow.v1', 'bearer.abc.def'])
})

test('live is said once, and again after every break', () => {
  begin()
  for (const at of [0, 1]) {
    socket(at).say(partial)
    socket(at).say(partial)
    socket(at).onclose?.()
    mock.timers.tick(5000)
  }
  assert.deepEqual(
    news.map(({ type }) => type),
    ['live', 'waiting', 'live', 'waiting'],
  )
  assert.equal(messages.length, 4)
})

test('a server that drains is left for another one, and not heard any more', () => {
  begin()
  socket(0).say({ type: 'reconnect' })
  assert.ok(socket(0).closed)
  socket(0).say(partial)
  socket(0).onclose?.()
  mock.timers.tick(5000)
  assert.equal(sockets.length, 2)
  assert.equal(messages.length, 0)
})

test('pauses grow while nothing comes, and a message makes them short again', () => {
  begin()
  for (let at = 0; at < 7; at += 1) {
    socket(at).onclose?.()
    mock.timers.tick(5000)
  }
  const pauses = news.map(one => (one.type === 'waiting' ? one.retry_in_ms : 0))
  assert.deepEqual(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000])
  socket(7).say(partial)
  socket(7).onclose?.()
  const last = news.at(-1)
  assert.equal(last?.type === 'waiting' && last.retry_in_ms, 250)
})

for (const [message, code] of /** @type {const} */ ([
  [{ type: 'ended', tracks: [] }, null],
  [{ type: 'error', code: 'unknown_session', message: 'there is none', retryable: false }, 'unknown_session'],
]))
  test(`after ${message.type} it is over`, () => {
    begin()
    socket(0).say(message)
    socket(0).onclose?.()
    mock.timers.tick(60_000)
    const [last] = news.slice(-1)
    assert.equal(last?.type === 'over' && last.code, code)
    assert.equal(sockets.length, 1)
  })

test('an error that passes is met by watching again', () => {
  begin()
  socket(0).say({ type: 'error', code: 'bus_unavailable', message: 'wait', retryable: true })
  assert.deepEqual(news, [])
  socket(0).onclose?.()
  mock.timers.tick(5000)
  assert.equal(sockets.length, 2)
})

test('who closes hears nothing more', () => {
  const { close } = begin()
  close()
  socket(0).say(partial)
  socket(0).onclose?.()
  mock.timers.tick(60_000)
  assert.deepEqual([news, messages, sockets.length], [[], [], 1])
})

test('a call is called what its caller says of it, else who speaks', () => {
  const tracks = [
    { track: 0, name: 'Agent' },
    { track: 1, name: '' },
  ]
  const call = { session: 's', state: 'open', kind: 'live', began_ms: 0, tracks, metadata: {} }
  assert.equal(titleOf(/** @type {any} */ (call)), 'Agent and Track 2')
  assert.equal(
    titleOf(/** @type {any} */ ({ ...call, metadata: { queue: 'billing', desk: '4' } })),
    'billing · 4',
  )
  assert.deepEqual(namesOf(tracks), ['Agent', 'Track 2'])
  assert.equal(kindOf(/** @type {any} */ (call)), 'a live call')
  assert.equal(kindOf(/** @type {any} */ ({ ...call, metadata: { queue: 'billing' } })), 'Agent, Track 2')
  assert.equal(kindOf(/** @type {any} */ ({ ...call, kind: 'file' })), 'a recording')
})

test('lengths are clocks; a server whose clock is ahead shows none below nought', () => {
  assert.deepEqual(
    [-5000, 9999, 61_000, 3_723_000].map(ms => lengthOf(0, ms)),
    ['0:00', '0:09', '1:01', '1:02:03'],
  )
})
