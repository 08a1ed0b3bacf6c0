"""The page's style sheet: system fonts, two palettes, no external resource."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --ink: #1b2430; --muted: #5d6875; --line: #e2e6eb; --panel: #f6f8fa; --track: #e9edf1;
  --c1: #2463c7; --c2: #c8640a; --c3: #1f8a5b; --c4: #8a4fbf; --c5: #b8326a; --kept: #2463c7; --pruned: #a3adb9;
  --warn: #7a4b00; --warn-page: #fff6e0; --warn-line: #f0d48a;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #11161d; --ink: #e4e9ef; --muted: #97a3b1; --line: #29313b; --panel: #181f28; --track: #252d37;
    --c1: #6aa6ff; --c2: #f0a04b; --c3: #58c793; --c4: #bd93f2; --c5: #f2789f; --kept: #6aa6ff; --pruned: #7e8b99;
    --warn: #f3cf83; --warn-page: #2a2312; --warn-line: #5a4a20;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink); font-size: 15px; line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
main { max-width: 940px; margin: 0 auto; padding: 56px 28px 40px; }
h1 {
  margin: 0; font-size: 2.1rem; line-height: 1.2; font-weight: 650; letter-spacing: -0.015em; overflow-wrap: anywhere;
}
h1 span { color: var(--muted); font-weight: 400; }
h2 { margin: 0 0 14px; font-size: 1.15rem; font-weight: 620; letter-spacing: -0.005em; }
h3 { margin: 26px 0 4px; font-size: 0.98rem; font-weight: 600; }
section { margin-top: 52px; }
.overline { margin: 0 0 6px; color: var(--muted); font-size: 0.84rem; overflow-wrap: anywhere; }
.lead { text-wrap: balance; margin: 14px 0 6px; font-size: 1.22rem; line-height: 1.4; }
.facts, .note, .absent { margin: 0; color: var(--muted); font-size: 0.87rem; max-width: 92ch; }
.note { margin: 12px 0; }
.absent { border-left: 3px solid var(--line); padding-left: 12px; }
.warning {
  margin: 18px 0 0; padding: 11px 16px; border: 1px solid var(--warn-line); border-radius: 8px;
  background: var(--warn-page); color: var(--warn); font-size: 0.92rem;
}
.warning b { margin-right: 6px; }
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(160px, 46%), 1fr)); gap: 14px; margin-top: 30px;
}
.tile { padding: 14px 16px 13px; border: 1px solid var(--line); border-radius: 10px; background: var(--panel); }
.what, .from { color: var(--muted); font-size: 0.84rem; }
.from b { color: var(--ink); font-weight: 550; }
.big { margin: 3px 0 4px; font-size: 1.75rem; line-height: 1.2; font-weight: 620; letter-spacing: -0.02em; }
.big small { margin-left: 6px; font-size: 0.84rem; font-weight: 450; letter-spacing: 0; color: var(--muted); }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 0.94rem; }
th, td { padding: 9px 0 9px 20px; text-align: right; vertical-align: baseline; font-weight: 400; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
thead th { color: var(--muted); font-size: 0.84rem; padding-bottom: 6px; }
tbody tr, tfoot tr { border-top: 1px solid var(--line); }
table small { display: block; color: var(--muted); font-size: 0.8rem; line-height: 1.35; }
.comparison td { white-space: nowrap; } .comparison td small { white-space: normal; }
.comparison th[scope="row"] { min-width: 11.5em; }
.complexity { table-layout: fixed; font-size: 0.88rem; }
@media (min-width: 641px) { .complexity { min-width: 700px; } }
.complexity td, .complexity thead th { white-space: nowrap; } .complexity td:last-child { font-weight: 600; }
.complexity thead tr:first-child > :first-child { width: 30%; }
.complexity thead tr:first-child > :last-child { width: 13%; }
.complexity thead tr:first-child th { padding-bottom: 0; }
.complexity thead span { display: block; border-bottom: 1px solid var(--line); padding-bottom: 4px; }
.complexity tbody th { overflow-wrap: anywhere; }
.complexity.operators thead tr:first-child > :first-child { width: 36%; }
.complexity.operators { margin-top: 8px; font-size: 0.8rem; }
.complexity.operators tbody th, .complexity.operators tbody td { padding-top: 3px; padding-bottom: 3px; }
.complexity i { margin-left: 6px; color: var(--muted); font-style: normal; }
.stages td { white-space: nowrap; } .stages tbody th { min-width: 10.5em; }
.pictures { display: grid; grid-template-columns: 1fr 1fr; gap: 6px 14px; margin: 0 0 26px; break-inside: avoid; }
.pictures p { grid-column: 1 / -1; margin: 0; font-size: 0.87rem; color: var(--muted); }
.pictures p b { color: var(--ink); font-weight: 560; }
.pictures img { display: block; max-width: 100%; max-height: 436px; align-self: start; border-radius: 4px; }
.pictures figcaption { margin: 4px 0 0; font-size: 0.84rem; font-weight: 400; color: var(--muted); }
.pictures figcaption b { color: var(--ink); font-weight: 560; }
.categories { font-size: 0.84rem; margin-top: 8px; }
.categories th, .categories td { padding-top: 3px; padding-bottom: 3px; white-space: nowrap; }
.categories thead tr:first-child th { text-align: right; padding-bottom: 0; } .categories td b { font-weight: 600; }
.categories thead span { display: block; border-bottom: 1px solid var(--line); padding-bottom: 4px; }
.comparison td:nth-child(3), tfoot { font-weight: 600; }
.comparison td:nth-child(3) small { font-weight: 400; }
tfoot th { font-weight: 600; }
.stages .file { text-align: left; color: var(--muted); }
.stages .time { width: 24%; min-width: 90px; vertical-align: middle; }
.track { display: block; height: 8px; border-radius: 2px; background: var(--track); overflow: hidden; }
.track i { display: block; height: 100%; background: var(--kept); }
.stages .track { background: none; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(310px, 100%), 1fr)); gap: 30px 34px; }
figure { margin: 0; min-width: 0; break-inside: avoid; display: flex; flex-direction: column; }
figure .plot { margin-top: auto; }
figcaption { font-size: 0.9rem; font-weight: 560; margin-bottom: 4px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; color: var(--muted); font-size: 0.8rem; margin-bottom: 4px; }
.swatch { display: inline-block; width: 14px; height: 3px; margin-right: 6px; vertical-align: middle; }
.swatch.c1 { background: var(--c1); } .swatch.c2 { background: var(--c2); } .swatch.c3 { background: var(--c3); }
.swatch.c4 { background: var(--c4); } .swatch.c5 { background: var(--c5); }
.swatch.kept, .swatch.pruned { height: 10px; width: 10px; border-radius: 2px; }
.swatch.kept { background: var(--kept); } .swatch.pruned { background: var(--pruned); }
.swatch.dashed { height: 0; border-top: 2px dashed var(--muted); }
.swatch.ring { width: 10px; height: 10px; border: 1.5px solid var(--ink); border-radius: 50%; }
.swatch.point, .swatch.rival, .swatch.hollow { width: 10px; height: 10px; border-radius: 50%; background: var(--c1); }
.swatch.rival { background: var(--c2); } .swatch.hollow { background: none; border: 1.5px solid var(--pruned); }
.plot { display: flex; gap: 8px; padding: 10px 8px 0 0; }
.plot .gutter { flex: none; overflow: visible; } .plot .area { flex: 1; min-width: 0; overflow: visible; }
.plot.named { padding-top: 26px; }
.panels.small { grid-template-columns: repeat(auto-fill, minmax(min(250px, 100%), 1fr)); gap: 26px 30px; }
.panels.small figcaption { font-size: 0.84rem; overflow-wrap: anywhere; }
.legend + .panels.small { margin-top: 14px; }
.panels.one { grid-template-columns: minmax(0, 440px); margin-top: 26px; }
svg { display: block; overflow: visible; }
#scores .plot { padding-top: 22px; }
.tick { font-size: 11.5px; fill: var(--muted); } .tick.strong { fill: var(--ink); font-weight: 600; }
.tick.small { font-size: 10px; }
.grid { stroke: var(--line); } .base { stroke: var(--pruned); }
.reference { stroke: var(--muted); stroke-dasharray: 5 4; stroke-width: 1.2; }
.curve {
  fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; vector-effect: non-scaling-stroke;
}
.curve.c1 { stroke: var(--c1); } .curve.c2 { stroke: var(--c2); } .curve.c3 { stroke: var(--c3); }
.curve.c4 { stroke: var(--c4); } .curve.c5 { stroke: var(--c5); }
.dot.c1, rect.c1 { fill: var(--c1); } .dot.c2 { fill: var(--c2); } .dot.c3 { fill: var(--c3); }
.dot.c4 { fill: var(--c4); } .dot.c5 { fill: var(--c5); }
rect.kept, circle.kept { fill: var(--kept); } rect.pruned, circle.pruned { fill: var(--pruned); }
rect.full { fill: var(--track); } #remaining-dimensions-per-block .plot { padding-top: 20px; }
rect.faint { opacity: 0.22; }
.dot.ring { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.dot.whole { fill: var(--ink); } .dot.beaten { fill: var(--page); stroke: var(--pruned); stroke-width: 1.5; }
.tick.told { stroke: var(--page); stroke-width: 3px; paint-order: stroke; }
.panels.beside { margin-top: 30px; } a { color: var(--c1); }
.front td { white-space: nowrap; } .front .mark { color: var(--muted); font-size: 0.87rem; }
.front small { font-weight: 400; }
.front .beaten > * { color: var(--muted); }
.front .picked > *, .front .picked .mark { color: var(--ink); font-weight: 600; }
.chosen { stroke: var(--c2); stroke-width: 1.5; } .curve.zero { stroke: var(--pruned); stroke-width: 1; }
.curve.reference { stroke-width: 1.2; }
.whisker { stroke-width: 2; } .whisker.kept { stroke: var(--kept); } .whisker.pruned { stroke: var(--pruned); }
.latency {
  display: grid; grid-template-columns: max-content minmax(0, 1fr) max-content; column-gap: 14px; align-items: center;
}
.latency .backend { grid-column: 1 / -1; font-size: 0.9rem; font-weight: 560; padding: 8px 0 2px; }
.latency .side, .latency .unit { color: var(--muted); font-size: 0.84rem; }
.latency .value { font-size: 0.88rem; text-align: right; }
.bars {
  list-style: none; margin: 0; padding: 0;
  font: 12.5px/1.35 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
}
.bars li {
  display: grid; grid-template-columns: minmax(0, var(--name)) minmax(40px, 1fr) 7.4em; gap: 16px; align-items: center;
  padding: 4px 0; break-inside: avoid;
}
.bars .name { overflow-wrap: anywhere; }
.bars .of { color: var(--muted); white-space: nowrap; font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
.bars .of b { color: var(--ink); font-weight: 560; }
.bars .track { height: 12px; }
.bars.dense { columns: 3 calc(var(--name) + 12em); column-gap: 34px; font-size: 10.5px; }
.bars.dense li { grid-template-columns: minmax(0, var(--name)) minmax(30px, 1fr) 5.6em; gap: 9px; padding: 0.5px 0; }
.bars.dense .track { height: 8px; }
#latency > .backend { margin-top: 16px; font-size: 0.9rem; font-weight: 560; } .backend + .note { margin: 2px 0 8px; }
.pairs { list-style: none; margin: 0 0 8px; padding: 0; font-size: 0.8rem; }
.pairs li { display: grid; grid-template-columns: minmax(0, 17em) minmax(40px, 1fr) 11em; gap: 14px; padding: 3px 0; }
.pairs .name, .layers tbody th { overflow-wrap: anywhere; } .pairs i, .layers i { font-style: normal; }
.pairs .two i { display: block; height: 6px; margin: 2px 0; border-radius: 1px; min-width: 1px; }
.pairs i.pruned { background: var(--pruned); } .pairs i.kept { background: var(--kept); }
.pairs .of { text-align: right; color: var(--muted); white-space: nowrap; } .pairs .of b { color: var(--ink); }
.layers { font-size: 0.84rem; margin-top: 8px; } .layers th, .layers td { padding-top: 3px; padding-bottom: 3px; }
dl {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); gap: 0 34px;
  margin: 0 0 18px;
}
dl div {
  display: grid; grid-template-columns: 10.5em minmax(0, 1fr); gap: 14px; padding: 7px 0;
  border-top: 1px solid var(--line);
}
dt { color: var(--muted); font-size: 0.87rem; }
dd { margin: 0; font-size: 0.9rem; overflow-wrap: anywhere; }
.wide + details { margin-top: 10px; }
summary { cursor: pointer; font-size: 0.9rem; color: var(--c1); }
pre {
  margin: 12px 0 0; padding: 14px 16px; border: 1px solid var(--line); border-radius: 8px; background: var(--panel);
  font: 12px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; white-space: pre-wrap;
  overflow-wrap: anywhere;
}
#what-to-do-next p { margin: 18px 0 6px; } #what-to-do-next h2 + p { margin-top: 0; }
.command { margin-top: 6px; } .command span { display: inline-block; max-width: 100%; vertical-align: top; }
footer {
  margin-top: 56px; padding-top: 14px; border-top: 1px solid var(--line); color: var(--muted); font-size: 0.8rem;
}
@media (max-width: 640px) {
  main { padding: 28px 16px; } h1 { font-size: 1.6rem; } th, td { padding-left: 10px; }
  table { font-size: 0.82rem; } dl div { grid-template-columns: 8em minmax(0, 1fr); }
  .stages .file, .stages .time, .stages td:last-child { display: none; } .stages tbody th { min-width: 0; }
  .comparison td, .front td, .stages td { white-space: normal; }
  .bars li { grid-template-columns: minmax(0, var(--name)) minmax(40px, 1fr) 6.4em; gap: 10px; }
}
@media screen and (max-width: 640px) {
  .pairs li { grid-template-columns: minmax(0, 1fr) max-content; gap: 0 14px; padding: 5px 0; }
  .pairs .two { grid-column: 1 / -1; grid-row: 2; }
  .stacked, .stacked thead, .stacked tbody, .stacked tfoot { display: block; }
  .stacked tr {
    display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); column-gap: 10px; padding: 7px 0;
  }
  .stacked th, .stacked td, .stacked.operators tbody td { padding: 0; min-width: 0; }
  .stacked th[scope="row"] { grid-column: 1 / -1; padding-bottom: 3px; min-width: 0; font-weight: 560; }
  .stacked th[scope="row"] i, .stacked th[scope="row"] small { font-weight: 400; }
  .stacked thead td:first-child { display: none; } .stacked td { text-align: right; }
  .stacked thead tr { padding: 0 0 4px; }
  .comparison small { overflow-wrap: anywhere; }
  .stacked .mark { grid-column: 1 / -1; text-align: left; } .stacked .mark:empty { display: none; }
  .complexity { min-width: calc(var(--digits) * 4ch + 6ch + 26px); font-size: 0.7rem; }
  .complexity thead th { font-size: 0.7rem; } .complexity th[scope="row"] { font-size: 0.8rem; }
  .complexity tr { grid-template-columns: repeat(4, minmax(0, 1fr)) 6ch; column-gap: 6px; }
  .complexity thead th[colspan] { grid-column: span 2; } .complexity thead th:last-child { white-space: normal; }
}
@media print {
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  html { font-size: 13px; } body { font-size: 12px; } footer { display: none; }
  main { max-width: none; padding: 0; } section { margin-top: 30px; }
  h2 { break-after: avoid; } tr, .tile, .plot, .latency, dl div { break-inside: avoid; }
  .panels { grid-template-columns: 1fr 1fr; }
}
@page { margin: 16mm; }
"""
