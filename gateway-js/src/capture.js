/**
 * A microphone as a steady row of PCM chunks on one timeline.
 *
 * The context runs at the device's rate, since a forced one is refused in Firefox (PAINS 1); the worklet resamples.
 * What the microphone delivers is watched, not its state (PAINS 2). A rebuilt microphone goes on where the old one
 * stopped: the time in between is filled with silence, so positions stay the time since the call began.
 */

/** @import {Chunk} from './worklet.js' */

import { FrameWatch } from './frame-watch.js'

const CHECK_MS = 250
const REBUILD_AGAIN_MS = 1000
/** Several calls in a row that bring no frame: a device that is gone, not one that stumbles. */
const MOST_REBUILDS = 5

/**
 * @typedef {'rebuilding' | 'back' | 'silent' | 'gone' | 'no_output'} MicrophoneNews
 *
 * @typedef {object} MicrophoneOptions
 * @property {number} rate         of the samples that are delivered
 * @property {number} chunk_ms
 * @property {(chunk: Chunk) => void} onChunk
 * @property {(news: MicrophoneNews) => void} onNews
 */

export class Microphone {
  /** @param {MicrophoneOptions} options */
  constructor(options) {
    this.options = options
    this.watch = new FrameWatch(performance.now())
    /** @type {(() => void) | null} */
    this.release = null
    /** Whether the last context started; Firefox starts none where there is no loudspeaker. */
    this.contextRan = true
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.checking = undefined
    this.closed = false
    this.rebuilding = false
    /** What the person was last told and is still so. @type {'rebuilding' | 'silent' | null} */
    this.told = null
    this.rebuilds = 0
    this.lastChunkAt = 0
  }

  /**
   * Asks for the microphone and starts.
   * @throws {DOMException} as `getUserMedia`: NotAllowedError, NotFoundError, NotReadableError, …
   */
  async open() {
    await this.build()
    this.checking = setInterval(() => this.check(), CHECK_MS)
  }

  close() {
    this.closed = true
    clearInterval(this.checking)
    this.release?.()
    this.release = null
  }

  async build() {
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: true, autoGainControl: true, noiseSuppression: false },
    })
    const context = new AudioContext({ latencyHint: 'interactive' })
    const release = () => {
      this.contextRan = context.state === 'running'
      for (const track of stream.getTracks()) track.stop()
      void context.close()
    }
    try {
      await context.audioWorklet.addModule(new URL('./worklet.js', import.meta.url))
    } catch (error) {
      release()
      throw error
    }
    if (this.closed) return release()
    const { rate, chunk_ms } = this.options
    const node = new AudioWorkletNode(context, 'stenoflow-capture', { processorOptions: { rate, chunk_ms } })
    node.port.onmessage = ({ data }) => {
      if (this.release === release) this.take(data)
    }
    context.createMediaStreamSource(stream).connect(node)
    node.connect(context.destination) // plays silence; without it Safari never calls the worklet
    if (context.state !== 'running') void context.resume()
    this.release = release
    this.watch = new FrameWatch(performance.now())
  }

  /** @param {Chunk} chunk */
  take(chunk) {
    const now = performance.now()
    this.watch.frame(chunk.peak, now)
    if (this.rebuilds > 0) this.fillGap(now)
    this.rebuilds = 0
    if (this.told === 'rebuilding' || (this.told === 'silent' && chunk.peak > 0)) this.tell('back')
    this.lastChunkAt = now
    this.options.onChunk(chunk)
  }

  /** @param {number} now */
  fillGap(now) {
    const { rate, chunk_ms, onChunk } = this.options
    const missing = Math.floor((now - this.lastChunkAt - chunk_ms) / chunk_ms)
    if (this.lastChunkAt === 0) return
    for (let chunk = 0; chunk < missing; chunk++) {
      onChunk({ samples: new Int16Array((rate * chunk_ms) / 1000), peak: 0, rms: 0 })
    }
  }

  /** @param {'rebuilding' | 'silent' | 'back'} news */
  tell(news) {
    this.told = news === 'back' ? null : news
    this.options.onNews(news)
  }

  check() {
    if (this.rebuilding || this.closed) return
    const verdict = this.watch.check(performance.now())
    if (verdict === 'no_frames') void this.rebuild()
    if (verdict === 'only_zeros' && this.told === null) {
      this.tell('silent')
      void this.rebuild() // cures Safari's frozen input; a muted microphone stays silent, and the person knows why
    }
  }

  async rebuild() {
    this.rebuilding = true
    this.rebuilds += 1
    if (this.rebuilds > MOST_REBUILDS) return this.options.onNews(this.contextRan ? 'gone' : 'no_output')
    if (this.told === null) this.tell('rebuilding')
    this.release?.()
    this.release = null
    try {
      await this.build()
      this.rebuilding = false
    } catch {
      setTimeout(() => this.closed || void this.rebuild(), REBUILD_AGAIN_MS)
    }
  }
}
