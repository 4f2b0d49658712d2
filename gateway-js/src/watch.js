/**
 * Watches a session that somebody else speaks in: what was said so far, then captions as they come.
 *
 *     const watching = watch({ session: 's00-…', onMessage: message => …, onNews: news => … })
 *     watching.close()
 *
 * A server that drains, or a connection that breaks, is met by watching again: everything then comes anew from the
 * start, and who shows it leaves out what it has (`captions.js` does).
 */

/** @import {ServerMessage} from './messages.js' */

import { parseServerMessage } from './messages.js'
import { openSocket, socketAddress } from './socket.js'

const FIRST_RETRY_MS = 250
const LONGEST_RETRY_MS = 5000

/**
 * `over`: nothing more comes; with a code where that is an error.
 * @typedef {{type: 'live'} | {type: 'waiting', retry_in_ms: number}
 *   | {type: 'over', code: string | null, message: string}} WatchNews
 */

/**
 * @typedef {object} WatchOptions
 * @property {string} session
 * @property {string} [token]
 * @property {(message: ServerMessage) => void} onMessage
 * @property {(news: WatchNews) => void} onNews
 */

/** @param {WatchOptions} options */
export function watch({ session, token, onMessage, onNews }) {
  /** @type {WebSocket | null} */
  let socket = null
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer
  let failures = 0
  let live = false
  const address = socketAddress(`/v1/sessions/${encodeURIComponent(session)}/captions`)

  function open() {
    const opening = openSocket(address, token)
    socket = opening
    opening.onmessage = ({ data }) => {
      if (socket === opening) take(data)
    }
    opening.onclose = () => {
      if (socket === opening) again()
    }
  }

  /** @param {unknown} data */
  function take(data) {
    const message = typeof data === 'string' ? parseServerMessage(data) : null
    if (message === null) return
    if (message.type === 'reconnect') again()
    else if (message.type === 'ended') end(null, '')
    else if (message.type === 'error') {
      if (!message.retryable) end(message.code, message.message)
    } else {
      failures = 0
      if (!live) onNews({ type: 'live' })
      live = true
      onMessage(message)
    }
  }

  function again() {
    close()
    live = false
    const retry_in_ms = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures)
    failures += 1
    onNews({ type: 'waiting', retry_in_ms })
    timer = setTimeout(open, retry_in_ms)
  }

  /**
   * @param {string | null} code
   * @param {string} message
   */
  function end(code, message) {
    close()
    onNews({ type: 'over', code, message })
  }

  function close() {
    clearTimeout(timer)
    socket?.close()
    socket = null
  }

  open()
  return { close }
}
