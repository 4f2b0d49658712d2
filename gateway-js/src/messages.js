/**
 * Every text message of the protocol, version 1, as JSDoc types, and the reading of one.
 *
 * The authority is `shared/stenoflow/protocol/messages.py`; this file mirrors it and both are held together by the
 * example files in `tests/wire/examples`. Nothing here decides what a message means: `session.js` does.
 *
 * `received`, `committed`, `next` and `window_end` count the client's own samples (ClientPosition); everything in a
 * caption or in `progress` counts 16 kHz samples (CaptionPosition).
 *
 * @typedef {number} ClientPosition   samples at the rate that the client sends, since the track began
 * @typedef {number} CaptionPosition  samples at 16 kHz, since the track began
 *
 * --- client → server
 * @typedef {{name: string, encoding: 'pcm_s16le', sample_rate: number, duration_s?: number}} TrackRequest
 * @typedef {{token: string, tracks: {track: number, committed: ClientPosition}[]}} Resume
 * @typedef {{phrase: string, weight?: number}} Boost  a phrase that may be said
 * @typedef {{phrase: string, threshold?: number}} Spot  a phrase whose every occurrence is told
 * @typedef {object} Endpointing
 * @property {number} [trailing_silence_ms]
 * @property {number} [silence_after_words_ms]
 * @property {number} [silence_without_words_ms]
 * @property {number} [max_utterance_s]
 * @typedef {object} Start
 * @property {'start'} type
 * @property {'live' | 'file'} kind
 * @property {TrackRequest[]} tracks
 * @property {string} [bundle]
 * @property {80 | 160 | 320 | 640} [chunk_ms]
 * @property {boolean} [partials]
 * @property {Endpointing} [endpointing]
 * @property {string} [second_pass]  a model by name, `off` for none; left out: what is served
 * @property {Boost[]} [boost]       names and phrases that may be said
 * @property {Spot[]} [spot]
 * @property {number} [lm_weight]    factor on the language model's weight
 * @property {number} [alternatives] other readings that come with a final, at most
 * @property {Record<string, string>} [metadata]
 * @property {number} [retention_s]  how long captions are kept after the end
 * @property {Resume} [resume]
 * @typedef {Pick<Start, 'endpointing' | 'partials' | 'boost' | 'spot' | 'lm_weight'>} Settings
 * @typedef {{type: 'configure', track?: number} & Settings} Configure  what is left out stays as it is
 * @typedef {{type: 'finalize', track?: number}} Finalize
 * @typedef {{type: 'pause', track?: number}} Pause      mute: what comes counts as silence, time goes on
 * @typedef {{type: 'resume', track?: number}} Unpause
 * @typedef {{type: 'stop', track?: number}} Stop
 * @typedef {Start | Configure | Finalize | Pause | Unpause | Stop} ClientMessage
 *
 * --- server → client
 * @typedef {{track: number, name: string, next: ClientPosition, committed: ClientPosition, paused?: boolean}}
 *   StartedTrack
 * @typedef {{window_s: number, max_frame_s: number, max_tracks: number}} Limits
 * @typedef {object} Started
 * @property {'started'} type
 * @property {string} session
 * @property {string} resume_token
 * @property {string} bundle
 * @property {string} [second_pass]  the model's name; empty where there is none
 * @property {StartedTrack[]} tracks
 * @property {Limits} limits
 * @typedef {object} AckTrack
 * @property {number} track
 * @property {ClientPosition} received
 * @property {ClientPosition} committed
 * @property {ClientPosition} window_end
 * @typedef {{type: 'ack', tracks: AckTrack[]}} Ack
 * @typedef {object} Partial
 * @property {'partial'} type
 * @property {number} track
 * @property {number} utterance
 * @property {number} revision       grows
 * @property {CaptionPosition} begin
 * @property {CaptionPosition} end
 * @property {string} text
 * @property {number} stable         characters of `text` that will not change; with a second pass all of them make
 *   it a draft: the utterance has ended, its final is to come, and partials of the next come meanwhile
 * @typedef {{word: string, begin: CaptionPosition, end: CaptionPosition, confidence: number}} Word  lower case,
 *   without punctuation
 * @typedef {{text: string, score: number}} Alternative
 * @typedef {object} Final
 * @property {'final'} type
 * @property {number} track
 * @property {number} utterance
 * @property {CaptionPosition} begin
 * @property {CaptionPosition} end
 * @property {string} text
 * @property {Word[]} words          of a second pass not always as many as `text` has
 * @property {Alternative[]} alternatives
 * @property {number} confidence
 * @property {1 | 2} [pass]          2: heard again by the second pass, `text` has case, punctuation and digits
 * @typedef {object} Spotted          the same track, phrase and end are the same occurrence
 * @property {'spotted'} type
 * @property {number} track
 * @property {string} phrase         as it was asked for
 * @property {CaptionPosition} begin
 * @property {CaptionPosition} end
 * @property {number} score          0 to 1
 * @typedef {object} ProgressTrack
 * @property {number} track
 * @property {CaptionPosition} received
 * @property {CaptionPosition} features
 * @property {CaptionPosition} acoustic
 * @property {CaptionPosition} decoder
 * @property {CaptionPosition | null} [second_pass]  end of what is final, where there is a second pass
 * @property {number} behind_s
 * @property {number | null} [fraction]
 * @typedef {{type: 'progress', tracks: ProgressTrack[]}} Progress
 * @typedef {{queue: number, features: number, acoustic: number, decoder: number, back: number}} LatencySteps
 * @typedef {object} Latency
 * @property {'latency'} type
 * @property {number} track
 * @property {number} total_ms
 * @property {number} chunk_ms
 * @property {number} look_ahead_ms
 * @property {LatencySteps} steps
 * @typedef {object} Quality
 * @property {'quality'} type
 * @property {number} track
 * @property {number} level_db
 * @property {number} clipping
 * @property {number | null} snr_db
 * @property {number | null} bandwidth_hz
 * @property {{code: string, message: string} | null} hint
 * @typedef {object} Status
 * @property {'status'} type
 * @property {'normal' | 'behind' | 'rewind' | 'reduced'} status  `reduced`: drafts stand as they are for now
 * @property {number | null} [track]
 * @property {ClientPosition | null} [next]
 * @typedef {object} Warning
 * @property {'warning'} type
 * @property {string} code
 * @property {string} message
 * @property {boolean} retryable
 * @property {number | null} [retry_after_ms]
 * @typedef {object} ServerError
 * @property {'error'} type
 * @property {string} code
 * @property {string} message
 * @property {boolean} retryable
 * @property {number | null} [retry_after_ms]
 * @typedef {{type: 'reconnect'}} Reconnect
 * @typedef {object} EndedTrack
 * @property {number} track
 * @property {ClientPosition} received
 * @property {ClientPosition} committed
 * @property {number} utterances
 * @property {number} words
 * @typedef {{type: 'ended', tracks: EndedTrack[]}} Ended
 * @typedef {Started | Ack | Partial | Final | Spotted | Progress | Latency | Quality | Status | Warning |
 *   ServerError | Reconnect | Ended} ServerMessage
 */

export const SUBPROTOCOL = 'stenoflow.v1'

/** The rate of every position in a caption. */
export const CAPTION_RATE = 16000

/** What the server will not exceed unless its `limits` say otherwise; used before `started` has come. */
export const DEFAULT_WINDOW_S = { live: 12, file: 60 }

/** All types that a server of version 1 sends. @type {ReadonlySet<string>} */
export const SERVER_TYPES = new Set([
  'started',
  'ack',
  'partial',
  'final',
  'spotted',
  'progress',
  'latency',
  'quality',
  'status',
  'warning',
  'error',
  'reconnect',
  'ended',
])

/**
 * Reads what the server sent.
 *
 * @param {string} text one text frame
 * @returns {ServerMessage | null} null where it is no message of this version; the caller leaves those out, so a
 *   newer server may add types
 */
export function parseServerMessage(text) {
  /** @type {unknown} */
  let message
  try {
    message = JSON.parse(text)
  } catch {
    return null
  }
  if (typeof message !== 'object' || message === null || !('type' in message)) return null
  if (typeof message.type !== 'string' || !SERVER_TYPES.has(message.type)) return null
  return /** @type {ServerMessage} */ (message)
}
