/**
 * Streaming conversion of a sampling rate by a polyphase windowed sinc (Kaiser, stop band under −80 dB).
 *
 * Method: Crochiere and Rabiner, "Multirate Digital Signal Processing" (1983), chapter 4. Output sample n stands at
 * input time n·M/L, kept in integers, so hours of sound do not drift and any chunking gives the same samples. The
 * filter is centred: a word keeps its position.
 */

const ZERO_CROSSINGS = 24
const KAISER_BETA = 8.5
/** Share of the lower Nyquist frequency that passes. */
const ROLL_OFF = 0.92

export class Resampler {
  /**
   * @param {number} from input rate in Hz, an integer
   * @param {number} to output rate in Hz, an integer
   */
  constructor(from, to) {
    const common = gcd(from, to)
    /** L */ this.up = to / common
    /** M */ this.down = from / common
    const cutoff = (Math.min(1, to / from) / 2) * ROLL_OFF
    /** Input samples on either side of an output sample. */
    this.reach = from === to ? 0 : Math.ceil(ZERO_CROSSINGS / (2 * cutoff))
    this.phases = from === to ? [] : makePhases(this.up, this.reach, cutoff)
    /** Input from `heldFrom` on, as far as the filter still needs it. */
    this.held = new Float32Array(this.reach)
    this.heldFrom = -this.reach
    /** Input time of the next output sample: `whole + phase / up`. */
    this.whole = 0
    this.phase = 0
  }

  /**
   * Takes some input.
   * @param {Float32Array} input
   * @returns {Float32Array} all output that is complete
   */
  push(input) {
    if (this.reach === 0) return input.slice()
    const joined = new Float32Array(this.held.length + input.length)
    joined.set(this.held)
    joined.set(input, this.held.length)
    const end = this.heldFrom + joined.length
    const output = new Float32Array(Math.ceil(((end - this.whole) * this.up) / this.down) + 1)
    let made = 0
    for (; this.whole + this.reach < end; made++) {
      const taps = /** @type {Float32Array} */ (this.phases[this.phase])
      const first = this.whole - this.reach + 1 - this.heldFrom
      let sum = 0
      for (let tap = 0; tap < taps.length; tap++) {
        sum += /** @type {number} */ (taps[tap]) * /** @type {number} */ (joined[first + tap])
      }
      output[made] = sum
      this.phase += this.down
      this.whole += Math.floor(this.phase / this.up)
      this.phase %= this.up
    }
    const keepFrom = Math.min(this.whole - this.reach + 1, end)
    this.held = joined.slice(keepFrom - this.heldFrom)
    this.heldFrom = keepFrom
    return output.subarray(0, made)
  }
}

/**
 * Turns floating-point sound into 16-bit PCM.
 * @param {Float32Array} sound −1 to 1; what lies beyond is clipped
 */
export function toPcm16(sound) {
  const pcm = new Int16Array(sound.length)
  for (let at = 0; at < sound.length; at++) {
    const value = Math.max(-1, Math.min(1, /** @type {number} */ (sound[at])))
    pcm[at] = Math.round(value * (value < 0 ? 32768 : 32767))
  }
  return pcm
}

/**
 * One filter per phase; tap t of phase p weighs the input sample at `whole − reach + 1 + t`.
 * @param {number} up
 * @param {number} reach
 * @param {number} cutoff cycles per input sample
 */
function makePhases(up, reach, cutoff) {
  return Array.from({ length: up }, (_, phase) => {
    const taps = new Float32Array(2 * reach)
    let sum = 0
    for (let tap = 0; tap < taps.length; tap++) {
      const distance = tap - reach + 1 - phase / up
      const value = sinc(2 * cutoff * distance) * kaiser(distance / reach)
      taps[tap] = value
      sum += value
    }
    return taps.map(tap => tap / sum)
  })
}

/** @param {number} x */
function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x)
}

/** @param {number} x −1 to 1 */
function kaiser(x) {
  return Math.abs(x) > 1 ? 0 : besselI0(KAISER_BETA * Math.sqrt(1 - x * x)) / besselI0(KAISER_BETA)
}

/** @param {number} x */
function besselI0(x) {
  let sum = 1
  let term = 1
  for (let k = 1; term > sum * 1e-12; k++) {
    term *= (x / (2 * k)) ** 2
    sum += term
  }
  return sum
}

/**
 * @param {number} a
 * @param {number} b
 * @returns {number}
 */
function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b)
}
