import { startFakeGateway } from './gateway.js'

const sample = process.env.STENOFLOW_SAMPLE
const gateway = await startFakeGateway({
  port: Number(process.env.PORT ?? 8089),
  ...(sample === undefined ? {} : { sample }),
  second_pass: process.env.SECOND_PASS ?? '',
})
console.log(`the page with a gateway that only pretends: ${gateway.url}`)
