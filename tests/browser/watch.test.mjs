/**
 * The page for those who watch, in a real browser, against a gateway with a call. Run by tests/browser/test_watch_page.py.
 *
 * Environment: STENOFLOW_URL, STENOFLOW_SCREENSHOTS (a folder for pictures; unset: none), CHROMIUM.
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
  test(`the call is listed, and what was said in it is read: ${look}`, async () => {
    const page = await browser.newPage({ dark: look === 'dark', reduced: false })
    page.setDefaultTimeout(LIMIT_MS)
    const complaints = []
    page.on('pageerror', error => complaints.push(String(error)))
    page.on('console', message => message.type() === 'error' && complaints.push(message.text()))
    await page.setViewport(viewport)
    await page.goto(`${process.env.STENOFLOW_URL}/watch/`)
    const link = await page.waitForSelector('#calls a')
    assert.match(await page.$eval('#state-text', ({ innerText }) => innerText), /^1 open call$/)
    await link.click()
    await page.waitForFunction(
      count => document.querySelector('live-captions').lines.filter(({ final }) => final).length === count,
      {},
      Number(process.env.FINALS),
    )
    assert.equal(await page.$eval('#calls a', each => each.getAttribute('aria-current')), 'true')
    assert.equal(await page.evaluate(() => location.hash), `#${process.env.SESSION}`)
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    assert.ok(wide <= 0, `the page is ${wide} px wider than its window`)
    if (screenshots) await page.screenshot({ path: join(screenshots, `watch-${look}.png`) })
    assert.deepEqual(complaints, [])
    await page.close()
  })
}

test('an address that was handed over shows its call; one of a call that is none says so', async () => {
  const page = await browser.newPage({ dark: false, reduced: false })
  page.setDefaultTimeout(LIMIT_MS)
  await page.goto(`${process.env.STENOFLOW_URL}/watch/#${process.env.SESSION}`)
  await page.waitForFunction(() => document.querySelector('live-captions').lines.length > 0)
  await page.evaluate(() => {
    location.hash = '#s00-0000000000000000'
  })
  await page.waitForFunction(() => /no such call/.test(document.querySelector('#notice').textContent))
  assert.equal(await page.$eval('live-captions', each => each.lines.length), 0)
  await page.close()
})
