/** A recording that is dropped anywhere on the page. */

/**
 * @param {HTMLElement} area covers the page while something hangs over it
 * @param {(file: File) => void} take
 */
export function acceptDrops(area, take) {
  /** Enter and leave come for every element below the pointer. */
  let depth = 0
  addEventListener('dragenter', event => {
    if (!event.dataTransfer?.types.includes('Files')) return
    depth += 1
    area.hidden = false
  })
  addEventListener('dragleave', () => {
    depth = Math.max(0, depth - 1)
    area.hidden = depth === 0
  })
  addEventListener('dragover', event => event.preventDefault())
  addEventListener('drop', event => {
    event.preventDefault()
    depth = 0
    area.hidden = true
    const [file] = event.dataTransfer?.files ?? []
    if (file !== undefined) take(file)
  })
}
