/** The page's mute button: there while a microphone is on. What it mutes never leaves the browser. */

/** @import {RunningCaptions} from './create-captions.js' */

export const MUTED = 'Muted: nothing you say is heard'

export class Mute {
  /**
   * @param {HTMLButtonElement} button
   * @param {(muted: boolean) => void} onChange
   */
  constructor(button, onChange) {
    this.button = button
    this.onChange = onChange
    this.muted = false
    /** @type {Pick<RunningCaptions, 'pause' | 'resume'> | null} */
    this.captions = null
    button.onclick = () => this.toggle()
  }

  /** A call begins. @param {Pick<RunningCaptions, 'pause' | 'resume'>} captions */
  begin(captions) {
    this.captions = captions
    this.show(false)
  }

  /** No more is said. */
  end() {
    this.captions = null
    this.show(false)
  }

  toggle() {
    if (this.captions === null) return
    if (this.muted) this.captions.resume()
    else this.captions.pause()
    this.show(!this.muted)
    this.onChange(this.muted)
  }

  /** @param {boolean} muted */
  show(muted) {
    this.muted = muted
    this.button.hidden = this.captions === null
    this.button.textContent = muted ? 'Unmute' : 'Mute'
  }
}
