#include "report/page_assets.h"

namespace kvsplice::report {

// Figures are drawn in a few fixed greys (series_style.h); these are turned by attribute, so that
// axes and text follow the page into the dark.
const char* const kPageStyle = R"css(
:root { color-scheme: light dark;
  --ink: #1f2328; --muted: #636b74; --line: #d9dee3; --grid: #e6e6e6; --paper: #ffffff;
  --panel: #f6f8fa; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e3e6ea; --muted: #9aa3ad; --line: #363c44; --grid: #2c3138; --paper: #15181c;
  --panel: #1c2025; --accent: #56b4e9; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; padding: 3rem 1.5rem 5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
header, nav, main { max-width: 68rem; margin-inline: auto; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.4rem; margin: 4rem 0 .25rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
.meta { color: var(--muted); font-size: .875rem; margin: 0; overflow-wrap: anywhere; }
.findings { list-style: none; padding: 0; margin: 2rem 0 0; }
.findings li { font-size: 1.3rem; line-height: 1.4; margin: 0 0 .9rem; padding-left: 1rem;
  border-left: 4px solid var(--accent); max-width: 52rem; }
.findings a { font-size: .875rem; white-space: nowrap; }
section .findings li { font-size: 1.05rem; border-left-width: 3px; margin-bottom: .6rem; }
section .findings { margin-top: 1.25rem; }
nav { margin-top: 2rem; }
nav ol { margin: 0; padding-left: 1.4rem; }
figure { margin: 2.5rem 0; width: max-content; max-width: min(100vw - 3rem, 50vw + 32.5rem); }
figure svg { display: block; height: auto; max-width: 100%; }
figcaption { color: var(--muted); margin-top: .5rem; max-width: 52rem; font-size: .925rem; }
svg text { font-family: inherit; }
svg rect[fill="#ffffff"] { fill: none; }
svg [fill="rgb(51,51,51)"], svg [fill="black"] { fill: var(--ink); }
svg [fill="rgb(102,102,102)"] { fill: var(--muted); }
svg [stroke="rgb(230, 230, 230)"] { stroke: var(--grid); }
svg [stroke="rgb( 51,  51,  51)"] { stroke: var(--ink); }
.scroll { overflow: auto; max-height: 80vh; margin: 2rem 0; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: .9rem; }
caption { text-align: left; padding: .7rem .8rem; font-weight: 600; }
th, td { padding: .4rem .8rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
thead th { position: sticky; top: 0; background: var(--panel); font-weight: 600; vertical-align: bottom; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody tr:hover td { background: var(--panel); }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
th[aria-sort="ascending"] button::after { content: " \2191"; }
th[aria-sort="descending"] button::after { content: " \2193"; }
details { margin: 1.5rem 0; border: 1px solid var(--line); border-radius: 6px; background: var(--panel); padding: .6rem 1rem; }
summary { cursor: pointer; font-weight: 600; }
details h3 { font-size: .95rem; margin: 1.2rem 0 .3rem; }
details table { font-size: .85rem; }
details th, details td { padding: .25rem .8rem .25rem 0; font-weight: 400; overflow-wrap: anywhere; }
details tbody th { color: var(--muted); white-space: nowrap; width: 1%; padding-right: 1.5rem; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; font-size: .85rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; }
@media print {
  :root { --paper: #fff; --ink: #000; --muted: #444; --line: #bbb; --panel: #fff; --grid: #e6e6e6; }
  body { padding: 0; font-size: 10pt; }
  .scroll { max-height: none; overflow: visible; border: 0; }
  thead th { position: static; }
  figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
)css";

// A click on a column's name sorts by it; a second click turns the order. Empty cells stay last.
const char* const kPageScript = R"js(
for (const table of document.querySelectorAll(".scroll table")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const body = table.tBodies[0], number = head.classList.contains("number");
      const key = row => {
        const cell = row.cells[column];
        return number ? parseFloat(cell.dataset.value ?? cell.textContent) : cell.textContent;
      };
      const empty = value => value === "" || Number.isNaN(value);
      const compare = (a, b) => number ? a - b : a.localeCompare(b, undefined, {numeric: true});
      const rows = [...body.rows].map(row => [key(row), row]);
      rows.sort(([a], [b]) => empty(a) || empty(b) ? empty(a) - empty(b)
                                                   : down ? compare(b, a) : compare(a, b));
      body.append(...rows.map(([, row]) => row));
      table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    };
  });
}
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
)js";

}  // namespace kvsplice::report
