/** Sound for tests, made on the spot: bursts of a tone, like syllables, another for each channel. */

const RATE = 16000
const HEADER_BYTES = 44

/**
 * @param {number} seconds
 * @param {number} channels
 * @returns {Buffer} a 16-bit WAV file
 */
export function wavOf(seconds, channels) {
  const frames = Math.round(seconds * RATE)
  const file = Buffer.alloc(HEADER_BYTES + frames * channels * 2)
  file.write('RIFF', 0)
  file.writeUInt32LE(file.length - 8, 4)
  file.write('WAVEfmt ', 8)
  file.writeUInt32LE(16, 16)
  file.writeUInt16LE(1, 20)
  file.writeUInt16LE(channels, 22)
  file.writeUInt32LE(RATE, 24)
  file.writeUInt32LE(RATE * channels * 2, 28)
  file.writeUInt16LE(channels * 2, 32)
  file.writeUInt16LE(16, 34)
  file.write('data', 36)
  file.writeUInt32LE(frames * channels * 2, 40)
  for (let frame = 0; frame < frames; frame++) {
    const syllable = Math.max(0, Math.sin((2 * Math.PI * 2 * frame) / RATE)) ** 2
    for (let channel = 0; channel < channels; channel++) {
      const tone = Math.sin((2 * Math.PI * (220 + 110 * channel) * frame) / RATE)
      file.writeInt16LE(Math.round(9000 * syllable * tone), HEADER_BYTES + (frame * channels + channel) * 2)
    }
  }
  return file
}
