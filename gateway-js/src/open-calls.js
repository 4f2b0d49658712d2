/**
 * The list of calls on the page for those who watch.
 *
 * @typedef {object} OpenCall  as `GET /v1/sessions` describes it
 * @property {string} session
 * @property {'open' | 'ended' | 'broken'} state
 * @property {'live' | 'file'} kind
 * @property {number} began_ms
 * @property {{track: number, name: string}[]} tracks
 * @property {Record<string, string>} metadata
 */

/** What a person calls it: what its caller said of it, else who speaks. @param {OpenCall} call */
export function titleOf({ tracks, metadata }) {
  const told = Object.values(metadata).filter(value => value !== '')
  return told.length > 0 ? told.join(' · ') : namesOf(tracks).join(' and ')
}

/** What stands below its title. @param {OpenCall} call */
export function kindOf(call) {
  if (call.kind === 'file') return 'a recording'
  const names = namesOf(call.tracks)
  return names.join(' and ') === titleOf(call) ? 'a live call' : names.join(', ')
}

/** @param {OpenCall['tracks']} tracks */
export function namesOf(tracks) {
  return tracks.map(({ name, track }) => name || `Track ${track + 1}`)
}

/**
 * How long it has gone on, as a clock.
 * @param {number} began_ms
 * @param {number} now_ms by the server's clock, or near it
 */
export function lengthOf(began_ms, now_ms) {
  const seconds = Math.max(0, Math.floor((now_ms - began_ms) / 1000))
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60]
  const two = (/** @type {number} */ value) => String(value).padStart(2, '0')
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`
}
