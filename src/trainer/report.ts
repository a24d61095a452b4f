/** The report card of a run: one page with its curves, settings and sheets, that needs nothing else to be read. */
import { relative } from "node:path";
import { writeFileAtomically } from "../formats/atomic.ts";
import type { Planned, TrainPlan } from "../planner/plan.ts";
import { formatBytes } from "../bytes.ts";
import type { MemoryEvent, Validation } from "./events.ts";
import type { RunPaths } from "./run-folder.ts";

export interface ReportFacts {
  readonly plan: TrainPlan;
  /** Loss of each step, in order. */
  readonly losses: readonly { readonly step: number; readonly loss: number }[];
  readonly validations: readonly Validation[];
  readonly sheets: readonly { readonly step: number; readonly path: string }[];
  readonly chosen: { readonly step: number; readonly reason: string };
  readonly memory: MemoryEvent;
  readonly notes: readonly string[];
}

export async function writeReport(paths: RunPaths, facts: ReportFacts): Promise<void> {
  const html = renderReport(facts, (path) => relative(paths.folder, path).replaceAll("\\", "/"));
  await writeFileAtomically(paths.report, (write) => write(Buffer.from(html)));
}

/** @param link gives the address of a file as the page is to have it */
export function renderReport(
  { plan, losses, validations, sheets, chosen, memory, notes }: ReportFacts,
  link: (path: string) => string,
): string {
  const heldOut = validations.flatMap((entry) =>
    entry.heldOut === null ? [] : [{ x: entry.step, y: entry.heldOut / (entry.base.heldOut ?? 1) }],
  );
  const trained = validations.map((entry) => ({ x: entry.step, y: entry.train / entry.base.train }));
  const sections = [
    `<h1>${escapeHtml(plan.name.value)}</h1>`,
    `<p>Kept: step ${chosen.step}. ${escapeHtml(chosen.reason)}</p>`,
    section("Loss against the base model's", "Same noise, same timesteps; below 1 is better than the base.", [
      chart([
        { name: "held-out pictures", color: "#0550ae", points: heldOut },
        { name: "training pictures", color: "#bc4c00", points: trained },
      ]),
    ]),
    section("Loss of each step", "At random timesteps: it jumps, and its level means little. The line is a mean of 20 steps.", [
      chart([{ name: "mean loss", color: "#57606a", points: smooth(losses) }]),
    ]),
    validations.length > 0 ? section("Measurements", "", [validationTable(validations)]) : "",
    sheets.length > 0
      ? section(
          "Previews",
          "",
          sheets.map(({ step, path }) => figure(step, link(path))),
        )
      : "",
    section("Memory", describeMemory(memory), []),
    section("Settings", "", [settingsTable(plan)]),
    notes.length > 0 ? section("Notes", "", [`<ul>${notes.map((note) => `<li>${escapeHtml(note)}</li>`).join("")}</ul>`]) : "",
  ];
  const style =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2328}table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;border-bottom:1px solid #d1d9e0;text-align:left;vertical-align:top;overflow-wrap:anywhere}td:first-child{overflow-wrap:normal}img{max-width:100%}svg{max-width:100%}";
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escapeHtml(plan.name.value)}</title><style>${style}</style><body>${sections.join("\n")}</body></html>\n`;
}

function section(title: string, text: string, parts: readonly string[]): string {
  return `<h2>${escapeHtml(title)}</h2>${text ? `<p>${escapeHtml(text)}</p>` : ""}${parts.join("")}`;
}

function describeMemory({ peakBytes, forecastBytes, forecastAt, ratio }: MemoryEvent): string {
  return `At most ${formatBytes(peakBytes)} was held; ${formatBytes(forecastBytes)} was forecast (${forecastAt}), so it was ${ratio.toFixed(2)} of that.`;
}

function figure(step: number, source: string): string {
  return `<figure><img src="${escapeHtml(encodeURI(source))}" alt="Preview of step ${step}"><figcaption>Step ${step}</figcaption></figure>`;
}

function validationTable(validations: readonly Validation[]): string {
  const rows = validations.map(({ step, train, heldOut, ratio }) => {
    const cells = [step, train.toFixed(5), heldOut === null ? "" : heldOut.toFixed(5), ratio.toFixed(4)];
    return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
  });
  return `<table><tr><th>step</th><th>training pictures</th><th>held-out pictures</th><th>ratio to base</th></tr>${rows.join("")}</table>`;
}

function settingsTable(plan: TrainPlan): string {
  const rows = Object.entries(plan).flatMap(([name, planned]) => {
    if (typeof planned !== "object" || planned === null || !("reason" in planned)) return [];
    const { value, reason } = planned as Planned<unknown>;
    const cells = [name, typeof value === "string" ? value : JSON.stringify(value), reason];
    return [`<tr>${cells.map((cell) => `<td>${escapeHtml(cell)}</td>`).join("")}</tr>`];
  });
  return `<table><tr><th>setting</th><th>value</th><th>why</th></tr>${rows.join("")}</table>`;
}

interface Point {
  readonly x: number;
  readonly y: number;
}

/** Mean of the 20 steps up to each step. */
function smooth(losses: ReportFacts["losses"]): readonly Point[] {
  return losses.map(({ step }, i) => {
    const part = losses.slice(Math.max(0, i - 19), i + 1);
    return { x: step, y: part.reduce((sum, { loss }) => sum + loss, 0) / part.length };
  });
}

const [chartWidth, chartHeight, margin] = [720, 240, 56];

/** Lines over steps, with their least and greatest values at the axis. */
function chart(lines: readonly { readonly name: string; readonly color: string; readonly points: readonly Point[] }[]): string {
  const all = lines.flatMap(({ points }) => points);
  if (all.length === 0) return "<p>Nothing was measured.</p>";
  const [lowX, highX] = bounds(all.map(({ x }) => x));
  const [lowY, highY] = bounds(all.map(({ y }) => y));
  const toX = (x: number): number => margin + ((x - lowX) / (highX - lowX || 1)) * (chartWidth - 2 * margin);
  const toY = (y: number): number => chartHeight - margin / 2 - ((y - lowY) / (highY - lowY || 1)) * (chartHeight - margin);
  const paths = lines.flatMap(({ color, points }) => {
    if (points.length === 0) return [];
    const place = points.map(({ x, y }) => `${toX(x).toFixed(1)},${toY(y).toFixed(1)}`).join(" ");
    return [`<polyline points="${place}" fill="none" stroke="${color}" stroke-width="1.5"/>`];
  });
  const label = (x: number, y: number, text: string, color = "#57606a"): string =>
    `<text x="${x}" y="${y}" fill="${color}" font-size="11">${escapeHtml(text)}</text>`;
  const labels = [
    label(2, toY(highY) + 4, highY.toPrecision(4)),
    label(2, toY(lowY) + 4, lowY.toPrecision(4)),
    label(toX(lowX), chartHeight - 4, String(lowX)),
    label(toX(highX) - 24, chartHeight - 4, `step ${highX}`),
    ...lines.map(({ name, color, points }, i) => (points.length > 0 ? label(margin + 12 + i * 160, 14, name, color) : "")),
  ];
  return `<svg viewBox="0 0 ${chartWidth} ${chartHeight}" width="${chartWidth}" height="${chartHeight}" role="img">${paths.join("")}${labels.join("")}</svg>`;
}

function bounds(values: readonly number[]): readonly [number, number] {
  return values.reduce<readonly [number, number]>(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Infinity, -Infinity],
  );
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
