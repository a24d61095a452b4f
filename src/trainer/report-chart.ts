/** Curves over steps as HTML: the lines are drawn as wide as the page is, the words beside them keep their size. */
import { escapeHtml } from "../html.ts";

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Chart {
  readonly lines: readonly { readonly name: string; readonly points: readonly Point[] }[];
  /** An x that is marked, and what it is. */
  readonly mark: { readonly x: number; readonly name: string };
}

/** Of the drawing; the page stretches it. */
const SIDE = 1000;

/** Lines with a legend, and round numbers at the axes. */
export function renderChart({ lines, mark }: Chart): string {
  const shown = lines.filter(({ points }) => points.length > 0);
  const all = shown.flatMap(({ points }) => points);
  if (all.length === 0) return "<p>Nothing was measured.</p>";
  const across = createAxis(all.map(({ x }) => x));
  const up = createAxis(all.map(({ y }) => y));
  const toX = (x: number): string => (SIDE * across.shareOf(x)).toFixed(1);
  const toY = (y: number): string => (SIDE * (1 - up.shareOf(y))).toFixed(1);
  const drawn = [
    ...up.ticks.map((y) => `<path class="grid" d="M0 ${toY(y)}H${SIDE}"/>`),
    `<path class="mark" d="M${toX(mark.x)} 0V${SIDE}"/>`,
    ...shown.map(({ points }, i) => {
      const place = points.map(({ x, y }) => `${toX(x)},${toY(y)}`).join(" ");
      return `<polyline class="line${i}" points="${place}"/>`;
    }),
  ];
  const label = (side: "left" | "bottom", share: number, text: string): string =>
    `<span style="${side}:${(100 * share).toFixed(1)}%">${text}</span>`;
  const legend = [
    ...shown.map(({ name }, i) => `<span class="line${i}">${escapeHtml(name)}</span>`),
    `<span class="mark">${escapeHtml(mark.name)}</span>`,
  ];
  return [
    `<figure class="chart"><figcaption>${legend.join("")}</figcaption>`,
    `<div class="up">${up.ticks.map((y) => label("bottom", up.shareOf(y), up.format(y))).join("")}</div>`,
    `<svg viewBox="0 0 ${SIDE} ${SIDE}" preserveAspectRatio="none" role="img" aria-label="${escapeHtml(describe(shown))}">${drawn.join("")}</svg>`,
    `<div class="across">${across.ticks.map((x) => label("left", across.shareOf(x), across.format(x))).join("")}</div></figure>`,
  ].join("");
}

/** What the lines do, for those who cannot see them. */
function describe(lines: Chart["lines"]): string {
  return lines
    .map(({ name, points }) => `${name}: ${points[0]?.y.toPrecision(3)} to ${points.at(-1)?.y.toPrecision(3)}`)
    .join("; ");
}

interface Axis {
  readonly ticks: readonly number[];
  /** Where a value lies, from 0 to 1. */
  shareOf(value: number): number;
  format(value: number): string;
}

/** About this many steps between ticks. */
const TICKS = 4;

/** From the least to the greatest value; ticks are multiples of 1, 2 or 5 and a power of ten. */
function createAxis(values: readonly number[]): Axis {
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  // Where all values are one there is a little room around it.
  const span = high - low || Math.abs(low) || 1;
  const power = 10 ** Math.floor(Math.log10(span / TICKS));
  const step = power * ([1, 2, 5].find((factor) => factor * power * TICKS >= span) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return {
    ticks: Array.from({ length: count }, (_, i) => (first + i) * step),
    shareOf: (value) => (high === low ? 0.5 : (value - low) / (high - low)),
    format: (value) => value.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9))),
  };
}

/** Colours from light ground to dark, as the rest of the page. */
export const chartStyle = `
:root{--line0:#0550ae;--line1:#bc4c00}
@media(prefers-color-scheme:dark){:root{--line0:#79b8ff;--line1:#f0883e}}
.chart{display:grid;grid-template-columns:3.2rem 1fr;max-width:46rem;margin:.6rem 0 0;font-size:.8rem;color:var(--soft)}
.chart figcaption{grid-column:2;display:flex;flex-wrap:wrap;gap:.1rem 1.2rem;margin-bottom:.6rem;color:var(--ink)}
.chart figcaption span::before{content:"";display:inline-block;width:1.1rem;border-top:2px solid var(--soft);vertical-align:middle;margin-right:.4rem}
.chart figcaption .line0::before{border-color:var(--line0)}
.chart figcaption .line1::before{border-color:var(--line1)}
.chart figcaption .mark::before{border-top-style:dashed}
.chart svg{grid-column:2;width:100%;height:14rem;overflow:visible}
.chart svg *{fill:none;stroke-width:1.75;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.chart svg .line0{stroke:var(--line0)}
.chart svg .line1{stroke:var(--line1)}
.chart svg .grid{stroke:var(--line);stroke-width:1}
.chart svg .mark{stroke:var(--soft);stroke-width:1.25;stroke-dasharray:4 4}
.chart .up,.chart .across{position:relative}
.chart .across{grid-column:2;height:1.6rem}
.chart .up span{position:absolute;right:.6rem;transform:translateY(50%)}
.chart .across span{position:absolute;top:.2rem;transform:translateX(-50%)}
`;
