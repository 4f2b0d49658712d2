/**
 * The look of <live-captions>: a Gregg-ruled stenographer's pad. One rule runs down the page; with two voices one
 * speaks on either side of it, with one voice it is the margin. Every height is a whole number of `--row`, so that
 * writing stands on the lines and nothing moves when a word settles: stable and unstable words differ in colour alone.
 */

const sheet = new CSSStyleSheet()
sheet.replaceSync(`
:host {
  --size: var(--caption-size, 2rem); --row: calc(var(--size) * 1.5); --rule-at: 50%; --spine: 4.5rem;
  display: block; position: relative; overflow: hidden; min-block-size: 0;
}
:host([hidden]) { display: none }
.scroller { block-size: 100%; overflow-y: auto; overscroll-behavior: contain; outline-offset: -4px;
  background: repeating-linear-gradient(transparent 0 calc(var(--row) - 1px), var(--pad-line, #8883) 0 var(--row)) local }
.scroller:focus-visible { outline: 3px solid var(--focus, currentColor) }
.pad {
  position: relative; box-sizing: border-box; min-block-size: 100%;
  padding-inline: max(1.25rem, (100% - var(--measure, 76rem)) / 2);
  display: grid;
}
ol { list-style: none; margin: 0; padding: 0 0 calc(var(--row) * 2); position: relative }
::slotted([slot=empty]) { padding-inline-start: 5.5rem }
.rule {
  position: absolute; inset-block: 0; inset-inline-start: var(--rule-at); inline-size: 2px; margin-inline-start: -1px;
  background: var(--pad-rule, currentColor);
  overflow-anchor: none; /* else a browser holds on to the rule, and what is being read moves when a line above it changes */
}
.sheet { position: relative }
.line { display: grid; grid-template-columns: minmax(0, 1fr) var(--spine) minmax(0, 1fr); padding-block-start: var(--row) }
.line.again { padding-block-start: 0 }
time {
  grid-column: 2; grid-row: 1; justify-self: center; align-self: start; margin-block-start: calc(var(--row) * .28);
  padding: .1em .45em; font: 500 .8125rem/1.35 var(--ui-font, inherit); font-variant-numeric: tabular-nums;
  color: var(--quiet, inherit); background: var(--paper, Canvas); border-radius: 1em;
}
.said { grid-column: 1; grid-row: 1; position: relative; --ink-of: var(--voice-1, currentColor) }
.line[data-side='1'] .said { grid-column: 3; --ink-of: var(--voice-2, currentColor) }
.who {
  position: absolute; inset-block-end: 100%; inset-inline-start: 0; display: flex; align-items: center; gap: .5em;
  margin: 0; padding-block-end: .15rem; font: 600 .875rem/1 var(--ui-font, inherit); letter-spacing: .02em; color: var(--ink-of);
}
.line.again .who { clip-path: inset(50%); block-size: 1px; inline-size: 1px; overflow: hidden; white-space: nowrap }
.mark { inline-size: .7em; block-size: .7em; background: currentColor; border-radius: 50%; forced-color-adjust: none }
.line[data-side='1'] .mark { border-radius: 0; transform: rotate(45deg) scale(.86) }
.words {
  margin: 0; font: 450 var(--size)/var(--row) var(--caption-font, inherit); letter-spacing: -.006em;
  color: var(--ink, inherit); overflow-wrap: anywhere; text-wrap: wrap; hyphens: none;
}
.word { transition: color .25s }
.word.tail { color: var(--tail, GrayText) }
.word.new { animation: arrive .18s ease-out }
.word.settled { animation: settle .2s ease-out }
.word.doubt { text-decoration: underline dotted .07em; text-decoration-thickness: round(.07em, 1px) /* Firefox rounds down, to a hair */; text-underline-offset: .18em; text-decoration-color: var(--doubt, currentColor); cursor: help }
.word.doubt.much { color: var(--doubt-ink, inherit) }
.open .words::after {
  content: ''; display: inline-block; inline-size: 0; block-size: .82em; vertical-align: -.08em; margin-inline: .12em -.24em;
  border-inline-end: .12em solid var(--ink-of); border-radius: 1px; animation: pen 1.1s ease-in-out infinite;
}
:host([drafts]) .draft .words::after { visibility: hidden }
@keyframes arrive { from { opacity: 0 } }
@keyframes settle { from { color: var(--tail, GrayText) } }
@keyframes pen { 50% { opacity: .25 } }
/* One voice: the rule is the margin, and the writing may be larger. */
:host([voices='1']) { --rule-at: 4.25rem; --size: calc(var(--caption-size, 2rem) * 1.25) }
:host([voices='1']) .line { grid-template-columns: 5.5rem minmax(0, 1fr); padding-block-start: 0 }
:host([voices='1']) .line:first-child { padding-block-start: var(--row) }
:host([voices='1']) time { grid-column: 1; justify-self: start; padding-inline-start: 0; background: none }
:host([voices='1']) .said { grid-column: 2 }
:host([voices='1']) .who { clip-path: inset(50%); block-size: 1px; inline-size: 1px; overflow: hidden; white-space: nowrap }
@media (max-width: 760px) {
  :host, :host([voices='1']) { --rule-at: 2.9rem; --size: var(--caption-size, 2rem) }
  ::slotted([slot=empty]) { padding-inline-start: 3.6rem }
  :host .line, :host([voices='1']) .line { grid-template-columns: 3.6rem minmax(0, 1fr) }
  :host time, :host([voices='1']) time { grid-column: 1; justify-self: start; padding-inline: 0; background: none }
  :host .said, .line[data-side='1'] .said { grid-column: 2 }
  .pad { padding-inline: .875rem }
}
.newest {
  position: absolute; inset-block-end: 1rem; inset-inline: 0; margin-inline: auto; inline-size: max-content; padding: .6em 1.1em;
  font: 600 .9375rem/1 var(--ui-font, inherit); color: var(--paper, Canvas); background: var(--ink, CanvasText);
  border: 2px solid transparent; border-radius: 2em; cursor: pointer;
}
.newest:focus-visible { outline: 3px solid var(--focus, currentColor); outline-offset: 3px }
[hidden] { display: none !important }
.aloud { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
@media (prefers-reduced-motion: reduce) {
  .word, .word.new, .word.settled, .open .words::after { animation: none; transition: none }
}
@media (forced-colors: active) {
  .word.tail { color: GrayText }
  .word.doubt { text-decoration-color: CanvasText }
  .mark { background: CanvasText }
  .rule { background: CanvasText }
}
@media print { :host, .scroller { overflow: visible; block-size: auto } .newest { display: none } }
`)

export default sheet
