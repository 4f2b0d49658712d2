/** A conversation written down: text, SubRip, WebVTT and JSON, made in the browser so that no server sees it again. */

/** @import {Line} from './captions.js' */

import { CAPTION_RATE } from './messages.js'

/** @typedef {'txt' | 'srt' | 'vtt' | 'json'} Format */

/** @type {Readonly<Record<Format, string>>} */
export const MEDIA_TYPES = Object.freeze({
  txt: 'text/plain',
  srt: 'application/x-subrip',
  vtt: 'text/vtt',
  json: 'application/json',
})

/**
 * Writes the lines down.
 *
 * @param {Format} format
 * @param {Line[]} lines in the order of the conversation
 * @param {string[]} names of the tracks
 * @returns {string}
 */
export function writeTranscript(format, lines, names) {
  switch (format) {
    case 'txt':
      return lines.map(line => `[${clock(line.begin)}] ${spoken(line, names)}\n`).join('')
    case 'srt':
      return lines
        .map(
          (line, at) =>
            `${at + 1}\n${stamp(line.begin, ',')} --> ${stamp(line.end, ',')}\n${spoken(line, names)}\n`,
        )
        .join('\n')
    case 'vtt':
      return [
        'WEBVTT\n',
        ...lines.map(
          line =>
            `${stamp(line.begin, '.')} --> ${stamp(line.end, '.')}\n${voice(line, names)}${escaped(line.text)}\n`,
        ),
      ].join('\n')
    case 'json':
      return `${JSON.stringify({ tracks: names, utterances: lines.map(line => plain(line, names)) }, null, 2)}\n`
  }
}

/**
 * A position for people: `7:05`, from an hour on `1:07:05`.
 * @param {number} position 16 kHz samples
 */
export function clock(position) {
  const all = Math.floor(position / CAPTION_RATE)
  const seconds = String(all % 60).padStart(2, '0')
  const minutes = Math.floor(all / 60) % 60
  const hours = Math.floor(all / 3600)
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${seconds}` : `${minutes}:${seconds}`
}

/**
 * @param {number} position
 * @param {string} point
 */
function stamp(position, point) {
  const ms = Math.round((position / CAPTION_RATE) * 1000)
  const part = (/** @type {number} */ unit, /** @type {number} */ count) =>
    String(Math.floor(ms / unit) % count).padStart(2, '0')
  const hours = String(Math.floor(ms / 3_600_000)).padStart(2, '0')
  return `${hours}:${part(60_000, 60)}:${part(1000, 60)}${point}${String(ms % 1000).padStart(3, '0')}`
}

/**
 * @param {Line} line
 * @param {string[]} names
 */
function spoken({ track, text }, names) {
  return names.length > 1 ? `${names[track] ?? `track ${track}`}: ${text}` : text
}

/**
 * @param {Line} line
 * @param {string[]} names
 */
function voice({ track }, names) {
  return names.length > 1 ? `<v ${escaped(names[track] ?? `track ${track}`)}>` : ''
}

/** @param {string} text */
function escaped(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

/**
 * @param {Line} line
 * @param {string[]} names
 */
function plain({ track, begin, end, text, final, words, confidence }, names) {
  const seconds = (/** @type {number} */ position) => Math.round((position / CAPTION_RATE) * 1000) / 1000
  return {
    track,
    name: names[track],
    begin_s: seconds(begin),
    end_s: seconds(end),
    text,
    final,
    confidence,
    words: words.map(word => ({
      word: word.word,
      begin_s: seconds(word.begin),
      end_s: seconds(word.end),
      confidence: word.confidence,
    })),
  }
}
