/**
 * The client's side of a session, as a pure machine: events in, effects out.
 *
 * Two rules hold in this file. It never touches a socket, a timer or a clock: `create-captions.js` carries its effects
 * out and tells it the time with each event. And every reaction starts in TRANSITIONS: what is not in the table is
 * either the caller's mistake (thrown) or the server's (the session fails with `protocol_error`).
 *
 * The theory, in the words of DESIGN 7. The client keeps audio and marks from `committed` on. A broken connection is
 * an ordinary event: after any break the machine waits a moment, connects again with the resume token and sends from
 * the `next` that the server names. Cursors may move back (`next`, `rewind`), the ring never does. Nothing is sent
 * beyond `window_end`. Two seconds without an `ack` count as a break, since a send into half-dead TCP reports nothing
 * (PAINS 11). The session is over when the server says `ended`, not when the socket closes (PAINS 9).
 *
 *      idle ─begin→ connecting ─opened→ starting ─started→ streaming ─stop→ draining ─all sent→ stopping ─ended→ ended
 *                     ↑    └──────────── break ────┴───────────┴──────────────┴───────────────────┘
 *                     └─retry─ waiting ←──┘                 any state ─refused, superseded, given up→ failed
 *
 * Events of a socket carry the number of their connection; those of an older one are left out before the table.
 */

import { CAPTION_RATE, DEFAULT_WINDOW_S } from './messages.js'
import { State, TRANSITIONS } from './states.js'
import { RING_BEYOND_WINDOW_S, Track } from './track.js'

/** @import {ClientMessage, ClientPosition, ServerMessage, Settings, Spotted, Start} from './messages.js' */

export { EVENTS, State, TRANSITIONS } from './states.js'

/** A sentence for the person and a code for the program. @typedef {{code: string, message: string}} Cause */

/**
 * What may happen to a session. `now` is any clock in milliseconds that does not go back.
 * @typedef {{type: 'begin', now: number, start: Start}
 *   | {type: 'audio', now: number, track: number, samples: Int16Array}
 *   | {type: 'finalize' | 'pause' | 'resume', now: number, track?: number}
 *   | {type: 'configure', now: number, settings: Settings}
 *   | {type: 'stop' | 'abandon', now: number}
 *   | {type: 'opened' | 'closed', now: number, connection: number}
 *   | {type: 'message', now: number, connection: number, message: ServerMessage}
 *   | {type: 'watchdog' | 'retry' | 'give_up', now: number}} SessionEvent
 */

/** @typedef {'watchdog' | 'retry' | 'give_up'} TimerName */

/**
 * What the shell has to do, in this order. `set_timer` replaces a timer of the same name.
 * @typedef {{effect: 'open', connection: number}
 *   | {effect: 'send', message: ClientMessage}
 *   | {effect: 'send_audio', track: number, position: ClientPosition, samples: Int16Array}
 *   | {effect: 'close', connection: number}
 *   | {effect: 'set_timer', timer: TimerName, delay_ms: number}
 *   | {effect: 'clear_timer', timer: TimerName}
 *   | {effect: 'tell', tell: Tell}} Effect
 */

/**
 * What the application hears. `retry_in_ms` is there in `waiting`, `cause` wherever something went wrong.
 * @typedef {{type: 'state', state: State, cause: Cause | null, retry_in_ms: number | null}
 *   | {type: 'message', message: ServerMessage}
 *   | {type: 'lost', track: number, samples: number}} Tell
 */

export const WATCHDOG_MS = 2000
/** A connection that is not open and started by then is taken for dead. */
export const HANDSHAKE_MS = 5000
/** Sixty seconds after the last sign of life the server ends a session; trying much longer is of no use. */
export const GIVE_UP_MS = 120_000
/**
 * `superseded` so soon after a resume may come from an earlier connection of our own, held up on its way; one more
 * connection settles it. Another client with the same token would win again, and then it has won.
 */
export const OWN_ECHO_MS = 5000
const FIRST_RETRY_MS = 250
const LONGEST_RETRY_MS = 5000
/** A timer that fires this late was held up with the whole page; the acks wait in the same queue behind it. */
const PAGE_SLEPT_MS = 1000
const LONGEST_FRAME_S = 1

/** The caller did what the table does not allow. */
export class SessionMisuse extends Error {}

export class Session {
  /** @param {{random?: () => number}} [options] `random` spreads reconnects; tests pass a constant */
  constructor({ random = Math.random } = {}) {
    this.random = random
    /** @type {State} */
    this.state = State.IDLE
    /** @type {Start | null} */
    this.start = null
    /** @type {Track[]} */
    this.tracks = []
    this.connection = 0
    /** Breaks since the last ack. */
    this.failures = 0
    /** Reconnects of a session that had begun. */
    this.resumes = 0
    /** @type {string | null} */
    this.sessionName = null
    /** @type {string | null} */
    this.resumeToken = null
    this.stopAsked = false
    this.watchdogDue = 0
    this.startedAt = 0
    this.frame_s = LONGEST_FRAME_S
    /** Whether one `superseded` was already taken for our own echo. */
    this.doubted = false
    /** @type {Cause | null} */
    this.lastCause = null
    /** Settings that are asked for and not in `start` yet, oldest first. @type {Settings[]} */
    this.asked = []
    /** How many are. */
    this.inForce = 0
    /** All of these together. @type {Settings} */
    this.changed = {}
    /** Occurrences that were told. @type {Set<string>} */
    this.told = new Set()
    /** @type {Effect[]} */
    this.effects = []
  }

  /**
   * Takes one event.
   *
   * @param {SessionEvent} event
   * @returns {Effect[]} to be carried out in order, before the next event
   * @throws {SessionMisuse} for an event of the caller's that its state does not allow
   */
  receive(event) {
    this.effects = []
    if ('connection' in event && event.connection !== this.connection) return []
    const name = event.type === 'message' ? event.message.type : event.type
    const method = TRANSITIONS[this.state]?.[name]
    if (method === undefined) {
      if (event.type !== 'message') throw new SessionMisuse(`'${name}' in state '${this.state}'`)
      this.fail({
        code: 'protocol_error',
        message: `The server sent '${name}' out of turn (${this.state}). Please start again.`,
      })
    } else {
      // The table's names are this class's methods; the walk over all cells in the tests holds the two together.
      /** @type {{[method: string]: any}} */ const machine = Object(this)
      machine[method](event)
    }
    return this.effects
  }

  /**
   * How many samples may be pushed now without waiting for the server; what a file is read by.
   * @param {number} track
   */
  room(track) {
    const { ring, window_end } = this.at(track)
    return Math.max(0, Math.min(window_end, ring.begin + ring.capacity) - ring.end)
  }

  /** Seconds of the slowest track that the server does not have yet. */
  get unsent_s() {
    return Math.max(0, ...this.tracks.map(({ ring, received, rate }) => (ring.end - received) / rate))
  }

  // ---------------------------------------------------------------- the caller's events

  /** @param {{now: number, start: Start}} event */
  begin({ now, start }) {
    this.start = start
    this.tracks = start.tracks.map(
      ({ sample_rate }, number) => new Track(number, sample_rate, DEFAULT_WINDOW_S[start.kind]),
    )
    this.setTimer('give_up', GIVE_UP_MS)
    this.connect({ now })
  }

  /** @param {{track: number, samples: Int16Array}} event */
  keep({ track, samples }) {
    if (this.stopAsked) return
    const lost = this.at(track).push(samples)
    if (lost > 0) this.tell({ type: 'lost', track, samples: lost })
    this.pump(track)
  }

  /** @param {{track?: number}} event */
  mark({ track }) {
    if (this.stopAsked) return
    for (const number of this.which(track)) {
      this.at(number).mark('finalize')
      this.pump(number)
    }
  }

  /** What is said from here on is silence; time goes on. @param {{track?: number}} event */
  mute({ track }) {
    if (this.stopAsked) return
    for (const number of this.which(track)) {
      this.at(number).pause()
      this.pump(number)
    }
  }

  /** @param {{track?: number}} event */
  unmute({ track }) {
    if (this.stopAsked) return
    for (const number of this.which(track)) {
      this.at(number).resume()
      this.pump(number)
    }
  }

  /** Other settings for all tracks, from the next sample on. @param {{settings: Settings}} event */
  configure({ settings }) {
    if (this.stopAsked) return
    this.asked.push(settings)
    const configures = this.inForce + this.asked.length
    for (const [number, track] of this.tracks.entries()) {
      track.configure(settings, configures)
      this.pump(number)
    }
  }

  /** Also without a connection (a short file is over before `started`): it goes out behind the last sample. */
  stop() {
    if (this.stopAsked) return
    this.stopAsked = true
    for (const track of this.tracks) track.mark('stop')
    this.pumpAll()
  }

  abandon() {
    this.leave(State.ENDED, { code: 'abandoned', message: 'You left before the server had finished.' })
  }

  ignore() {}

  // ---------------------------------------------------------------- connection

  /** @param {{now: number}} event */
  connect({ now }) {
    this.connection += 1
    this.become(State.CONNECTING, this.lastCause)
    this.effects.push({ effect: 'open', connection: this.connection })
    this.feedWatchdog(now, HANDSHAKE_MS)
  }

  /** @param {{now: number}} event */
  greet({ now }) {
    const { start } = this
    if (start === null) throw new SessionMisuse('opened before begin')
    this.become(State.STARTING, this.lastCause)
    const committed = this.tracks.map((track, number) => ({ track: number, committed: track.committed }))
    const message =
      this.resumeToken === null ? start : { ...start, resume: { token: this.resumeToken, tracks: committed } }
    this.effects.push({ effect: 'send', message })
    this.feedWatchdog(now, HANDSHAKE_MS)
  }

  /** @param {{now: number, message: import('./messages.js').Started}} event */
  go({ now, message }) {
    if (this.resumeToken !== null) this.resumes += 1
    this.sessionName = message.session
    this.resumeToken = message.resume_token
    for (const { track: number, next, committed } of message.tracks) {
      const track = this.tracks[number]
      if (track === undefined) continue
      const window = Math.round(message.limits.window_s * track.rate) // 8.2 s are no whole number of samples here
      track.ring.grow(window + RING_BEYOND_WINDOW_S * track.rate)
      track.received = next
      track.window_end = committed + window
      if (!this.moveCursor(track, next)) return
      this.commit(track, committed)
    }
    this.lastCause = null
    this.clearTimer('give_up')
    this.feedWatchdog(now, WATCHDOG_MS)
    this.startedAt = now
    this.frame_s = Math.min(LONGEST_FRAME_S, message.limits.max_frame_s)
    this.become(this.stopAsked ? State.DRAINING : State.STREAMING)
    this.tell({ type: 'message', message })
    for (const track of this.tracks) {
      this.tellSettings(track)
      this.tellState(track)
    }
    this.pumpAll()
  }

  lose() {
    this.breakOff({ code: 'connection_lost', message: 'The connection to the server broke.' })
  }

  /** The watchdog's time is up. @param {{now: number}} event */
  bark({ now }) {
    if (now - this.watchdogDue > PAGE_SLEPT_MS) return this.feedWatchdog(now, WATCHDOG_MS)
    this.breakOff({ code: 'no_sign_of_life', message: 'The server went quiet.' })
  }

  /** The server drains: go elsewhere at once, nothing is wrong. */
  move() {
    this.breakOff(
      { code: 'moved', message: 'The server asked us to connect again.' },
      this.random() * FIRST_RETRY_MS,
    )
  }

  giveUp() {
    this.fail(
      this.lastCause ?? { code: 'unreachable', message: 'The server cannot be reached. Is it running?' },
    )
  }

  // ---------------------------------------------------------------- the server's messages

  /** @param {{message: ServerMessage}} event */
  pass({ message }) {
    this.tell({ type: 'message', message })
  }

  /** @param {{now: number, message: import('./messages.js').Ack}} event */
  acknowledge({ now, message }) {
    this.failures = 0
    this.feedWatchdog(now, WATCHDOG_MS)
    for (const { track: number, received, committed, window_end } of message.tracks) {
      const track = this.tracks[number]
      if (track === undefined) continue
      track.received = received
      track.window_end = window_end
      this.commit(track, committed)
    }
    this.tell({ type: 'message', message })
    this.pumpAll()
  }

  /**
   * What was delivered is final even where its ack got lost: after a break only what lies behind it is wanted.
   * @param {{message: import('./messages.js').Final}} event
   */
  takeFinal({ message }) {
    const track = this.tracks[message.track]
    if (track !== undefined) this.commit(track, Math.floor((message.end * track.rate) / CAPTION_RATE))
    this.tell({ type: 'message', message })
  }

  /** It comes again after a resume, and is told once. @param {{message: Spotted}} event */
  takeSpotted({ message }) {
    const occurrence = `${message.track} ${message.end} ${message.phrase}`
    if (this.told.has(occurrence)) return
    this.told.add(occurrence)
    this.tell({ type: 'message', message })
  }

  /** @param {{message: import('./messages.js').Status}} event */
  noteStatus({ message }) {
    this.tell({ type: 'message', message })
    if (message.status !== 'rewind' || typeof message.next !== 'number') return
    for (const [number, track] of this.tracks.entries()) {
      if (typeof message.track === 'number' && message.track !== number) continue
      if (!this.moveCursor(track, message.next)) return
      // An empty frame says that the rewind was heard, where nothing else does.
      if (track.cursor === track.ring.end || track.wasPaused || this.inForce > 0)
        this.sendSound(number, track.cursor)
      this.tellSettings(track)
      this.tellState(track)
    }
    this.pumpAll()
  }

  /** @param {{now: number, message: import('./messages.js').ServerError}} event */
  refuse({ now, message }) {
    const cause = { code: message.code, message: message.message }
    this.tell({ type: 'message', message })
    const ownEcho = cause.code === 'superseded' && this.resumes > 0 && now - this.startedAt < OWN_ECHO_MS
    if (ownEcho && !this.doubted) {
      this.doubted = true
      this.breakOff(cause)
    } else if (message.retryable) this.breakOff(cause, message.retry_after_ms ?? undefined)
    else this.fail(cause)
  }

  /** @param {{message: import('./messages.js').Ended}} event */
  end({ message }) {
    this.tell({ type: 'message', message })
    this.leave(State.ENDED, null)
  }

  // ---------------------------------------------------------------- what they are made of

  pumpAll() {
    for (const number of this.tracks.keys()) this.pump(number)
  }

  /** Sends all that window and marks allow, in order; only while sound flows. @param {number} number */
  pump(number) {
    if (!this.flows) return
    const track = this.at(number)
    for (;;) {
      const mark = track.marks.find(({ sent }) => !sent)
      const limit = Math.min(mark?.at ?? track.ring.end, track.window_end)
      while (track.cursor < limit)
        this.sendSound(number, Math.min(limit, track.cursor + this.frame_s * track.rate))
      if (mark === undefined || track.cursor < mark.at) break
      this.effects.push({ effect: 'send', message: mark.message })
      mark.sent = true
    }
    this.settle()
  }

  /**
   * @param {number} number
   * @param {ClientPosition} end
   */
  sendSound(number, end) {
    const track = this.at(number)
    // A mark stands at either end of a pause, so all of this is muted or none: a frame without samples says how far.
    const muted = track.pausedAt(track.cursor)
    const samples = muted ? new Int16Array(0) : track.ring.read(track.cursor, end)
    this.effects.push({
      effect: 'send_audio',
      track: number,
      position: muted ? end : track.cursor,
      samples,
    })
    track.cursor = end
  }

  /** Which degree of being over it is. */
  settle() {
    const allSent = this.tracks.every(({ marks }) => marks.every(({ sent }) => sent))
    const state = this.stopAsked ? (allSent ? State.STOPPING : State.DRAINING) : State.STREAMING
    if (state !== this.state) this.become(state)
  }

  get flows() {
    return this.state === State.STREAMING || this.state === State.DRAINING || this.state === State.STOPPING
  }

  /**
   * The settings in force where sound is sent again from, once any that were changed are final: their marks are not
   * sent again, Redis may have lost them, and the server may never have seen them.
   * @param {Track} track
   */
  tellSettings(track) {
    if (this.inForce === 0) return
    const settings = { ...this.changed, ...track.settingsBeforeCursor() }
    this.effects.push({ effect: 'send', message: { type: 'configure', track: track.number, ...settings } })
  }

  /** Where sound is sent again from, the server hears how the track stands there. @param {Track} track */
  tellState(track) {
    const message = track.stateAtCursor()
    if (message !== null) this.effects.push({ effect: 'send', message })
  }

  /**
   * What is final is never sent again: settings that came into force before it are part of `start` now. Redis may come
   * back empty, and then a later `start` and the marks that are kept are all that is known.
   * @param {Track} track
   * @param {ClientPosition} committed
   */
  commit(track, committed) {
    for (const { configures } of track.commit(committed))
      for (; this.inForce < configures && this.start !== null; this.inForce += 1) {
        const settings = this.asked.shift()
        this.start = { ...this.start, ...settings }
        this.changed = { ...this.changed, ...settings }
      }
  }

  /**
   * @param {Track} track
   * @param {ClientPosition} next
   * @returns {boolean} false: the server wants what was never said, or what it had made final; the session failed
   */
  moveCursor(track, next) {
    if (next > track.ring.end || next < track.committed) {
      const message = `The server wants sample ${next}; here are ${track.committed} to ${track.ring.end}.`
      this.fail({ code: 'protocol_error', message })
      return false
    }
    track.moveCursor(next)
    return true
  }

  /**
   * The connection is of no use any more: wait, then connect again.
   * @param {Cause} cause
   * @param {number} [delay_ms] where the server named one
   */
  breakOff(cause, delay_ms) {
    const wasFlowing = this.state !== State.CONNECTING && this.state !== State.STARTING
    this.lastCause = cause
    this.closeConnection()
    const growing = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (this.failures - 1))
    const own = this.failures === 0 ? this.random() * 100 : growing * (0.5 + this.random() / 2)
    this.failures += 1
    const retry_in_ms = Math.round(delay_ms ?? own)
    if (wasFlowing) this.setTimer('give_up', GIVE_UP_MS)
    this.clearTimer('watchdog')
    this.setTimer('retry', retry_in_ms)
    this.become(State.WAITING, cause, retry_in_ms)
  }

  /** @param {Cause} cause */
  fail(cause) {
    this.leave(State.FAILED, cause)
  }

  /**
   * @param {State} state
   * @param {Cause | null} cause
   */
  leave(state, cause) {
    this.closeConnection()
    for (const timer of /** @type {const} */ (['watchdog', 'retry', 'give_up'])) this.clearTimer(timer)
    this.become(state, cause)
  }

  closeConnection() {
    if (this.state !== State.WAITING) this.effects.push({ effect: 'close', connection: this.connection })
    this.connection += 1 // what the old socket still says is not heard
  }

  /**
   * The only place where the state changes.
   * @param {State} state
   * @param {Cause | null} [cause]
   * @param {number | null} [retry_in_ms]
   */
  become(state, cause = null, retry_in_ms = null) {
    this.state = state
    this.tell({ type: 'state', state, cause, retry_in_ms })
  }

  /**
   * @param {number} now
   * @param {number} delay_ms
   */
  feedWatchdog(now, delay_ms) {
    this.watchdogDue = now + delay_ms
    this.setTimer('watchdog', delay_ms)
  }

  /**
   * @param {TimerName} timer
   * @param {number} delay_ms
   */
  setTimer(timer, delay_ms) {
    this.effects.push({ effect: 'set_timer', timer, delay_ms })
  }

  /** @param {TimerName} timer */
  clearTimer(timer) {
    this.effects.push({ effect: 'clear_timer', timer })
  }

  /** @param {Tell} tell */
  tell(tell) {
    this.effects.push({ effect: 'tell', tell })
  }

  /** @param {number} [track] all, where left out */
  which(track) {
    return track === undefined ? [...this.tracks.keys()] : [track]
  }

  /** @param {number} number */
  at(number) {
    const track = this.tracks[number]
    if (track === undefined) throw new SessionMisuse(`track ${number} of ${this.tracks.length}`)
    return track
  }
}
