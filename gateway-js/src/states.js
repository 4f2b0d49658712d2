/** The states of the session machine and its transition table; what the methods do is in `session.js`. */

/** @typedef {(typeof State)[keyof typeof State]} State */
export const State = Object.freeze(
  /** @type {const} */ ({
    IDLE: 'idle',
    CONNECTING: 'connecting',
    STARTING: 'starting',
    STREAMING: 'streaming',
    DRAINING: 'draining',
    STOPPING: 'stopping',
    WAITING: 'waiting',
    ENDED: 'ended',
    FAILED: 'failed',
  }),
)

/** Every session event that a socket or timer or caller may raise; messages count under their own type. */
export const EVENTS = Object.freeze([
  'begin',
  'audio',
  'finalize',
  'pause',
  'resume',
  'configure',
  'stop',
  'abandon',
  'opened',
  'closed',
  'watchdog',
  'retry',
  'give_up',
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

/** While sound flows, in three degrees of being over. */
const FLOWING = {
  abandon: 'abandon',
  closed: 'lose',
  watchdog: 'bark',
  ack: 'acknowledge',
  partial: 'pass',
  final: 'takeFinal',
  spotted: 'takeSpotted',
  progress: 'pass',
  latency: 'pass',
  quality: 'pass',
  status: 'noteStatus',
  warning: 'pass',
  error: 'refuse',
  reconnect: 'move',
  ended: 'end',
}
/** What the caller says once all is said. */
const DEAF = {
  audio: 'ignore',
  finalize: 'ignore',
  pause: 'ignore',
  resume: 'ignore',
  configure: 'ignore',
  stop: 'ignore',
}
const OVER = {
  ...DEAF,
  abandon: 'ignore',
  watchdog: 'ignore',
  retry: 'ignore',
  give_up: 'ignore',
}
/** No connection yet, or none just now: sound goes into the ring. */
const APART = {
  audio: 'keep',
  finalize: 'mark',
  pause: 'mute',
  resume: 'unmute',
  configure: 'configure',
  stop: 'stop',
  abandon: 'abandon',
  give_up: 'giveUp',
}

/**
 * State × event → method. A missing cell is illegal.
 * @type {Readonly<Record<State, Readonly<Record<string, string>>>>}
 */
export const TRANSITIONS = Object.freeze({
  [State.IDLE]: { begin: 'begin' },
  [State.CONNECTING]: { ...APART, opened: 'greet', closed: 'lose', watchdog: 'bark' },
  [State.STARTING]: {
    ...APART,
    closed: 'lose',
    watchdog: 'bark',
    started: 'go',
    status: 'pass',
    warning: 'pass',
    error: 'refuse',
    reconnect: 'move',
    ended: 'end',
  },
  [State.STREAMING]: {
    ...FLOWING,
    audio: 'keep',
    finalize: 'mark',
    pause: 'mute',
    resume: 'unmute',
    configure: 'configure',
    stop: 'stop',
  },
  [State.DRAINING]: { ...FLOWING, ...DEAF },
  [State.STOPPING]: { ...FLOWING, ...DEAF },
  [State.WAITING]: { ...APART, retry: 'connect' },
  [State.ENDED]: OVER,
  [State.FAILED]: OVER,
})
