/** Chromium and Firefox for page.test.mjs. All that differs between the two is in this file. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { puppeteer } from '../../gateway-js/test/browser/puppeteer.js'

const SOUND_SERVER_MS = 20_000

/** Windows that a page is looked at in. */
export const LOOKS = {
  desktop: { width: 1280, height: 900 },
  phone: { width: 360, height: 740, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  dark: { width: 1280, height: 900 },
}

/**
 * A browser by name, with a microphone that plays a WAV file over and over.
 *
 * @param {string} name        chromium or firefox
 * @param {string} microphone  the WAV file
 * @param {string} folder      for what a browser needs beside itself; removed by the caller
 * @returns {Promise<{newPage: (look: {dark: boolean, reduced: boolean}) => Promise<import('../../gateway-js/node_modules/puppeteer-core').Page>, close: () => Promise<void>}>}
 */
export async function openBrowser(name, microphone, folder) {
  if (name === 'chromium') return openChromium(microphone)
  if (name === 'firefox') return openFirefox(microphone, folder)
  throw new Error(`BROWSER is ${name}: chromium or firefox`)
}

/** Its microphone can be a file, and each page is told its colours. */
async function openChromium(microphone) {
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--use-fake-ui-for-media-stream',
      '--use-fake-device-for-media-stream',
      `--use-file-for-fake-audio-capture=${microphone}`,
      '--autoplay-policy=no-user-gesture-required',
    ],
  })
  return {
    async newPage({ dark, reduced }) {
      const page = await browser.newPage()
      await page.emulateMediaFeatures([
        { name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' },
        { name: 'prefers-reduced-motion', value: reduced ? 'reduce' : 'no-preference' },
      ])
      return page
    },
    close: () => browser.close(),
  }
}

/**
 * WebDriver BiDi cannot emulate media features: colours and motion are preferences of a whole browser, so each look has
 * one, started when it is first asked for. And Firefox starts no AudioContext where there is no loudspeaker, not even
 * for a microphone: it gets a sound server of its own, and from it a microphone that is a device like any other.
 */
async function openFirefox(microphone, folder) {
  const sound = await startSoundServer(microphone, join(folder, 'sound'))
  /** @type {Map<string, ReturnType<typeof puppeteer.launch>>} */
  const browsers = new Map()
  const launch = ({ dark, reduced }) =>
    puppeteer.launch({
      browser: 'firefox',
      executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
      headless: true,
      env: { ...process.env, PULSE_SERVER: sound.address },
      extraPrefsFirefox: {
        'media.navigator.permission.disabled': true,
        'media.autoplay.default': 0,
        'layout.css.prefers-color-scheme.content-override': dark ? 0 : 1,
        'ui.prefersReducedMotion': reduced ? 1 : 0,
      },
    })
  return {
    async newPage(look) {
      const key = JSON.stringify(look)
      if (!browsers.has(key)) browsers.set(key, launch(look))
      return (await browsers.get(key)).newPage()
    },
    async close() {
      for (const browser of browsers.values()) await browser.then(found => found.close(), () => {})
      await sound.close()
    },
  }
}

/** A PulseAudio that plays to nobody, and whose microphone hears the file: nothing of the machine's own sound is used. */
async function startSoundServer(microphone, folder) {
  await mkdir(folder, { recursive: true })
  const socket = join(folder, 'native')
  const script = join(folder, 'sound.pa')
  const address = `unix:${socket}`
  await writeFile(
    script,
    [
      'load-module module-null-sink sink_name=loudspeaker',
      'load-module module-null-sink sink_name=mouth',
      'load-module module-remap-source master=mouth.monitor source_name=microphone',
      'set-default-sink loudspeaker',
      'set-default-source microphone',
      `load-module module-native-protocol-unix socket=${socket} auth-anonymous=1`, // last: once it is there, all is
      '',
    ].join('\n'),
  )
  const env = { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder, PULSE_RUNTIME_PATH: folder, PULSE_SERVER: address }
  const options = ['-n', '-F', script, '--daemonize=no', '--exit-idle-time=30', '--use-pid-file=no', '--disable-shm=yes']
  const server = spawn('pulseaudio', options, { env, stdio: 'ignore' })
  let over = false
  /** @type {unknown} */
  let broken = null
  server.once('error', error => (broken = error))
  server.once('exit', code => (broken ??= `it ended with ${code}`))
  const until = Date.now() + SOUND_SERVER_MS
  while (await access(socket).then(() => false, () => true)) {
    if (broken !== null || Date.now() > until) {
      server.kill()
      throw new Error(`pulseaudio, Firefox's microphone, did not start: ${broken ?? 'no socket'}`)
    }
    await sleep(50)
  }
  /** @type {import('node:child_process').ChildProcess | undefined} */
  let player
  const play = () => {
    player = spawn('paplay', ['--device=mouth', microphone], { env, stdio: 'ignore' })
    player.once('error', () => {})
    player.once('exit', code => over || code !== 0 || play())
  }
  play()
  return {
    address,
    async close() {
      over = true
      player?.kill()
      if (broken !== null) return
      server.kill()
      await once(server, 'exit')
    },
  }
}
