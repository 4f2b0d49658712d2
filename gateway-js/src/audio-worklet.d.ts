// What TypeScript's DOM library leaves out: the globals inside an AudioWorklet.
declare class AudioWorkletProcessor {
  readonly port: MessagePort
}
declare const sampleRate: number
declare function registerProcessor(
  name: string,
  processor: new (options: { processorOptions: { rate: number; chunk_ms: number } }) => AudioWorkletProcessor,
): void
