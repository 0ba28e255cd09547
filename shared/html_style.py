"""The one style of all report pages: see `shared.html`."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2430; --soft: #5a6779; --line: #dfe4ea;
  --raised: #f5f7f9; --accent: #1f5fb8; --good: #1d7a46; --bad: #b3372f; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181e; --ink: #e3e8ee; --soft: #9aa7b8;
  --line: #2e3742; --raised: #1d232b; --accent: #7fb0f5; --good: #63c98f; --bad: #f08a80; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1rem 1rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .6rem 0; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.6rem 0 .5rem; padding-top: .7rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.3rem 0 .3rem; }
p { max-width: 46rem; margin: .5rem 0; overflow-wrap: anywhere; }
.lead { font-size: 1.05rem; }
.soft, figcaption, caption { color: var(--soft); }
.good { color: var(--good); } .bad { color: var(--bad); }
figure { margin: .8rem 0; }
figcaption { font-size: .9rem; margin-top: .3rem; max-width: 46rem; overflow-wrap: anywhere; }
img, svg { display: block; max-width: 100%; height: auto; }
figure > img, .wide > img { width: 100%; }
img.pixels { image-rendering: pixelated; }
.wide { overflow-x: auto; }
.wide > img { max-width: none; min-width: 40rem; }
.cards { display: grid; gap: .9rem; margin: .8rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--least)), 1fr)); }
.card { border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; min-width: 0; }
.card > img, .card > svg, .pair > img { width: 100%; }
.card > p, .card > h3, .card > figure { margin: .45rem .7rem; }
.card > p { font-size: .9rem; }
.card > svg { padding: .2rem .3rem; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 2px; }
table { border-collapse: collapse; margin: .5rem 0; font-size: .95rem; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem 1.1rem .3rem 0; text-align: left;
  vertical-align: top; }
th { font-weight: 600; white-space: nowrap; }
td.short { white-space: nowrap; } td.long { min-width: 14rem; overflow-wrap: anywhere; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.facts { display: grid; grid-template-columns: fit-content(13rem) 1fr; gap: .25rem 1.2rem;
  margin: .6rem 0; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
pre, code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .85rem; }
code { background: var(--raised); border-radius: .25rem; padding: .1rem .3rem; }
pre { background: var(--raised); border-radius: .5rem; padding: .8rem 1rem; overflow-x: auto; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--accent); }
"""
