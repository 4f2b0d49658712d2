/** Risk: the two sides of the wire disagree. Replays what the Python suite replays: examples, frames, conversations. */

import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Captions } from '../src/captions.js'
import { decodeFrame, encodeFrame } from '../src/frames.js'
import { parseServerMessage, SERVER_TYPES } from '../src/messages.js'
import { Session, State } from '../src/session.js'
import { tokensOf, wordsOfTokens } from '../src/tokens.js'

/** @import {Effect, SessionEvent, TimerName} from '../src/session.js' */

const WIRE = fileURLToPath(new URL('../../tests/wire/', import.meta.url))
const CLIENT_TYPES = ['start', 'configure', 'finalize', 'pause', 'resume', 'stop']

/**
 * @param {string} folder
 * @returns {{name: string, content: any}[]}
 */
function readFolder(folder) {
  if (!existsSync(WIRE + folder)) return []
  return readdirSync(WIRE + folder)
    .filter(name => name.endsWith('.json'))
    .sort()
    .map(name => ({
      name: basename(name, '.json'),
      content: JSON.parse(readFileSync(`${WIRE}${folder}/${name}`, 'utf8')),
    }))
}

const examples = readFolder('examples')
const skip = examples.length === 0 ? 'tests/wire/examples is not there' : false

test('every type that this side knows has an example, and no other has', { skip }, () => {
  assert.deepEqual(examples.map(({ name }) => name).sort(), [...SERVER_TYPES, ...CLIENT_TYPES].sort())
})

for (const { name, content } of examples.filter(({ name }) => SERVER_TYPES.has(name))) {
  test(`the example of '${name}' is understood`, () => {
    for (const message of Array.isArray(content) ? content : [content]) {
      assert.deepEqual(parseServerMessage(JSON.stringify(message)), message)
      if (name === 'partial' || name === 'final') assert.notEqual(new Captions().receive(message), null)
    }
  })
}

test('the example of a second pass has a word behind each token', { skip }, () => {
  const { text, words } = examples.find(({ name }) => name === 'final')?.content ?? {}
  for (const word of wordsOfTokens(tokensOf(text), words)) assert.notEqual(word, undefined)
})

for (const { content } of readFolder('frames')) {
  for (const { name, hex, track, position, samples } of content.good) {
    test(`frame '${name}' is read and written the same`, () => {
      const frame = decodeFrame(bytesOf(hex))
      assert.deepEqual([frame.track, frame.position], [track, position])
      assert.equal(hexOf(frame.samples.buffer), samples)
      assert.equal(hexOf(encodeFrame(frame.track, frame.position, frame.samples)), hex)
    })
  }
  for (const { name, hex } of content.bad) {
    test(`frame '${name}' is refused`, () => {
      assert.throws(() => decodeFrame(bytesOf(hex)), RangeError)
    })
  }
}

/** The machine, told one side of a conversation; what it sends piles up. */
class ClientSide {
  /** @param {any} start */
  constructor(start) {
    this.start = start
    this.session = new Session({ random: () => 0 })
    this.now = 0
    this.connection = 0
    /** @type {Map<TimerName, number>} */
    this.timers = new Map()
    this.pushed = start.tracks.map(() => 0)
    /** @type {any[]} */
    this.sent = []
  }

  /** @param {any} step */
  tell(step) {
    const { now } = this
    const { connection } = this
    if (step.by === 'app' && step.do === 'begin') this.receive({ type: 'begin', now, start: this.start })
    if (step.by === 'app' && step.do === 'audio') {
      const begin = this.pushed[step.track]
      this.pushed[step.track] += step.samples
      const samples = Int16Array.from({ length: step.samples }, (_, at) => (31 * (begin + at)) % 65536)
      this.receive({ type: 'audio', now, track: step.track, samples })
    }
    if (step.by === 'app' && ['finalize', 'pause', 'resume'].includes(step.do))
      this.receive({ type: step.do, now, track: step.track })
    if (step.by === 'app' && step.do === 'configure')
      this.receive({ type: 'configure', now, settings: step.settings })
    if (step.by === 'app' && step.do === 'stop') this.receive({ type: 'stop', now })
    if (step.by === 'socket' && step.do === 'open') {
      this.fire('retry', Number.POSITIVE_INFINITY) // how long a client waits is its own affair
      this.receive({ type: 'opened', now, connection: this.connection })
    }
    if (step.by === 'socket' && step.do === 'lost') this.receive({ type: 'closed', now, connection })
    if (step.by === 'server') this.receive({ type: 'message', now, connection, message: step.text })
    if (step.by === 'time') {
      this.now += step.ms
      for (const timer of /** @type {const} */ (['watchdog', 'retry', 'give_up'])) this.fire(timer, this.now)
    }
  }

  /**
   * @param {TimerName} timer
   * @param {number} until
   */
  fire(timer, until) {
    if ((this.timers.get(timer) ?? Number.POSITIVE_INFINITY) > until || !this.timers.has(timer)) return
    this.timers.delete(timer)
    this.receive({ type: timer, now: this.now })
  }

  /** @param {SessionEvent} event */
  receive(event) {
    for (const effect of this.session.receive(event)) this.note(effect)
  }

  /** @param {Effect} effect */
  note(effect) {
    if (effect.effect === 'open') this.connection = effect.connection
    if (effect.effect === 'send') this.sent.push({ by: 'client', text: effect.message })
    if (effect.effect === 'send_audio')
      this.sent.push({
        by: 'client',
        frame: hexOf(encodeFrame(effect.track, effect.position, effect.samples)),
      })
    if (effect.effect === 'set_timer') this.timers.set(effect.timer, this.now + effect.delay_ms)
    if (effect.effect === 'clear_timer') this.timers.delete(effect.timer)
  }
}

for (const { name, content } of readFolder('conversations')) {
  test(`in the conversation '${name}' this client says its part`, () => {
    const client = new ClientSide(content.start)
    for (const step of content.steps) {
      if (step.by === 'client') assert.deepEqual(client.sent.shift(), step)
      else client.tell(step)
    }
    assert.deepEqual(client.sent, [])
    assert.equal(client.session.state, State.ENDED)
  })
}

/** @param {string} hex */
function bytesOf(hex) {
  const bytes = Buffer.from(hex, 'hex')
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)
}

/** @param {ArrayBufferLike} bytes */
function hexOf(bytes) {
  return Buffer.from(/** @type {ArrayBuffer} */ (bytes)).toString('hex')
}
