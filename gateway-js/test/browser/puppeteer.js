/** Lends this folder's development dependency to tests/browser, which has no node_modules of its own. */

export { default as puppeteer } from 'puppeteer-core'
