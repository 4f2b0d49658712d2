// Runs a bundle's model in onnxruntime-web (WebAssembly), chunk by chunk, as a browser would.
// Standard input: {model, chunk, shapes: {input: shape}, files: {input: raw little-endian float32}}; `features` is
// [1, frames, bins], every state its initial value. Standard output: {log_probs: base64 float32, ms: [a chunk]}.

import { readFileSync } from 'node:fs'
import * as ort from 'onnxruntime-web'

const task = JSON.parse(readFileSync(0, 'utf8'))
ort.env.wasm.numThreads = 1
const session = await ort.InferenceSession.create(readFileSync(task.model), { executionProviders: ['wasm'] })

/** @param {string} name */
function floats(name) {
  const bytes = readFileSync(task.files[name])
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
}

/** @type {Record<string, ort.Tensor>} */
const feed = {}
for (const name of session.inputNames) {
  if (name !== 'features') feed[name] = new ort.Tensor('float32', floats(name), task.shapes[name])
}
const features = floats('features')
const [, frames, bins] = task.shapes.features
const said = []
const ms = []
for (let begin = 0; begin < frames; begin += task.chunk) {
  const rows = Math.min(task.chunk, frames - begin)
  const piece = features.slice(begin * bins, (begin + rows) * bins)
  feed.features = new ort.Tensor('float32', piece, [1, rows, bins])
  const since = performance.now()
  const results = await session.run(feed)
  ms.push(performance.now() - since)
  const { log_probs: logProbs } = results
  if (!logProbs) throw new Error('the model has no output log_probs')
  said.push(Buffer.from(/** @type {Float32Array} */ (logProbs.data).slice().buffer))
  for (const [name, value] of Object.entries(results)) {
    if (name.startsWith('next_')) feed[name.replace('next_', 'state_')] = value
  }
}
process.stdout.write(JSON.stringify({ log_probs: Buffer.concat(said).toString('base64'), ms }))
