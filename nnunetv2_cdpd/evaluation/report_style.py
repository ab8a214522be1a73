"""Style sheet of the report; screen and print."""

STYLE = """
:root { --ink: #1d2530; --quiet: #5d6978; --rule: #dfe4ea; --ground: #f6f8fa; --accent: #2f6fb5; --bar: #d5e5f6; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
main { max-width: 1120px; margin: 0 auto; padding: 36px 28px 12px; }
h1 { margin: 0 0 14px; font-size: 28px; line-height: 1.2; letter-spacing: -0.01em; }
h2 { margin: 40px 0 10px; font-size: 20px; padding-bottom: 6px; border-bottom: 2px solid var(--ink); }
h3 { margin: 28px 0 8px; font-size: 16px; }
p { margin: 6px 0; max-width: 78ch; }
.quiet { color: var(--quiet); font-size: 13px; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; padding: 14px 18px; overflow-wrap: anywhere;
  background: var(--ground); border-left: 3px solid var(--accent); }
.facts .name { color: var(--quiet); }
.facts .line { grid-column: 1 / -1; max-width: 96ch; }
.key-figures { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0 20px; padding: 0; list-style: none; }
.key-figures li { min-width: 132px; padding: 10px 16px; border: 1px solid var(--rule); border-radius: 6px; }
.key-figures b { display: block; font-size: 24px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.key-figures span { color: var(--quiet); font-size: 13px; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { vertical-align: bottom; font-weight: 600; border-bottom: 1.5px solid var(--ink); }
thead small, td small { display: block; font-weight: 400; color: var(--quiet); font-size: 12px; }
tbody th { font-weight: 500; }
tfoot td, tfoot th { font-weight: 600; border-bottom: 0; border-top: 1.5px solid var(--ink); }
td.score { min-width: 92px; background: linear-gradient(to right, var(--bar) var(--share), #fff var(--share))
  no-repeat 0 50% / 100% calc(100% - 6px); }
td.none { color: #97a1ad; }
td.none[colspan] { text-align: center; }
td.bad { color: #b3261e; font-weight: 600; }
.swatch { display: inline-block; width: 11px; height: 11px; margin-right: 8px; border-radius: 2px;
  border: 1px solid rgba(0, 0, 0, 0.35); }
.case { margin-top: 26px; }
.case h3 { margin: 0 0 8px; overflow-wrap: anywhere; }
.case h3 span { color: var(--quiet); font-weight: 400; }
.pictures { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 6px; padding: 6px; background: #000;
  border-radius: 6px; }
.pictures .head { color: #e8edf3; font-size: 13px; text-align: center; }
.pictures figure { margin: 0; display: flex; flex-direction: column; justify-content: center; }
.pictures img { display: block; margin: 0 auto; height: auto; }
.pictures figcaption { color: #97a3b1; font-size: 11.5px; padding: 3px 2px 1px; text-align: center; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0 0; padding: 0; list-style: none; font-size: 13px; }
.legend .value { color: var(--quiet); margin-left: 6px; font-variant-numeric: tabular-nums; }
.warning { padding: 8px 14px; background: #fdf3f2; border-left: 3px solid #b3261e; overflow-wrap: anywhere; }
footer { max-width: 1120px; margin: 0 auto; padding: 18px 28px 36px; color: var(--quiet); font-size: 12px; }
@media (max-width: 640px) { main { padding: 20px 14px; } .facts { grid-template-columns: 1fr; } }
@media print {
  @page { margin: 14mm; }
  body { font-size: 10.5pt; }
  main, footer { max-width: none; padding: 0; }
  table { font-size: 8.5pt; }
  th, td { padding: 3px 6px; }
  .table { overflow: visible; }
  h2, h3, h2 + p { break-after: avoid; }
  tr, .case, .key-figures { break-inside: avoid; }
  .pictures { max-width: 150mm; }
}
"""
