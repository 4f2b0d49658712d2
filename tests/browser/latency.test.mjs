/**
 * The page of latencies in a real browser, against a gateway with a call. Run by tests/browser/test_latency_page.py.
 *
 * Environment: BROWSER, STENOFLOW_URL, STENOFLOW_SCREENSHOTS (a folder for pictures; unset: none), CHROMIUM.
 */

import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { LOOKS, openBrowser } from './browsers.mjs'

const LIMIT_MS = 60_000
const screenshots = process.env.STENOFLOW_SCREENSHOTS
let browser

before(async () => {
  if (screenshots) await mkdir(screenshots, { recursive: true })
  browser = await openBrowser('chromium', '/dev/null', tmpdir())
})
after(() => browser?.close())

for (const [look, viewport] of Object.entries(LOOKS)) {
  test(`figures, lines and the way of a caption are there: ${look}`, async () => {
    const page = await browser.newPage({ dark: look === 'dark', reduced: false })
    page.setDefaultTimeout(LIMIT_MS)
    const complaints = []
    page.on('pageerror', error => complaints.push(String(error)))
    page.on('console', message => message.type() === 'error' && complaints.push(message.text()))
    await page.setViewport(viewport)
    // Not by /latency, which redirects: puppeteer now and then waits for ever for the answer of a redirected request.
    await page.goto(`${process.env.STENOFLOW_URL}/latency/`)
    await page.waitForFunction(
      () =>
        document.querySelector('#state').dataset.tone === 'live' &&
        document.querySelectorAll('.chart path').length >= 9 &&
        document.querySelectorAll('.way-bar').length === 5,
    )
    const tiles = await page.$$eval('.tile', each => each.map(({ innerText }) => innerText.replace(/\s+/g, ' ')))
    assert.equal(tiles[0], '1 open call')
    assert.match(tiles[1], /^\d+ tracks could begin$/)
    assert.match(tiles[3], /^[\d.]+ m?s word · 95 % in [\d.]+ m?s$/)
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    assert.ok(wide <= 0, `the page is ${wide} px wider than its window`)
    if (screenshots) await page.screenshot({ path: join(screenshots, `latency-${look}.png`), fullPage: true })
    assert.deepEqual(complaints, [])
    await page.close()
  })
}
