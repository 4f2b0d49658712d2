/** Risk: the page says that a person is not heard, and they are; or the other way round. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Mute } from '../src/mute.js'

function rig() {
  /** @type {string[]} */
  const said = []
  const button = /** @type {HTMLButtonElement} */ (/** @type {unknown} */ ({ hidden: true, textContent: '' }))
  const mute = new Mute(button, muted => said.push(muted ? 'shown muted' : 'shown heard'))
  const captions = { pause: () => said.push('pause'), resume: () => said.push('resume') }
  return { mute, button, captions, said }
}

test('the session is told before the page says so, and back', () => {
  const { mute, button, captions, said } = rig()
  mute.begin(captions)
  mute.toggle()
  assert.deepEqual([mute.muted, button.textContent], [true, 'Unmute'])
  mute.toggle()
  assert.deepEqual([mute.muted, button.textContent], [false, 'Mute'])
  assert.deepEqual(said, ['pause', 'shown muted', 'resume', 'shown heard'])
})

test('without a call there is nothing to mute, and the next call begins unmuted', () => {
  const { mute, button, captions, said } = rig()
  mute.toggle()
  assert.deepEqual(said, [])
  mute.begin(captions)
  mute.toggle()
  mute.end()
  assert.deepEqual([mute.muted, button.hidden], [false, true])
  mute.begin(captions)
  assert.deepEqual([mute.muted, button.hidden, button.textContent], [false, false, 'Mute'])
})
