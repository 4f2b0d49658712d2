/**
 * A gateway that hears nothing and says what its script says, as far as the sound it got reaches. For trying the page
 * without Redis, workers and model, and for the browser test.
 */

import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { WebSocketServer } from 'ws'
import { decodeFrame } from '../../src/frames.js'
import { CAPTION_RATE, SUBPROTOCOL } from '../../src/messages.js'
import { CONVERSATION } from './conversation.js'
import { wavOf } from './wav.js'

/** @import {Final, Word} from '../../src/messages.js' */

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const TYPES = new Map([
  ['.html', 'text/html; charset=utf-8'],
  ['.js', 'text/javascript'],
  ['.css', 'text/css'],
  ['.svg', 'image/svg+xml'],
  ['.woff2', 'font/woff2'],
])
const POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; connect-src 'self' ws: wss:"
const WINDOW_S = { live: 12, file: 60 }
/** How far the fake's ear is behind the sound, and what silence ends an utterance. */
const EAR_S = 0.3
const ENDPOINT_S = 0.48
/** How much later the fake's second pass has written an utterance that it hears again. */
const SECOND_PASS_S = 1.4

/**
 * @typedef {object} FakeTrack
 * @property {string} name
 * @property {number} rate
 * @property {number} received
 * @property {number} committed
 * @property {number | null} duration_s
 * @property {{words: Word[], written: string, begin: number, end: number}[]} script
 * @property {number} utterance   number of the open one
 * @property {string} shown       the last partial's text
 * @property {number} words
 * @property {boolean} paused
 * @property {{due: number, draft: import('../../src/messages.js').Partial, final: Final}[]} drafts   wait for their
 *   second pass until so much was heard
 */

/**
 * @typedef {object} FakeSession
 * @property {string} token
 * @property {'live' | 'file'} kind
 * @property {string} second_pass
 * @property {FakeTrack[]} tracks
 * @property {boolean} stopped
 */

/**
 * @param {{port?: number, sample?: string, second_pass?: string}} [options] `sample`: a file to serve as /sample.flac
 *   instead of two tones; `second_pass`: the name of a model that hears everything again, by default none
 */
export async function startFakeGateway({ port = 0, sample, second_pass = '' } = {}) {
  /** @type {Map<string, FakeSession>} */
  const sessions = new Map()
  const behaviour = {
    /** How many starts are refused with `at_capacity` before one is let in. */
    full: 0,
    /** How many more starts the gateway has seen. */
    starts: 0,
  }
  const server = createServer(async (request, answer) => {
    const path = normalize(new URL(request.url ?? '/', 'http://fake').pathname)
    try {
      if (path === '/sample.flac') {
        answer.setHeader('content-type', 'audio/flac')
        answer.end(sample === undefined ? wavOf(24, 2) : await readFile(sample))
        return
      }
      const file = path.startsWith('/js/')
        ? join(ROOT, 'src', path.slice(4))
        : join(ROOT, 'public', path === '/' ? 'index.html' : path)
      answer.setHeader('content-type', TYPES.get(extname(file)) ?? 'application/octet-stream')
      answer.setHeader('content-security-policy', POLICY)
      answer.end(await readFile(file))
    } catch {
      answer.writeHead(404).end()
    }
  })
  const sockets = new WebSocketServer({
    server,
    path: '/v1/stream',
    handleProtocols: offered => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  })
  sockets.on('connection', socket => {
    /** @type {FakeSession | null} */
    let session = null
    const send = (/** @type {object} */ message) => socket.send(JSON.stringify(message))
    const alive = setInterval(() => session && ack(session, send), 400)
    socket.on('close', () => clearInterval(alive))
    socket.on('message', (data, isBinary) => {
      if (isBinary) {
        if (session === null) return
        const bytes = /** @type {Buffer} */ (data)
        const { track, position, samples } = decodeFrame(
          /** @type {ArrayBuffer} */ (
            bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
          ),
        )
        const heard = session.tracks[track]
        if (heard === undefined || (position > heard.received && !heard.paused)) {
          send({
            type: 'error',
            code: 'gap',
            message: `sample ${position} came before ${heard?.received}`,
            retryable: false,
            retry_after_ms: null,
          })
          return socket.close()
        }
        heard.received = Math.max(heard.received, position + samples.length)
        listen(heard, track, send, false, session.second_pass !== '')
        ack(session, send)
        return
      }
      const message = JSON.parse(String(data))
      if (message.type === 'start') {
        behaviour.starts += 1
        if (behaviour.full > 0) {
          behaviour.full -= 1
          send({
            type: 'error',
            code: 'at_capacity',
            message: 'all places are taken',
            retryable: true,
            retry_after_ms: 1000,
          })
          return socket.close()
        }
        session = sessions.get(message.resume?.token) ?? open(message, second_pass)
        sessions.set(session.token, session)
        send({
          type: 'started',
          session: 's00-fake',
          resume_token: session.token,
          bundle: 'scripted',
          second_pass: session.second_pass,
          tracks: session.tracks.map(({ name, received, committed }, track) => ({
            track,
            name,
            next: received,
            committed,
          })),
          limits: { window_s: WINDOW_S[session.kind], max_frame_s: 2, max_tracks: 8 },
        })
        ack(session, send)
        for (const { drafts } of session.tracks) for (const { draft } of drafts) send(draft)
      }
      if (message.type === 'pause' || message.type === 'resume')
        for (const track of session?.tracks ?? []) track.paused = message.type === 'pause'
      if (message.type === 'stop' && session !== null) {
        for (const [number, track] of session.tracks.entries())
          listen(track, number, send, true, session.second_pass !== '')
        ack(session, send)
        send({
          type: 'ended',
          tracks: session.tracks.map(({ received, utterance, words }, track) => ({
            track,
            received,
            committed: received,
            utterances: utterance,
            words,
          })),
        })
        socket.close()
      }
    })
  })
  await new Promise(resolve => server.listen(port, '127.0.0.1', () => resolve(null)))
  const address = /** @type {import('node:net').AddressInfo} */ (server.address())
  return {
    url: `http://127.0.0.1:${address.port}`,
    behaviour,
    /** Cuts every connection, as a gateway that dies does. */
    cut: () => sockets.clients.forEach(socket => void socket.terminate()),
    async close() {
      for (const socket of sockets.clients) socket.terminate()
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

/**
 * @param {import('../../src/messages.js').Start} start
 * @param {string} second_pass
 * @returns {FakeSession}
 */
function open(start, second_pass) {
  return {
    token: `fake-${Math.random().toString(36).slice(2)}-0123456789`,
    kind: start.kind,
    second_pass: start.second_pass === 'off' ? '' : second_pass,
    stopped: false,
    tracks: start.tracks.map(({ name, sample_rate, duration_s }, number) => ({
      name,
      rate: sample_rate,
      received: 0,
      committed: 0,
      duration_s: duration_s ?? null,
      script: CONVERSATION(number, start.tracks.length),
      utterance: 0,
      shown: '',
      words: 0,
      paused: false,
      drafts: [],
    })),
  }
}

/**
 * Says what the sound so far bears.
 * @param {FakeTrack} track
 * @param {number} number
 * @param {(message: object) => void} send
 * @param {boolean} over no more sound comes
 * @param {boolean} again whether a second pass hears it, too
 */
function listen(track, number, send, over, again) {
  const heard = (track.received / track.rate - EAR_S) * CAPTION_RATE
  /** @param {Final} final */
  const settle = final => {
    send(final)
    track.committed = Math.min(
      track.received,
      Math.ceil(((final.end / CAPTION_RATE) * track.rate) / 160) * 160,
    )
  }
  for (;;) {
    const open = track.script[track.utterance]
    if (open === undefined) break
    const words = open.words.filter(({ end }) => end <= heard)
    if (words.length === 0) break
    const whole = words.length === open.words.length && heard >= open.end + ENDPOINT_S * CAPTION_RATE
    const text = words.map(({ word }) => word).join(' ')
    if (whole || over) {
      const confidence = words.reduce((sum, word) => sum + word.confidence, 0) / words.length
      const end = Math.max(open.end, words.at(-1)?.end ?? 0)
      const { utterance } = track
      const { begin } = open
      const common = /** @type {const} */ ({ track: number, utterance, begin, end })
      /** @type {Pick<Final, 'words' | 'alternatives' | 'confidence'>} */
      const last = { words, alternatives: [], confidence }
      if (again) {
        /** @type {import('../../src/messages.js').Partial} */
        const draft = { type: 'partial', ...common, revision: Math.round(heard), text, stable: text.length }
        send(draft)
        const written = words.length === open.words.length ? open.written : text
        const due = heard + SECOND_PASS_S * CAPTION_RATE
        track.drafts.push({
          due,
          draft,
          final: { type: 'final', ...common, text: written, ...last, pass: 2 },
        })
      } else settle({ type: 'final', ...common, text, ...last, pass: 1 })
      track.words += words.length
      track.utterance += 1
      track.shown = ''
      if (over) break
      continue
    }
    if (text !== track.shown) {
      const stable = words
        .slice(0, -2)
        .map(({ word }) => word)
        .join(' ').length
      // A guess that the next sound corrects, so that a changing tail can be seen.
      const guess = words.length % 5 === 3 ? `${text.slice(0, -1)}` : text
      send({
        type: 'partial',
        track: number,
        utterance: track.utterance,
        revision: Math.round(heard),
        begin: open.begin,
        end: Math.round(heard),
        text: guess,
        stable,
      })
      track.shown = text
      send({
        type: 'latency',
        track: number,
        total_ms: 74,
        chunk_ms: 160,
        look_ahead_ms: 240,
        steps: { queue: 3.4, features: 9, acoustic: 41 + (words.length % 7), decoder: 14, back: 5.2 },
      })
    }
    break
  }
  while (track.drafts[0] !== undefined && (over || track.drafts[0].due <= heard))
    settle(/** @type {FakeTrack['drafts'][number]} */ (track.drafts.shift()).final)
}

/**
 * @param {FakeSession} session
 * @param {(message: object) => void} send
 */
function ack({ tracks, kind, second_pass }, send) {
  const numbered = tracks.map((track, number) => ({ ...track, track: number }))
  send({
    type: 'ack',
    tracks: numbered.map(({ track, received, committed, rate }) => ({
      track,
      received,
      committed,
      window_end: received + WINDOW_S[kind] * rate,
    })),
  })
  send({
    type: 'progress',
    tracks: numbered.map(({ track, received, committed, rate, duration_s }) => {
      const at = Math.round((received / rate) * CAPTION_RATE)
      return {
        track,
        received: at,
        features: at,
        acoustic: at,
        decoder: at,
        second_pass: second_pass === '' ? null : Math.round((committed / rate) * CAPTION_RATE),
        behind_s: 0.2,
        fraction: duration_s === null ? null : Math.min(1, received / rate / duration_s),
      }
    }),
  })
}
