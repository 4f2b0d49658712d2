/** What the page says to a person: one plain sentence for each thing that can happen, with what to do about it. */

/** @import {Cause} from './session.js' */

/** @typedef {{title: string, sentence: string}} Said */

/**
 * Codes of the server, of the session machine and of this page. What is not here is said in the server's own words.
 * @type {Readonly<Record<string, string>>}
 */
const BY_CODE = Object.freeze({
  at_capacity: 'All lines are busy.',
  unauthorized: 'This server asks for a valid token.',
  token_expired: 'Your token has expired. The server asks for a new one.',
  connection_lost: 'The connection broke.',
  no_sign_of_life: 'The server went quiet.',
  moved: 'Moving to another server.',
  unreachable: 'The server cannot be reached.',
  superseded: 'This call went on in another window.',
  bus_unavailable: 'The server cannot store sound just now.',
})

/** @type {Readonly<Record<string, string>>} */
const MICROPHONE = Object.freeze({
  NotAllowedError:
    'The microphone is blocked. Allow it in the site settings beside the address, then press Start.',
  NotFoundError: 'No microphone was found. Plug one in, or play the sample.',
  NotReadableError: 'Another program holds the microphone. Close it there, then press Start.',
  Insecure:
    'Browsers lend a microphone only to pages on https or localhost. Open this page at such an address.',
})

/** @type {Readonly<Record<import('./capture.js').MicrophoneNews, string>>} */
export const MICROPHONE_NEWS = Object.freeze({
  rebuilding: 'The microphone stopped delivering sound. Opening it again…',
  back: '',
  silent: 'The microphone delivers only silence. Is it muted?',
  gone: 'The microphone is gone. Plug it in, then press Start.',
  no_output:
    'This browser does not start its sound. Firefox needs a loudspeaker or headphones for that, even to listen: plug one in, then press Start.',
})

/** While a server is not as it should be; what is not here needs nobody's attention. @type {Readonly<Record<string, string>>} */
export const STATUS_SENTENCES = Object.freeze({
  behind: 'The server is behind; captions come late but nothing is lost.',
  reduced: 'The server is busy; captions stay as first heard for now.',
})

/**
 * @param {Cause} cause
 * @returns {string} a sentence
 */
export function sentenceFor({ code, message }) {
  return BY_CODE[code] ?? message
}

/**
 * While the session waits to connect again.
 * @param {Cause} cause
 * @param {number} retry_in_ms
 * @param {boolean} began whether sound is being kept that the server may ask for
 */
export function sentenceWhileWaiting(cause, retry_in_ms, began) {
  const seconds = Math.round(retry_in_ms / 1000)
  const when = seconds >= 1 ? `Trying again in ${seconds} s.` : 'Trying again.'
  return `${sentenceFor(cause)} ${began ? 'What you say is kept. ' : ''}${when}`
}

/** @param {unknown} error what `getUserMedia` threw */
export function sentenceForMicrophone(error) {
  const name = error instanceof Error ? error.name : 'Insecure'
  return MICROPHONE[name] ?? `The microphone could not be opened (${name}).`
}

/**
 * @param {number} count
 * @param {string} noun
 */
export function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
