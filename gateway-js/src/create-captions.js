/**
 * The shell round the session machine: a WebSocket, three timers, the browser's clock. It carries effects out and
 * decides nothing.
 *
 *     const captions = createCaptions({
 *       url: '/v1/stream',
 *       start: { type: 'start', kind: 'live', tracks: [{ name: 'You', encoding: 'pcm_s16le', sample_rate: 16000 }] },
 *       onTell: tell => …,
 *     })
 *     captions.push(0, samples)   // Int16Array, as it comes
 *     captions.stop()             // the last finals follow, then the state 'ended'
 */

/** @import {Boost, Settings, Start} from './messages.js' */
/** @import {Effect, SessionEvent, Tell, TimerName} from './session.js' */

import { encodeFrame } from './frames.js'
import { parseServerMessage } from './messages.js'
import { Session } from './session.js'
import { openSocket, socketAddress } from './socket.js'

/**
 * @typedef {object} CaptionsOptions
 * @property {string} url            of the stream; relative to the page, `http` counts as `ws`
 * @property {string | (() => string | Promise<string>)} [token]  goes as a subprotocol, never into the address (PAINS 29);
 *   a function is asked before every connection, as one-use tickets need it
 * @property {Start} start
 * @property {string | null} [second_pass]  a model that hears each utterance again, by name; `off` for none
 * @property {Boost[]} [boost]              names and phrases that may be said
 * @property {(tell: Tell) => void} onTell
 */

/** @typedef {ReturnType<typeof createCaptions>} RunningCaptions */

/**
 * The first message, with the options that were given and without the others: a server that knows none of them takes
 * it too.
 * @param {Pick<CaptionsOptions, 'start' | 'second_pass' | 'boost'>} options
 * @returns {Start}
 */
export function startOf({ start, second_pass, boost = [] }) {
  return { ...start, ...(second_pass ? { second_pass } : {}), ...(boost.length > 0 ? { boost } : {}) }
}

/**
 * Opens a session and keeps it open through breaks.
 * @param {CaptionsOptions} options
 */
export function createCaptions({ url, token, onTell, ...asked }) {
  const session = new Session()
  const address = socketAddress(url)
  /** @type {Map<TimerName, ReturnType<typeof setTimeout>>} */
  const timers = new Map()
  /** @type {WebSocket | null} */
  let socket = null
  /** The connection that is to be open; another one may be wanted by the time its token comes. @type {number | null} */
  let wanted = null
  /** Events that come up while effects are being carried out wait here. @type {SessionEvent[]} */
  const queue = []
  let busy = false

  /** @param {SessionEvent} event */
  function receive(event) {
    queue.push(event)
    if (busy) return
    busy = true
    try {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        for (const effect of session.receive(next)) carryOut(effect)
      }
    } finally {
      busy = false
    }
  }

  /** @param {Effect} effect */
  function carryOut(effect) {
    switch (effect.effect) {
      case 'open':
        wanted = effect.connection
        void open(effect.connection)
        break
      case 'send':
        socket?.send(JSON.stringify(effect.message))
        break
      case 'send_audio':
        socket?.send(encodeFrame(effect.track, effect.position, effect.samples))
        break
      case 'close':
        socket?.close()
        socket = wanted = null
        break
      case 'set_timer': {
        const { timer, delay_ms } = effect
        clearTimeout(timers.get(timer))
        timers.set(
          timer,
          setTimeout(() => receive({ type: timer, now: performance.now() }), delay_ms),
        )
        break
      }
      case 'clear_timer':
        clearTimeout(timers.get(effect.timer))
        break
      case 'tell':
        onTell(effect.tell)
        break
    }
  }

  /** @param {number} connection */
  async function open(connection) {
    try {
      const bearer = typeof token === 'function' ? await token() : token
      if (wanted === connection) socket = connect(connection, bearer)
    } catch {
      // No token could be had: as if the connection had broken, so it is tried again.
      receive({ type: 'closed', now: performance.now(), connection })
    }
  }

  /**
   * @param {number} connection
   * @param {string | undefined} bearer
   */
  function connect(connection, bearer) {
    const opening = openSocket(address, bearer)
    opening.binaryType = 'arraybuffer'
    opening.onopen = () => receive({ type: 'opened', now: performance.now(), connection })
    opening.onclose = () => receive({ type: 'closed', now: performance.now(), connection })
    opening.onmessage = ({ data }) => {
      const message = typeof data === 'string' ? parseServerMessage(data) : null
      if (message !== null) receive({ type: 'message', now: performance.now(), connection, message })
    }
    return opening
  }

  receive({ type: 'begin', now: performance.now(), start: startOf(asked) })

  return {
    /**
     * Gives the next samples of a track; never waits, never throws away what the ring can hold.
     * @param {number} track
     * @param {Int16Array} samples
     */
    push: (track, samples) => receive({ type: 'audio', now: performance.now(), track, samples }),
    /** How many samples a file may push now. @param {number} track */
    room: track => session.room(track),
    /** Ends the open utterance now. @param {number} [track] all, where left out */
    finalize: track => receive({ type: 'finalize', now: performance.now(), ...of(track) }),
    /** Mutes: what is pushed from here on is silence. @param {number} [track] all, where left out */
    pause: track => receive({ type: 'pause', now: performance.now(), ...of(track) }),
    /** Ends the pause. @param {number} [track] all, where left out */
    resume: track => receive({ type: 'resume', now: performance.now(), ...of(track) }),
    /**
     * Other settings for all tracks, from the next sample that is pushed; what is left out stays as it is.
     * @param {Settings} settings
     */
    configure: settings => receive({ type: 'configure', now: performance.now(), settings }),
    /** No more sound comes; what was said still arrives. */
    stop: () => receive({ type: 'stop', now: performance.now() }),
    /** Ends at once; what the server has not said by now is not heard. */
    abandon: () => receive({ type: 'abandon', now: performance.now() }),
    /** The machine itself, to look at. */
    session,
  }
}

/** @param {number | undefined} track */
function of(track) {
  return track === undefined ? {} : { track }
}
