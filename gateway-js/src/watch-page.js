/** The page for those who watch: the calls that are open on the left, what is said in one of them on the right. Glue. */

/** @import {OpenCall} from './open-calls.js' */

import { offerTranscript } from './keep.js'
import { LiveCaptions } from './live-captions.js'
import { kindOf, lengthOf, namesOf, titleOf } from './open-calls.js'
import { part } from './part.js'
import { counted, sentenceFor } from './sentences.js'
import { watch } from './watch.js'

const LIST_EVERY_MS = 2000
const LIMIT_MS = 5000
const LISTED = 200

const captions = part('captions', LiveCaptions)
const state = part('state', HTMLElement)
const stateText = part('state-text', HTMLElement)
const notice = part('notice', HTMLElement)
const list = part('calls', HTMLUListElement)
const none = part('none', HTMLElement)
const tokenForm = part('token-form', HTMLFormElement)
const tokenInput = part('token', HTMLInputElement)
const keep = part('keep', HTMLElement)

/** Only in memory, never in the address or in storage. @type {string | undefined} */
let token
/** @type {{session: string, close: () => void} | null} */
let watching = null

/** @param {'idle' | 'live' | 'wait' | 'bad'} tone @param {string} sentence */
function sayState(tone, sentence) {
  state.dataset.tone = tone
  if (stateText.textContent !== sentence) stateText.textContent = sentence
}

/** @param {string} sentence */
function sayNotice(sentence) {
  notice.textContent = sentence
  notice.hidden = sentence === ''
}

/** @param {string} path */
async function ask(path) {
  return fetch(path, {
    cache: 'no-store',
    signal: AbortSignal.timeout(LIMIT_MS),
    headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
  })
}

// ------------------------------------------------------------------ the list

async function keepListing() {
  for (;;) {
    if (!document.hidden && tokenForm.hidden) await listOnce()
    await new Promise(resolve => setTimeout(resolve, LIST_EVERY_MS))
  }
}

async function listOnce() {
  try {
    const answer = await ask(`/v1/sessions?state=open&limit=${LISTED}`)
    if (answer.status === 401 || answer.status === 403) return askForToken()
    if (!answer.ok) throw new Error(`The gateway answers ${answer.status}.`)
    const { sessions } = /** @type {{sessions: OpenCall[]}} */ (await answer.json())
    showList(sessions)
    sayState(sessions.length > 0 ? 'live' : 'idle', counted(sessions.length, 'open call'))
  } catch (error) {
    const told = error instanceof Error && error.message.startsWith('The gateway')
    sayState('bad', told ? /** @type {Error} */ (error).message : 'The gateway does not answer')
  }
}

/** @param {OpenCall[]} calls */
function showList(calls) {
  none.hidden = calls.length > 0
  const known = new Map(
    [...list.children].map(item => [/** @type {HTMLElement} */ (item).dataset.session, item]),
  )
  const wanted = calls.map(call => known.get(call.session) ?? newItem(call))
  for (const [at, item] of wanted.entries()) {
    const call = /** @type {OpenCall} */ (calls[at])
    const length = item.querySelector('.length')
    if (length !== null) length.textContent = lengthOf(call.began_ms, Date.now())
    if (list.children[at] !== item) list.insertBefore(item, list.children[at] ?? null)
  }
  while (list.children.length > wanted.length) list.lastElementChild?.remove()
  markWatched()
}

/** @param {OpenCall} call */
function newItem(call) {
  const item = document.createElement('li')
  item.dataset.session = call.session
  const link = document.createElement('a')
  link.href = `#${call.session}`
  for (const [name, text] of [
    ['title', titleOf(call)],
    ['length', ''],
    ['who', kindOf(call)],
  ]) {
    const span = document.createElement('span')
    span.className = /** @type {string} */ (name)
    span.textContent = /** @type {string} */ (text)
    link.append(span)
  }
  item.append(link)
  return item
}

function markWatched() {
  for (const link of list.querySelectorAll('a')) {
    if (link.hash.slice(1) === watching?.session) link.setAttribute('aria-current', 'true')
    else link.removeAttribute('aria-current')
  }
}

// ------------------------------------------------------------------ one call

/** Shows the call that the address names; an address can be handed to a colleague. */
async function showNamed() {
  watching?.close()
  watching = null
  const session = decodeURIComponent(location.hash.slice(1))
  keep.hidden = true
  sayNotice('')
  if (session === '') return
  captions.clear()
  const mine = { session, close: () => {} }
  watching = mine
  markWatched()
  try {
    const answer = await ask(`/v1/sessions/${encodeURIComponent(session)}`)
    if (watching !== mine) return
    if (answer.status === 401 || answer.status === 403) return askForToken()
    if (answer.status === 404) return sayNotice('There is no such call any more. Choose another one.')
    const call = /** @type {OpenCall & {second_pass: string}} */ (await answer.json())
    captions.voices = namesOf(call.tracks)
    captions.toggleAttribute('drafts', Boolean(call.second_pass))
  } catch {
    if (watching === mine) sayNotice('The gateway does not answer. Choose the call again in a moment.')
    return
  }
  const { close } = watch({
    session,
    ...(token === undefined ? {} : { token }),
    onMessage(message) {
      if ((message.type === 'partial' || message.type === 'final') && captions.receive(message))
        keep.hidden = false
    },
    onNews(news) {
      if (news.type === 'live') sayNotice('')
      else if (news.type === 'waiting') sayNotice('The connection broke. Watching again…')
      else if (news.code === null) sayNotice('This call is over.')
      else sayNotice(sentenceFor({ code: news.code, message: news.message }))
    },
  })
  mine.close = close
}

function askForToken() {
  sayState('idle', 'A token is needed')
  tokenForm.hidden = false
  tokenInput.focus()
}

tokenForm.onsubmit = event => {
  event.preventDefault()
  token = tokenInput.value.trim()
  tokenInput.value = ''
  tokenForm.hidden = true
  void listOnce()
  void showNamed()
}

addEventListener('hashchange', () => void showNamed())
offerTranscript(keep, captions, sayNotice)
void keepListing()
void showNamed()
