/** What was written down, to take away: a button that copies it and a menu that saves it. */

/** @import {LiveCaptions} from './live-captions.js' */
/** @import {Format} from './transcript.js' */

import { MEDIA_TYPES, writeTranscript } from './transcript.js'

/**
 * @param {HTMLElement} root with `#copy` and `.menu` in it
 * @param {LiveCaptions} captions
 * @param {(sentence: string) => void} say
 */
export function offerTranscript(root, captions, say) {
  const copyButton = /** @type {HTMLButtonElement} */ (root.querySelector('#copy'))
  const menu = /** @type {HTMLDetailsElement} */ (root.querySelector('.menu'))
  const buttons = /** @type {NodeListOf<HTMLButtonElement>} */ (menu.querySelectorAll('[data-format]'))

  /** @param {Format} format */
  const transcript = format => writeTranscript(format, captions.lines, captions.voices)

  copyButton.onclick = async () => {
    try {
      await navigator.clipboard.writeText(transcript('txt'))
      copyButton.textContent = 'Copied'
    } catch {
      say('The browser did not allow copying. Save the text instead.')
    }
    setTimeout(() => {
      copyButton.textContent = 'Copy'
    }, 2000)
  }
  for (const button of buttons) {
    button.onclick = () => {
      const format = /** @type {Format} */ (button.dataset.format)
      const link = document.createElement('a')
      link.href = URL.createObjectURL(new Blob([transcript(format)], { type: MEDIA_TYPES[format] }))
      link.download = `stenoflow-${new Date().toISOString().slice(0, 16).replace(/[T:]/g, '-')}.${format}`
      link.click()
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
      menu.open = false
    }
  }
  addEventListener('click', event => {
    if (event.target instanceof Node && !menu.contains(event.target)) menu.open = false
  })
  addEventListener('keydown', event => {
    if (event.key === 'Escape' && menu.open) {
      menu.open = false
      menu.querySelector('summary')?.focus()
    }
  })
}
