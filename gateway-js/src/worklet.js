/**
 * Runs on the audio thread: mixes the microphone down, resamples it, cuts it into chunks of PCM. A busy page therefore
 * delays sound, it never loses any (PAINS 3).
 */

import { Resampler, toPcm16 } from './resample.js'

/**
 * One chunk as it leaves the audio thread.
 * @typedef {{samples: Int16Array<ArrayBuffer>, peak: number, rms: number}} Chunk
 */

class CaptureProcessor extends AudioWorkletProcessor {
  /** @param {{processorOptions: {rate: number, chunk_ms: number}}} options */
  constructor({ processorOptions: { rate, chunk_ms } }) {
    super()
    this.resampler = new Resampler(Math.round(sampleRate), rate)
    this.chunk = new Float32Array((rate * chunk_ms) / 1000)
    this.filled = 0
  }

  /** @param {Float32Array[][]} inputs */
  process([channels]) {
    const first = channels?.[0]
    if (channels === undefined || first === undefined) return true // between devices there is no input
    const mono = channels.length === 1 ? first : mix(channels)
    for (let sound = this.resampler.push(mono); sound.length > 0; ) {
      const fits = sound.subarray(0, this.chunk.length - this.filled)
      this.chunk.set(fits, this.filled)
      this.filled += fits.length
      sound = sound.subarray(fits.length)
      if (this.filled === this.chunk.length) this.ship()
    }
    return true
  }

  ship() {
    let peak = 0
    let power = 0
    for (const value of this.chunk) {
      peak = Math.max(peak, Math.abs(value))
      power += value * value
    }
    const samples = toPcm16(this.chunk)
    /** @type {Chunk} */
    const chunk = { samples, peak, rms: Math.sqrt(power / this.chunk.length) }
    this.port.postMessage(chunk, [samples.buffer])
    this.filled = 0
  }
}

/** @param {Float32Array[]} channels */
function mix(channels) {
  const mono = new Float32Array(/** @type {Float32Array} */ (channels[0]).length)
  for (const channel of channels) {
    for (let at = 0; at < mono.length; at++) {
      mono[at] = /** @type {number} */ (mono[at]) + /** @type {number} */ (channel[at]) / channels.length
    }
  }
  return mono
}

registerProcessor('stenoflow-capture', CaptureProcessor)
