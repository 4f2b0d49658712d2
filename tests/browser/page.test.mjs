/**
 * The page in a real browser: a microphone that is a file, a dropped recording, the bundled sample, a gateway that
 * goes away. Run by tests/browser/test_page.py against the running stack, or by hand against the fake gateway:
 *
 *     node tests/browser/page.test.mjs
 *     BROWSER=firefox node tests/browser/page.test.mjs
 *
 * Environment:
 *   BROWSER                chromium or firefox; unset: chromium
 *   STENOFLOW_URL          the running stack; unset: a fake gateway that reads from a script
 *   STENOFLOW_MICROPHONE   a WAV file that the microphone plays; unset: bursts of a tone (only the fake hears words in them)
 *   STENOFLOW_RECORDING    a file to drop; unset: the microphone's
 *   STENOFLOW_SCREENSHOTS  a folder for pictures (desktop, 360 px, dark); unset: none
 *   CHROMIUM, FIREFOX      the program; unset: /usr/bin/chromium, /usr/bin/firefox-esr
 */

import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { startFakeGateway } from '../../gateway-js/test/fake/gateway.js'
import { wavOf } from '../../gateway-js/test/fake/wav.js'
import { openBrowser } from './browsers.mjs'

const DESKTOP = { width: 1280, height: 800 }
const PHONE = { width: 360, height: 740, isMobile: true, hasTouch: true, deviceScaleFactor: 2 }
const LIMIT_MS = 60_000

const screenshots = process.env.STENOFLOW_SCREENSHOTS
const real = process.env.STENOFLOW_URL
let folder, browser, gateway, url, microphone, recording

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stenoflow-browser-'))
  if (screenshots) await mkdir(screenshots, { recursive: true })
  microphone = process.env.STENOFLOW_MICROPHONE && resolve(process.env.STENOFLOW_MICROPHONE)
  if (!microphone) {
    microphone = join(folder, 'tones.wav')
    await writeFile(microphone, wavOf(20, 1))
  }
  recording = process.env.STENOFLOW_RECORDING ? resolve(process.env.STENOFLOW_RECORDING) : microphone
  if (!real) gateway = await startFakeGateway({ sample: process.env.STENOFLOW_SAMPLE })
  url = real ?? gateway.url
  browser = await openBrowser(process.env.BROWSER ?? 'chromium', microphone, folder)
})

after(async () => {
  await browser?.close()
  await gateway?.close()
  if (folder) await rm(folder, { recursive: true })
})

/** A page, and everything that went wrong in it. */
async function openPage({ viewport = DESKTOP, dark = false, reduced = false } = {}) {
  const page = await browser.newPage({ dark, reduced })
  page.setDefaultTimeout(LIMIT_MS)
  const complaints = []
  page.on('pageerror', error => complaints.push(String(error)))
  page.on('console', message => message.type() === 'error' && complaints.push(message.text()))
  page.on('dialog', dialog => dialog.accept())
  await page.setViewport(viewport)
  // Not every browser writes to the console what its policy kept out.
  await page.evaluateOnNewDocument(() =>
    addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) =>
      console.error(`kept out by ${effectiveDirective}: ${blockedURI}`),
    ),
  )
  await page.goto(url, { waitUntil: 'networkidle0' })
  return { page, complaints }
}

async function picture(page, name) {
  if (screenshots) await page.screenshot({ path: join(screenshots, `${name}.png`) })
}

/** Waits until `count` words are on the screen and, where asked, that many finals. */
function words(page, count, finals = 0) {
  return page.waitForFunction(
    (least, leastFinals) => {
      const root = document.querySelector('live-captions').shadowRoot
      const closed = root.querySelectorAll('.line:not(.open)').length
      return root.querySelectorAll('.word').length >= least && closed >= leastFinals
    },
    { polling: 'mutation', timeout: LIMIT_MS },
    count,
    finals,
  ).catch(async () => {
    const said = await page.evaluate(() => document.body.innerText)
    throw new Error(`no ${count} words and ${finals} finals came; the page says: ${said}`)
  })
}

function state(page, pattern) {
  return page.waitForFunction(
    source => new RegExp(source).test(document.getElementById('state-text').textContent),
    { timeout: LIMIT_MS },
    pattern.source,
  )
}

async function dropFile(page, path) {
  const bytes = (await readFile(path)).toString('base64')
  await page.evaluate(
    (name, base64) => {
      const raw = Uint8Array.from(atob(base64), character => character.charCodeAt(0))
      const transfer = new DataTransfer()
      transfer.items.add(new File([raw], name))
      for (const type of ['dragenter', 'dragover', 'drop'])
        window.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, cancelable: true, bubbles: true }))
    },
    basename(path),
    bytes,
  )
}

describe('the page', { timeout: 10 * LIMIT_MS }, () => {
  test('the microphone becomes captions, word by word, and the last words survive the stop', async () => {
    const { page, complaints } = await openPage()
    await picture(page, 'empty-desktop')
    // What a person who uses only the keyboard does.
    await page.focus('#microphone')
    await page.keyboard.press('Enter')
    await words(page, 3)
    const apart = await page.evaluate(async () => {
      const root = document.querySelector('live-captions').shadowRoot
      const seen = { stable: false, tail: false, moved: 0 }
      const places = new Map()
      const until = performance.now() + 3000
      const latest = until + 30_000
      // Until a word that was unstable has settled, its place must not change. A speaker may pause meanwhile.
      while (performance.now() < until || (!(seen.stable && seen.tail) && performance.now() < latest)) {
        for (const line of root.querySelectorAll('.line.open')) {
          let text = '' // a word may move where one before it was revised
          for (const word of line.querySelectorAll('.word')) {
            text += word.textContent
            seen[word.classList.contains('tail') ? 'tail' : 'stable'] = true
            const { left } = word.getBoundingClientRect()
            const before = places.get(word)
            if (before && before.text === text && before.row === word.offsetTop && Math.abs(before.left - left) > 0.5)
              seen.moved += 1
            places.set(word, { left, text, row: word.offsetTop })
          }
        }
        await new Promise(requestAnimationFrame)
      }
      return seen
    })
    assert.equal(apart.tail, true, 'a changing tail was drawn')
    assert.equal(apart.stable, true, 'a stable part was drawn')
    assert.equal(apart.moved, 0, 'no word moved when it settled')
    await words(page, 8, 1)
    await picture(page, 'microphone-desktop')
    await page.click('#microphone')
    await state(page, /^Done/)
    const open = await page.evaluate(
      () => document.querySelector('live-captions').shadowRoot.querySelectorAll('.line.open').length,
    )
    assert.equal(open, 0, 'every utterance got its final')
    const spoken = await page.evaluate(
      () => document.querySelector('live-captions').shadowRoot.querySelector('[aria-live=polite]').childElementCount,
    )
    assert.ok(spoken > 0, 'a screen reader hears finals')
    assert.deepEqual(complaints, [])
    await page.close()
  })

  test('a muted microphone adds no word, and after it words come again', async () => {
    const { page, complaints } = await openPage()
    await page.click('#microphone')
    await words(page, 2)
    await page.click('#mute')
    await state(page, /^Muted/)
    const level = await page.evaluate(() =>
      document.getElementById('microphone').style.getPropertyValue('--level'),
    )
    assert.equal(Number(level), 0, 'nothing shows that it hears')
    await page.click('#mute')
    await state(page, /^Listening/)
    await words(page, 4)
    await page.click('#microphone')
    await state(page, /^Done/)
    assert.equal(await page.evaluate(() => document.getElementById('mute').hidden), true)
    assert.deepEqual(complaints, [])
    await page.close()
  })

  test('a dropped recording is written down faster than it plays', async () => {
    const { page, complaints } = await openPage({ dark: true })
    await dropFile(page, recording)
    await state(page, /^Done/)
    await words(page, 1, 1)
    await picture(page, 'file-dark')
    const transcript = await page.evaluate(async () => {
      const texts = []
      URL.createObjectURL = blob => {
        texts.push(blob.text())
        return 'blob:none'
      }
      HTMLAnchorElement.prototype.click = () => {}
      for (const button of document.querySelectorAll('[data-format]')) button.click()
      return Promise.all(texts)
    })
    assert.equal(transcript.length, 4)
    assert.match(transcript[2], /^WEBVTT\n\n00:00:/)
    assert.ok(JSON.parse(transcript[3]).utterances[0].words.length > 0)
    assert.deepEqual(complaints, [])
    await page.close()
  })

  for (const [name, options] of [
    ['desktop', {}],
    ['dark', { dark: true }],
    ['phone', { viewport: PHONE, reduced: true }],
    ['phone-dark', { viewport: PHONE, dark: true }],
  ]) {
    test(`the sample plays as a call of two voices, nothing is cut off (${name})`, async () => {
      const { page, complaints } = await openPage(options)
      if (name === 'phone') await picture(page, 'empty-phone')
      await page.click('#sample')
      await words(page, 24, 2)
      await picture(page, `sample-${name}`)
      const width = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      assert.ok(width <= 0, `${width} px hang over the edge`)
      assert.equal(await page.evaluate(() => document.getElementById('voices').childElementCount), 2)
      assert.notEqual(await page.evaluate(() => document.getElementById('p50').textContent), '–')
      await page.click('#microphone')
      await state(page, /^Done/)
      assert.deepEqual(complaints, [])
      await page.close()
    })
  }

  test('a gateway that dies is told and mended, and nothing is said twice', { skip: real ? 'cuts connections of the fake gateway only' : false }, async () => {
    const { page } = await openPage()
    await page.click('#sample')
    await words(page, 6)
    gateway.cut()
    await words(page, 24, 2)
    await page.click('#microphone')
    await state(page, /^Done/)
    const lines = await page.evaluate(() => document.querySelector('live-captions').lines.map(({ key }) => key))
    assert.equal(new Set(lines).size, lines.length)
    await page.close()
  })

  test('a full server is named in plain words and tried again', { skip: real ? 'fills the fake gateway only' : false }, async () => {
    const { page } = await openPage()
    gateway.behaviour.full = 1
    await page.click('#sample')
    await state(page, /All lines are busy\. Trying again in 1 s\./)
    await picture(page, 'full-desktop')
    await words(page, 3)
    await page.close()
  })

  test('the policy that the page is served with holds: it keeps a script in the page out, and nothing of the page', { skip: real ? 'the fake gateway sends it' : false }, async () => {
    const { page, complaints } = await openPage()
    assert.deepEqual(complaints, [])
    const ran = await page.evaluate(async () => {
      const told = new Promise(tell => addEventListener('securitypolicyviolation', tell))
      const script = document.createElement('script')
      script.textContent = 'globalThis.strangerRan = true'
      document.body.append(script)
      await told
      return globalThis.strangerRan === true
    })
    assert.equal(ran, false)
    assert.match(complaints.join('\n'), /^kept out by script-src/m)
    await page.close()
  })

  test('a refused microphone says what to do', async () => {
    const { page } = await openPage({ viewport: PHONE })
    await page.evaluate(() => {
      navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException('no', 'NotAllowedError')
      }
    })
    await page.click('#microphone')
    await page.waitForFunction(() => /blocked/.test(document.getElementById('notice').textContent))
    await picture(page, 'refused-phone')
    await page.close()
  })
})
