/** Sockets of the gateway: where they lead, and how a token goes with them. */

import { SUBPROTOCOL } from './messages.js'

/**
 * @param {string} url relative to the page; `http` counts as `ws`
 * @throws {TypeError} where it is no address
 */
export function socketAddress(url) {
  const address = new URL(url, globalThis.location?.href)
  address.protocol = address.protocol.replace('http', 'ws')
  return address
}

/**
 * Opens a socket. A token goes as a subprotocol, never into the address, which ends up in logs (PAINS 29).
 * @param {URL} address
 * @param {string | undefined} token
 * @throws {SyntaxError} where the token holds what a subprotocol cannot
 */
export function openSocket(address, token) {
  const protocols = token === undefined ? [SUBPROTOCOL] : [SUBPROTOCOL, `bearer.${token}`]
  return new WebSocket(address, protocols)
}
