/** Risk: a word is lost, said twice or waited for in vain when connection, server or person misbehave. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { startOf } from '../src/create-captions.js'
import {
  EVENTS,
  GIVE_UP_MS,
  Session,
  SessionMisuse,
  State,
  TRANSITIONS,
  WATCHDOG_MS,
} from '../src/session.js'

/** @import {Effect, SessionEvent} from '../src/session.js' */
/** @import {ServerMessage, Start} from '../src/messages.js' */

const RATE = 16000

/** @type {Start} */
const START = {
  type: 'start',
  kind: 'live',
  tracks: [
    { name: 'Agent', encoding: 'pcm_s16le', sample_rate: RATE },
    { name: 'Customer', encoding: 'pcm_s16le', sample_rate: RATE },
  ],
}

/** A machine and a server's side of the talk, with a clock that only moves when told. */
class Talk {
  constructor(start = START) {
    this.session = new Session({ random: () => 0 })
    this.now = 1000
    /** @type {Effect[]} */
    this.effects = []
    this.do({ type: 'begin', now: this.now, start })
  }

  /** @param {SessionEvent} event */
  do(event) {
    this.effects = this.session.receive(event)
    return this.effects
  }

  /** @param {ServerMessage} message */
  hear(message) {
    return this.do({ type: 'message', now: this.now, connection: this.session.connection, message })
  }

  opened() {
    return this.do({ type: 'opened', now: this.now, connection: this.session.connection })
  }

  closed() {
    return this.do({ type: 'closed', now: this.now, connection: this.session.connection })
  }

  /** @param {number} [next] @param {number} [committed] */
  started(next = 0, committed = 0) {
    return this.hear(started([next, next], committed))
  }

  /**
   * @param {number} track
   * @param {number} length
   * @param {number} [value]
   */
  say(track, length, value = 1) {
    return this.do({ type: 'audio', now: this.now, track, samples: new Int16Array(length).fill(value) })
  }

  /** @param {'stop' | 'abandon' | 'watchdog' | 'retry' | 'give_up'} type */
  simple(type) {
    return this.do({ type, now: this.now })
  }

  /** What went out as sound, `[track, begin, end]`. */
  sound() {
    return this.effects.flatMap(effect =>
      effect.effect === 'send_audio'
        ? [[effect.track, effect.position, effect.position + effect.samples.length]]
        : [],
    )
  }

  /** What went out at all, in order, by name. */
  sent() {
    return this.effects.flatMap(effect =>
      effect.effect === 'send' ? [effect.message.type] : effect.effect === 'send_audio' ? ['audio'] : [],
    )
  }

  /** @param {string} timer */
  timer(timer) {
    const set = this.effects.find(effect => effect.effect === 'set_timer' && effect.timer === timer)
    return set?.effect === 'set_timer' ? set.delay_ms : null
  }
}

/**
 * @param {number[]} next of each track
 * @param {number} committed
 * @returns {ServerMessage}
 */
function started(next = [0, 0], committed = 0) {
  return {
    type: 'started',
    session: 's00-1',
    resume_token: 'token-0123456789abcdef',
    bundle: 'en-small',
    tracks: next.map((from, track) => ({ track, name: 'x', next: from, committed })),
    limits: { window_s: 12, max_frame_s: 2, max_tracks: 8 },
  }
}

/**
 * @param {number} received
 * @param {number} [committed]
 * @param {number} [window_end]
 * @returns {ServerMessage}
 */
function ack(received, committed = 0, window_end = committed + 12 * RATE) {
  return { type: 'ack', tracks: [0, 1].map(track => ({ track, received, committed, window_end })) }
}

/** @type {ServerMessage} */
const ENDED = { type: 'ended', tracks: [] }

function streaming() {
  const talk = new Talk()
  talk.opened()
  talk.started()
  return talk
}

/** A fresh machine in each state, by the shortest way. @type {Record<string, () => Talk>} */
const IN_STATE = {
  [State.IDLE]: () => Object.assign(new Talk(), { session: new Session({ random: () => 0 }) }),
  [State.CONNECTING]: () => new Talk(),
  [State.STARTING]: () => {
    const talk = new Talk()
    talk.opened()
    return talk
  },
  [State.STREAMING]: streaming,
  [State.DRAINING]: () => {
    const talk = streaming()
    talk.say(0, 13 * RATE) // more than the window
    talk.simple('stop')
    return talk
  },
  [State.STOPPING]: () => {
    const talk = streaming()
    talk.simple('stop')
    return talk
  },
  [State.WAITING]: () => {
    const talk = streaming()
    talk.closed()
    return talk
  },
  [State.ENDED]: () => {
    const talk = streaming()
    talk.simple('abandon')
    return talk
  },
  [State.FAILED]: () => {
    const talk = streaming()
    talk.hear({
      type: 'error',
      code: 'superseded',
      message: 'a newer connection took over',
      retryable: false,
    })
    return talk
  },
}

/** An example of each event. @type {Record<string, (talk: Talk) => SessionEvent>} */
const EXAMPLE = Object.fromEntries(
  EVENTS.map(name => [
    name,
    ({ now, session: { connection } }) => {
      switch (name) {
        case 'begin':
          return { type: 'begin', now, start: START }
        case 'audio':
          return { type: 'audio', now, track: 0, samples: new Int16Array(160) }
        case 'configure':
          return { type: 'configure', now, settings: { partials: false } }
        case 'opened':
        case 'closed':
          return { type: name, now, connection }
        case 'finalize':
        case 'pause':
        case 'resume':
        case 'stop':
        case 'abandon':
        case 'watchdog':
        case 'retry':
        case 'give_up':
          return { type: name, now }
        case 'started':
          return { type: 'message', now, connection, message: started() }
        case 'ack':
          return { type: 'message', now, connection, message: ack(0) }
        case 'ended':
          return { type: 'message', now, connection, message: ENDED }
        case 'error':
          return {
            type: 'message',
            now,
            connection,
            message: { type: 'error', code: 'x', message: 'x', retryable: true },
          }
        case 'status':
          return {
            type: 'message',
            now,
            connection,
            message: { type: 'status', status: 'rewind', track: 0, next: 0 },
          }
        default:
          return {
            type: 'message',
            now,
            connection,
            message: /** @type {any} */ ({ type: name, tracks: [] }),
          }
      }
    },
  ]),
)
const FROM_SERVER = new Set(EVENTS.slice(EVENTS.indexOf('started')))

describe('every state × event', () => {
  for (const state of Object.values(State)) {
    for (const name of EVENTS) {
      const cell = TRANSITIONS[state][name]
      test(`${state} × ${name}: ${cell ?? (FROM_SERVER.has(name) ? 'protocol error' : 'misuse')}`, () => {
        const talk = /** @type {() => Talk} */ (IN_STATE[state])()
        assert.equal(talk.session.state, state)
        const event = /** @type {(talk: Talk) => SessionEvent} */ (EXAMPLE[name])(talk)
        if (cell !== undefined) {
          talk.do(event)
          assert.ok(Object.values(State).includes(talk.session.state))
        } else if (FROM_SERVER.has(name)) {
          talk.do(event)
          assert.equal(talk.session.state, State.FAILED)
          const leaves = talk.effects.some(({ effect }) => effect === 'close')
          assert.equal(leaves, state !== State.WAITING, 'what is open is closed')
        } else {
          assert.throws(() => talk.do(event), SessionMisuse)
        }
      })
    }
  }

  test('every cell names a method', () => {
    for (const cells of Object.values(TRANSITIONS))
      for (const method of Object.values(cells))
        assert.equal(typeof Reflect.get(Session.prototype, method), 'function')
  })
})

describe('settings', () => {
  test('go out behind the last sample of each track, and are part of a later start once they are final', () => {
    const talk = streaming()
    for (const track of [0, 1]) talk.say(track, 13 * RATE)
    talk.do({ type: 'configure', now: talk.now, settings: { boost: [{ phrase: 'Ada' }] } })
    assert.deepEqual(talk.sent(), [], 'the window is full')
    talk.hear(ack(12 * RATE, 0, 14 * RATE))
    assert.deepEqual(talk.sent(), ['audio', 'configure', 'audio', 'configure'])
    const boostOfNextStart = () => {
      talk.closed()
      talk.simple('retry')
      talk.opened()
      const start = talk.effects.find(effect => effect.effect === 'send')
      return start?.effect === 'send' && start.message.type === 'start' && start.message.boost
    }
    assert.equal(boostOfNextStart(), undefined, 'what is not final is recognised with the settings of then')
    talk.hear(started([13 * RATE, 13 * RATE]))
    assert.deepEqual(talk.sent(), ['configure', 'configure'], 'and the marks are still there')
    talk.hear(ack(13 * RATE, 13 * RATE))
    assert.deepEqual(boostOfNextStart(), [{ phrase: 'Ada' }])
  })

  test('an occurrence that comes again after a resume is told once', () => {
    const talk = streaming()
    /** @type {ServerMessage} */
    const spotted = { type: 'spotted', track: 0, phrase: 'ada', begin: 0, end: 160, score: 0.9 }
    const told = [spotted, spotted, { ...spotted, end: 320 }, { ...spotted, track: 1 }].map(message => {
      talk.hear(message)
      return talk.effects.length
    })
    assert.deepEqual(told, [1, 0, 1, 1])
  })
})

describe('sound', () => {
  test('what is said before the server is there is sent once it is', () => {
    const talk = new Talk()
    talk.say(0, 2560)
    talk.opened()
    assert.deepEqual(talk.sent(), ['start'])
    talk.started()
    assert.deepEqual(talk.sound(), [[0, 0, 2560]])
  })

  test('nothing goes beyond the window, and the rest goes when it opens', () => {
    const talk = streaming()
    talk.say(0, 13 * RATE)
    assert.equal(talk.sound().at(-1)?.[2], 12 * RATE)
    talk.hear(ack(12 * RATE, 0, 12.5 * RATE))
    assert.deepEqual(talk.sound(), [[0, 12 * RATE, 12.5 * RATE]])
  })

  test('a window that is no whole number of samples in floating point ends at one', () => {
    const rate = 48000
    const tracks = START.tracks.map(track => ({ ...track, sample_rate: rate }))
    const talk = new Talk({ ...START, tracks })
    talk.say(0, 10 * rate)
    talk.opened()
    const message = /** @type {any} */ (started())
    message.limits.window_s = 8.2
    talk.hear(message)
    assert.equal(talk.sound().at(-1)?.[2], 8.2 * 10 * (rate / 10))
    for (const [, begin, end] of talk.sound()) assert.ok(Number.isInteger(begin) && Number.isInteger(end))
  })

  test('after a break it goes on from the server’s next, not from where it was', () => {
    const talk = streaming()
    talk.say(0, 4 * RATE, 7)
    talk.closed()
    talk.say(0, RATE, 7)
    talk.simple('retry')
    talk.opened()
    const start = talk.effects.find(effect => effect.effect === 'send')
    assert.deepEqual(start?.effect === 'send' && start.message.type === 'start' && start.message.resume, {
      token: 'token-0123456789abcdef',
      tracks: [
        { track: 0, committed: 0 },
        { track: 1, committed: 0 },
      ],
    })
    talk.hear(started([3 * RATE, 0]))
    assert.deepEqual(talk.sound()[0], [0, 3 * RATE, 4 * RATE])
    assert.equal(talk.sound().at(-1)?.[2], 5 * RATE)
    assert.equal(talk.session.resumes, 1)
  })

  test('a rewind sends the same samples again', () => {
    const talk = streaming()
    talk.say(1, RATE, 5)
    talk.hear({ type: 'status', status: 'rewind', track: 1, next: 8000 })
    const again = talk.effects.find(effect => effect.effect === 'send_audio')
    assert.ok(again?.effect === 'send_audio')
    assert.equal(again.position, 8000)
    assert.ok(again.samples.every(sample => sample === 5))
  })

  test('a server that is away too long costs the oldest sound, which is told, and the timeline stays', () => {
    const talk = streaming()
    talk.closed()
    for (let second = 0; second < 50; second++) talk.say(0, RATE, 3)
    const lost = talk.effects.find(effect => effect.effect === 'tell' && effect.tell.type === 'lost')
    assert.ok(lost)
    talk.simple('retry')
    talk.opened()
    talk.started()
    const first = talk.effects.find(effect => effect.effect === 'send_audio')
    assert.ok(first?.effect === 'send_audio')
    assert.equal(first.position, 0)
    assert.ok(
      first.samples.every(sample => sample === 0),
      'what was lost is silence',
    )
  })

  test('a server that asks for sound that never was is refused', () => {
    const talk = new Talk()
    talk.opened()
    talk.started(160)
    assert.equal(talk.session.state, State.FAILED)
  })
})

describe('the end', () => {
  test('stop goes out behind the last sample and only “ended” ends the session', () => {
    const talk = streaming()
    talk.say(0, 13 * RATE)
    talk.simple('stop')
    assert.equal(talk.session.state, State.DRAINING)
    assert.deepEqual(talk.sent(), ['stop'], 'of the track that has said all')
    talk.hear(ack(12 * RATE, 0, 24 * RATE))
    assert.deepEqual(talk.sent(), ['audio', 'stop'])
    assert.equal(talk.session.state, State.STOPPING)
    talk.closed()
    assert.equal(talk.session.state, State.WAITING, 'a closed socket is a break, not an end')
    talk.simple('retry')
    talk.opened()
    talk.hear(started([13 * RATE, 0]))
    assert.deepEqual(
      talk.sent(),
      ['stop', 'stop'],
      'the server has all sound; whether it has the stops nobody knows',
    )
    talk.hear(ENDED)
    assert.equal(talk.session.state, State.ENDED)
  })

  test('a file that is over before the server is there still gets its words', () => {
    const talk = new Talk()
    talk.say(0, RATE)
    talk.simple('stop')
    talk.opened()
    talk.started()
    assert.deepEqual(talk.sent(), ['audio', 'stop', 'stop'])
  })

  test('sound after stop is left out', () => {
    const talk = streaming()
    talk.simple('stop')
    assert.deepEqual(talk.say(0, 2560), [])
  })

  test('finalize keeps its place between samples, also when they are sent again', () => {
    const talk = streaming()
    talk.say(0, 1600)
    talk.do({ type: 'finalize', now: talk.now, track: 0 })
    talk.say(0, 1600)
    talk.hear({ type: 'status', status: 'rewind', track: 0, next: 800 })
    assert.deepEqual(talk.sent(), ['audio', 'finalize', 'audio'])
    assert.deepEqual(talk.sound(), [
      [0, 800, 1600],
      [0, 1600, 3200],
    ])
  })
})

describe('mute', () => {
  /** @param {Talk} talk @param {'pause' | 'resume'} type */
  const mute = (talk, type) => talk.do({ type, now: talk.now, track: 0 })

  test('what is said meanwhile goes out as frames without samples, and time goes on', () => {
    const talk = streaming()
    talk.say(0, 1600)
    mute(talk, 'pause')
    assert.deepEqual(talk.sent(), ['pause'])
    talk.say(0, 1600)
    assert.deepEqual(talk.sound(), [[0, 3200, 3200]])
    mute(talk, 'resume')
    talk.say(0, 1600)
    assert.deepEqual(talk.sound(), [[0, 3200, 4800]])
  })

  test('said twice it is said once, and of the other track nothing', () => {
    const talk = streaming()
    mute(talk, 'resume')
    assert.deepEqual(talk.effects, [])
    mute(talk, 'pause')
    mute(talk, 'pause')
    assert.deepEqual(talk.effects, [])
    talk.say(1, 160)
    assert.deepEqual(talk.sound(), [[1, 0, 160]])
  })

  test('what was muted is not in the ring either: after a break it is still silence', () => {
    const talk = streaming()
    talk.say(0, 800, 5)
    mute(talk, 'pause')
    talk.say(0, 800, 5)
    assert.ok(
      talk.session
        .at(0)
        .ring.read(800, 1600)
        .every(sample => sample === 0),
    )
    talk.closed()
    talk.simple('retry')
    talk.opened()
    talk.hear(started([1000, 0]))
    assert.deepEqual(
      talk.sent(),
      ['pause', 'audio'],
      'a new server hears how the track stands where it goes on',
    )
    assert.deepEqual(talk.sound(), [[0, 1600, 1600]])
  })

  test('a rewind before the pause sends sound, pause and silence in their order', () => {
    const talk = streaming()
    talk.say(0, 800)
    mute(talk, 'pause')
    talk.say(0, 800)
    mute(talk, 'resume')
    talk.say(0, 800)
    talk.hear({ type: 'status', status: 'rewind', track: 0, next: 400 })
    assert.deepEqual(talk.sent(), ['audio', 'resume', 'audio', 'pause', 'audio', 'resume', 'audio'])
    assert.deepEqual(talk.sound(), [
      [0, 400, 400],
      [0, 400, 800],
      [0, 1600, 1600],
      [0, 1600, 2400],
    ])
  })
})

describe('breaks', () => {
  test('two seconds without an ack are a break, whatever else comes', () => {
    const talk = streaming()
    assert.equal(talk.timer('watchdog'), WATCHDOG_MS)
    talk.now += 1900
    talk.hear({ type: 'progress', tracks: [] })
    assert.equal(talk.timer('watchdog'), null)
    talk.now += 100
    talk.simple('watchdog')
    assert.equal(talk.session.state, State.WAITING)
  })

  test('a watchdog that fires late was asleep with the page and waits once more', () => {
    const talk = streaming()
    talk.now += WATCHDOG_MS + 5000
    talk.simple('watchdog')
    assert.equal(talk.session.state, State.STREAMING)
    talk.now += WATCHDOG_MS
    talk.simple('watchdog')
    assert.equal(talk.session.state, State.WAITING)
  })

  test('retries grow apart, up to a limit, and an ack begins anew', () => {
    const talk = streaming()
    const delays = []
    for (let turn = 0; turn < 9; turn++) {
      talk.closed()
      delays.push(talk.timer('retry'))
      talk.simple('retry')
    }
    assert.deepEqual(delays, [0, 125, 250, 500, 1000, 2000, 2500, 2500, 2500])
    talk.opened()
    talk.started()
    talk.hear(ack(0))
    talk.closed()
    assert.equal(talk.timer('retry'), 0)
  })

  test('an old socket’s last words are not heard', () => {
    const talk = streaming()
    const old = talk.session.connection
    talk.closed()
    talk.simple('retry')
    assert.deepEqual(talk.do({ type: 'closed', now: talk.now, connection: old }), [])
    assert.deepEqual(talk.do({ type: 'message', now: talk.now, connection: old, message: ack(160) }), [])
    assert.equal(talk.session.state, State.CONNECTING)
  })

  test('a full server is asked again when it said', () => {
    const talk = new Talk()
    talk.opened()
    talk.hear({
      type: 'error',
      code: 'at_capacity',
      message: 'all places taken',
      retryable: true,
      retry_after_ms: 4000,
    })
    assert.equal(talk.session.state, State.WAITING)
    assert.equal(talk.timer('retry'), 4000)
  })

  test('superseded right after a resume may be our own echo: one more connection settles it', () => {
    const talk = streaming()
    talk.closed()
    for (const outcome of [State.WAITING, State.FAILED]) {
      talk.simple('retry')
      talk.opened()
      talk.started()
      talk.hear({ type: 'error', code: 'superseded', message: 'newer connection', retryable: false })
      assert.equal(talk.session.state, outcome)
    }
  })

  test('a rewind to where we are is answered, or the server would wait', () => {
    const talk = streaming()
    talk.say(0, RATE)
    talk.hear({ type: 'status', status: 'rewind', track: 0, next: RATE })
    assert.deepEqual(talk.sound(), [[0, RATE, RATE]])
  })

  test('a final that was delivered is not asked for again, though its ack got lost', () => {
    const talk = streaming()
    talk.say(0, RATE)
    talk.hear({
      type: 'final',
      track: 0,
      utterance: 0,
      begin: 0,
      end: 8000,
      text: 'good',
      words: [],
      alternatives: [],
      confidence: 1,
    })
    talk.closed()
    talk.simple('retry')
    talk.opened()
    const start = talk.effects.find(effect => effect.effect === 'send')
    assert.ok(start?.effect === 'send' && start.message.type === 'start')
    assert.equal(start.message.resume?.tracks[0]?.committed, 8000)
  })

  test('a draft is not final: after a break its sound may be wanted again', () => {
    const talk = streaming()
    talk.say(0, RATE)
    const text = 'good morning'
    const draft = { track: 0, utterance: 0, revision: 8000, begin: 0, end: 8000, text, stable: text.length }
    talk.hear({ type: 'partial', ...draft })
    talk.closed()
    talk.simple('retry')
    talk.opened()
    const start = talk.effects.find(effect => effect.effect === 'send')
    assert.ok(start?.effect === 'send' && start.message.type === 'start')
    assert.equal(start.message.resume?.tracks[0]?.committed, 0)
    talk.hear(started([RATE, 0]))
    talk.hear({ type: 'partial', ...draft })
    assert.deepEqual(talk.effects, [
      { effect: 'tell', tell: { type: 'message', message: { type: 'partial', ...draft } } },
    ])
  })

  test('options of a start are asked for again after a break, and left out where they were not given', () => {
    const boost = [{ phrase: 'Stenoflow', weight: 2 }]
    for (const [asked, sent] of [
      [
        { start: START, second_pass: 'off', boost },
        { ...START, second_pass: 'off', boost },
      ],
      [{ start: START, second_pass: null, boost: [] }, START],
      [{ start: START }, START],
    ]) {
      const talk = new Talk(startOf(/** @type {Parameters<typeof startOf>[0]} */ (asked)))
      talk.opened()
      assert.deepEqual(talk.effects.find(effect => effect.effect === 'send')?.message, sent)
      talk.started()
      talk.closed()
      talk.simple('retry')
      talk.opened()
      const start = talk.effects.find(effect => effect.effect === 'send')
      assert.ok(start?.effect === 'send' && start.message.type === 'start')
      const { resume, ...again } = start.message
      assert.deepEqual(again, sent)
      assert.ok(resume)
    }
  })

  test('who is superseded does not come back', () => {
    const talk = streaming()
    talk.hear({ type: 'error', code: 'superseded', message: 'newer connection', retryable: false })
    assert.equal(talk.session.state, State.FAILED)
    assert.equal(talk.timer('retry'), null)
  })

  test('trying has an end, with the last reason', () => {
    const talk = new Talk()
    assert.equal(talk.timer('give_up'), GIVE_UP_MS)
    talk.closed()
    talk.simple('give_up')
    assert.equal(talk.session.state, State.FAILED)
  })

  test('a draining gateway is left at once', () => {
    const talk = streaming()
    talk.hear({ type: 'reconnect' })
    assert.equal(talk.session.state, State.WAITING)
    assert.equal(talk.timer('retry'), 0)
  })
})
