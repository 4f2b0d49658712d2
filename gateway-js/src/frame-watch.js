/**
 * Decides whether a microphone is alive by what it delivers, not by what it says of itself (PAINS 2): contexts are
 * "running" with a frozen clock, tracks "live" with nothing but zeros. Pure; time comes with each call.
 */

export const NO_FRAMES_MS = 500
export const ONLY_ZEROS_MS = 3000
/** A device may take its time to begin. */
export const FIRST_FRAME_MS = 2000

/** @typedef {'fine' | 'no_frames' | 'only_zeros'} Verdict */

export class FrameWatch {
  /** @param {number} now milliseconds */
  constructor(now) {
    this.lastFrame = now + FIRST_FRAME_MS - NO_FRAMES_MS
    this.lastSound = now
    this.lastCheck = now
  }

  /**
   * A chunk came.
   * @param {number} peak 0 to 1
   * @param {number} now
   */
  frame(peak, now) {
    this.lastFrame = now
    if (peak > 0) this.lastSound = now
  }

  /**
   * To be asked every quarter of a second or so.
   * @param {number} now
   * @returns {Verdict}
   */
  check(now) {
    // Where the page itself was held up, frames wait in its queue: they get until the next check.
    const pageSlept = now - this.lastCheck > NO_FRAMES_MS
    this.lastCheck = now
    if (pageSlept) return 'fine'
    if (now - this.lastFrame > NO_FRAMES_MS) return 'no_frames'
    return now - this.lastSound > ONLY_ZEROS_MS ? 'only_zeros' : 'fine'
  }
}
