/** The first page: joins microphone, sample and file to a session, and a session to what is seen. Glue only. */

/** @import {Tell} from './session.js' */
/** @import {RunningCaptions} from './create-captions.js' */
/** @import {Start} from './messages.js' */
/** @import {Recording} from './file-source.js' */

import { Microphone } from './capture.js'
import { createCaptions } from './create-captions.js'
import { acceptDrops } from './drop-area.js'
import { decodeRecording, FILE_RATE, PacedSource, WindowedSource } from './file-source.js'
import { loudness, rmsOf, StepBar, showWordLatency, VoiceList } from './instruments.js'
import { offerTranscript } from './keep.js'
import { WordLatency } from './latency.js'
import { LiveCaptions } from './live-captions.js'
import { MUTED, Mute } from './mute.js'
import { Notice } from './notice.js'
import { part } from './part.js'
import {
  counted,
  MICROPHONE_NEWS,
  sentenceFor,
  sentenceForMicrophone,
  sentenceWhileWaiting,
} from './sentences.js'
import { State } from './session.js'

const STREAM = '/v1/stream'
const SAMPLE = '/sample.flac'
const CHUNK_MS = 160
const TOKEN_CODES = new Set(['unauthorized', 'token_expired', 'forbidden'])

const captionsElement = part('captions', LiveCaptions)
const state = part('state', HTMLElement)
const stateText = part('state-text', HTMLElement)
const noticeLine = part('notice', HTMLElement)
const microphoneButton = part('microphone', HTMLButtonElement)
const microphoneText = part('microphone-text', HTMLElement)
const mute = new Mute(part('mute', HTMLButtonElement), muted => {
  microphoneButton.style.setProperty('--level', '0')
  if (call?.captions.session.state === State.STREAMING)
    sayState(muted ? 'wait' : 'live', muted ? MUTED : call.doing)
})
const sampleButton = part('sample', HTMLButtonElement)
const chooseButton = part('choose', HTMLButtonElement)
const fileInput = part('file', HTMLInputElement)
const fileProgress = part('file-progress', HTMLProgressElement)
const legend = part('legend', HTMLElement)
const heardAgain = part('heard-again', HTMLElement)
const keep = part('keep', HTMLElement)
const tokenForm = part('token-form', HTMLFormElement)
const tokenInput = part('token', HTMLInputElement)
const latencyPanel = part('latency', HTMLDetailsElement)
const latencyFigures = {
  p50: part('p50', HTMLElement),
  p95: part('p95', HTMLElement),
  p95Part: part('p95-part', HTMLElement),
}
const stepBar = new StepBar(part('steps', HTMLElement))
const voices = new VoiceList(part('voices', HTMLElement))

/**
 * One call on this page, from a button to `ended`.
 * @typedef {object} Call
 * @property {RunningCaptions} captions
 * @property {string} doing                 what the page says while sound flows
 * @property {() => void} [onAck]
 * @property {() => void} release           lets go of microphone, player and timers
 * @property {WordLatency | null} latency   null for a file, which is not spoken now
 */

/** @type {Call | null} */
let call = null
/** While a microphone is asked for or a file is read, before there is a call. */
let preparing = false
/** Only in memory, never in the address or in storage. @type {string | undefined} */
let token

// ------------------------------------------------------------------ what is said

/**
 * @param {'idle' | 'live' | 'wait' | 'bad'} tone
 * @param {string} sentence
 */
function sayState(tone, sentence) {
  state.dataset.tone = tone
  if (stateText.textContent !== sentence) stateText.textContent = sentence
}

const notice = new Notice((sentence, tone) => {
  noticeLine.dataset.tone = tone
  noticeLine.setAttribute('role', tone === 'bad' ? 'alert' : 'status') // a hint waits until it is quiet
  if (noticeLine.textContent !== sentence) noticeLine.textContent = sentence
  noticeLine.hidden = sentence === ''
})

function showButtons() {
  const busy = call !== null || preparing
  microphoneButton.dataset.does = busy ? 'stop' : 'start'
  microphoneText.textContent = busy ? 'Stop' : 'Start microphone'
  // The other two vanish; whoever pressed one of them with a key stays on what stops it.
  const pressed = document.activeElement === sampleButton || document.activeElement === chooseButton
  if (busy && pressed) microphoneButton.focus()
  sampleButton.disabled = busy
  chooseButton.disabled = busy
}

// ------------------------------------------------------------------ a call

/**
 * @param {Start['kind']} kind
 * @param {string[]} names
 * @param {string} doing
 * @param {number} [duration_s]
 * @returns {Call}
 */
function beginCall(kind, names, doing, duration_s) {
  captionsElement.clear()
  captionsElement.voices = names
  voices.begin(names)
  stepBar.clear()
  showWordLatency(latencyFigures, null)
  keep.hidden = true
  notice.say('')
  fileProgress.hidden = kind !== 'file'
  fileProgress.value = 0
  latencyPanel.hidden = kind === 'file' // nobody spoke it now
  /** @type {Start} */
  const start = {
    type: 'start',
    kind,
    chunk_ms: CHUNK_MS,
    tracks: names.map(name => ({
      name,
      encoding: 'pcm_s16le',
      sample_rate: FILE_RATE,
      ...(duration_s === undefined ? {} : { duration_s }),
    })),
  }
  const latency = kind === 'live' ? new WordLatency() : null
  const begun = {
    doing,
    latency,
    release: () => {},
    captions: createCaptions({
      url: STREAM,
      start,
      second_pass: captionsElement.secondPass,
      onTell: tell => hear(tell, doing, latency),
      ...(token === undefined ? {} : { token }),
    }),
  }
  call = begun
  showButtons()
  return begun
}

/**
 * What the session tells.
 * @param {Tell} tell
 * @param {string} doing
 * @param {WordLatency | null} latency
 */
function hear(tell, doing, latency) {
  switch (tell.type) {
    case 'state':
      hearState(tell, doing)
      break
    case 'lost':
      notice.say('The server was away for so long that the oldest sound had to go.', 'bad')
      break
    case 'message':
      hearMessage(tell.message, latency)
      break
  }
}

/**
 * @param {Extract<Tell, {type: 'state'}>} tell
 * @param {string} doing
 */
function hearState({ state: now, cause, retry_in_ms }, doing) {
  switch (now) {
    case State.CONNECTING:
    case State.STARTING:
      if (cause === null) sayState('wait', 'Connecting…')
      break
    case State.STREAMING:
      sayState(mute.muted ? 'wait' : 'live', mute.muted ? MUTED : doing)
      break
    case State.DRAINING:
    case State.STOPPING:
      sayState('wait', 'Writing down the last words…')
      break
    case State.WAITING:
      if (cause !== null) {
        const began = call?.captions.session.resumeToken != null
        sayState('wait', sentenceWhileWaiting(cause, retry_in_ms ?? 0, began))
      }
      break
    case State.ENDED:
      if (cause !== null) sayState('idle', 'Stopped')
      endCall()
      break
    case State.FAILED:
      sayState('bad', cause === null ? 'The call failed.' : sentenceFor(cause))
      if (cause !== null && TOKEN_CODES.has(cause.code)) askForToken()
      endCall()
      break
  }
}

/**
 * @param {import('./messages.js').ServerMessage} message
 * @param {WordLatency | null} latency
 */
function hearMessage(message, latency) {
  switch (message.type) {
    case 'started':
      captionsElement.toggleAttribute('drafts', Boolean(message.second_pass))
      heardAgain.hidden = !message.second_pass
      notice.forgetStatus()
      break
    case 'partial':
    case 'final':
      if (!captionsElement.receive(message)) break
      keep.hidden = false
      legend.hidden = false
      latency?.seen(message, performance.now())
      if (message.type === 'final') showWordLatency(latencyFigures, latency?.summary() ?? null)
      break
    case 'ack':
      call?.onAck?.()
      break
    case 'progress': {
      voices.progress(message)
      const fractions = message.tracks.map(({ fraction }) => fraction).filter(fraction => fraction != null)
      if (fractions.length > 0) fileProgress.value = Math.min(...fractions)
      break
    }
    case 'latency':
      stepBar.show(message)
      break
    case 'quality':
      notice.quality(message)
      break
    case 'status':
      notice.status(message)
      break
    case 'warning':
      notice.say(message.message)
      break
    case 'ended': {
      const words = message.tracks.reduce((sum, track) => sum + track.words, 0)
      sayState(
        'idle',
        words === 0 ? 'Done. No words were heard.' : `Done. ${counted(words, 'word')} written down.`,
      )
      break
    }
  }
}

function endCall() {
  call?.release()
  call = null
  preparing = false
  notice.end()
  voices.rest()
  microphoneButton.style.setProperty('--level', '0')
  fileProgress.hidden = true
  showButtons()
}

/**
 * First press: no more sound, the last words still come. Second press, or where the server has not heard a word yet:
 * leave at once.
 */
function stopCall() {
  if (call === null) return
  const { captions, release } = call
  const over = captions.session.stopAsked || captions.session.resumeToken === null
  release()
  if (over) captions.abandon()
  else captions.stop()
}

// ------------------------------------------------------------------ three sources

async function startMicrophone() {
  preparing = true
  showButtons()
  sayState('wait', 'Asking for the microphone…')
  let position = 0
  /** Chunks wait here while the session is not there yet. @type {Call | null} */
  let begun = null
  const microphone = new Microphone({
    rate: FILE_RATE,
    chunk_ms: CHUNK_MS,
    onChunk({ samples, rms }) {
      if (begun === null) return
      position += samples.length
      begun.latency?.heard(position / FILE_RATE, performance.now())
      begun.captions.push(0, samples)
      const heard = mute.muted ? 0 : rms
      voices.level(0, heard)
      microphoneButton.style.setProperty('--level', loudness(heard).toFixed(3))
    },
    onNews(news) {
      const over = news === 'gone' || news === 'no_output'
      notice.say(MICROPHONE_NEWS[news], over ? 'bad' : 'hint')
      if (over) stopCall()
    },
  })
  try {
    await microphone.open()
  } catch (error) {
    microphone.close()
    preparing = false
    sayState('bad', 'No microphone')
    notice.say(sentenceForMicrophone(error), 'bad')
    showButtons()
    return
  }
  preparing = false
  begun = beginCall('live', ['You'], 'Listening')
  mute.begin(begun.captions)
  begun.release = () => {
    microphone.close()
    mute.end()
  }
}

async function playSample() {
  const recording = await readRecording(async () => {
    const answer = await fetch(SAMPLE)
    if (!answer.ok) throw new Error(`the server has no sample (${answer.status})`)
    return answer.arrayBuffer()
  }, 'Fetching the sample…')
  if (recording === null) return
  const { tracks, sound } = recording
  const names = tracks.length === 2 ? ['Agent', 'Customer'] : ['Speaker']
  const begun = beginCall('live', names, 'Playing the sample call')
  const source = new PacedSource(tracks, CHUNK_MS)
  const player = play(sound)
  const began = performance.now()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer
  const sink = {
    /** @type {RunningCaptions['push']} */
    push(track, samples) {
      voices.level(track, rmsOf(samples))
      begun.captions.push(track, samples)
    },
    stop: () => begun.captions.stop(),
  }
  const step = () => {
    const next_ms = source.feed(sink, performance.now() - began, (end_s, due_ms) =>
      begun.latency?.heard(end_s, began + due_ms),
    )
    if (next_ms !== null) timer = setTimeout(step, next_ms)
    else voices.rest()
  }
  begun.release = () => {
    clearTimeout(timer)
    player.close()
  }
  step()
}

/** @param {File} file */
async function sendFile(file) {
  const recording = await readRecording(() => file.arrayBuffer(), `Reading ${file.name}…`)
  if (recording === null) return
  const { tracks, duration_s } = recording
  const names = tracks.length === 2 ? ['Left', 'Right'] : ['Recording']
  const begun = beginCall('file', names, `Writing down ${file.name}`, duration_s)
  const source = new WindowedSource(tracks)
  begun.onAck = () => source.feed(begun.captions)
  source.feed(begun.captions)
}

/**
 * @param {() => Promise<ArrayBuffer>} fetchBytes
 * @param {string} doing
 * @returns {Promise<Recording | null>} null where it could not be read; the person knows
 */
async function readRecording(fetchBytes, doing) {
  preparing = true
  showButtons()
  sayState('wait', doing)
  try {
    const recording = await decodeRecording(await fetchBytes())
    if (recording.duration_s === 0) throw new DOMException('it is empty', 'EncodingError')
    return recording
  } catch (error) {
    const unreadable = error instanceof DOMException && error.name === 'EncodingError'
    sayState('bad', 'Nothing to play')
    notice.say(
      unreadable
        ? 'This browser cannot read that file as sound. WAV, FLAC, MP3 and Opus usually work.'
        : `The recording could not be read: ${error instanceof Error ? error.message : error}.`,
      'bad',
    )
    return null
  } finally {
    preparing = false
    showButtons()
  }
}

/** Lets the sample be heard. @param {AudioBuffer} sound */
function play(sound) {
  const context = new AudioContext()
  const source = new AudioBufferSourceNode(context, { buffer: sound })
  source.connect(context.destination)
  source.start()
  let open = true // its state says so only later in Firefox
  return {
    close() {
      if (open) void context.close()
      open = false
    },
  }
}

function askForToken() {
  tokenForm.hidden = false
  tokenInput.focus()
}

// ------------------------------------------------------------------ hands

microphoneButton.onclick = () => {
  if (call !== null) stopCall()
  else if (!preparing) void startMicrophone()
}
sampleButton.onclick = () => void playSample()
chooseButton.onclick = () => fileInput.click()
fileInput.onchange = () => {
  const [file] = fileInput.files ?? []
  fileInput.value = ''
  if (file !== undefined) void sendFile(file)
}
tokenForm.onsubmit = event => {
  event.preventDefault()
  token = tokenInput.value.trim()
  tokenInput.value = ''
  tokenForm.hidden = true
  sayState('idle', 'Ready')
}

acceptDrops(part('drop', HTMLElement), file => {
  if (call !== null || preparing)
    notice.say('A call is running. Stop it first, then drop the recording again.')
  else void sendFile(file)
})
offerTranscript(keep, captionsElement, sentence => notice.say(sentence))

addEventListener('beforeunload', event => {
  if (call !== null) event.preventDefault()
})

latencyPanel.open = !matchMedia('(max-width: 760px)').matches
showButtons()
