/** The report card of a run: one page with its curves, settings and sheets, that needs nothing else to be read. */
import { relative } from "node:path";
import { writeFileAtomically } from "../formats/atomic.ts";
import { formatBytes } from "../bytes.ts";
import { escapeHtml, renderPage, section, stat } from "../html.ts";
import type { TrainPlan } from "../planner/plan.ts";
import { type SettingRow, settingRows } from "../planner/setting-words.ts";
import type { MemoryEvent, Validation } from "./events.ts";
import { type Chart, chartStyle, type Point, renderChart } from "./report-chart.ts";
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
export function renderReport(facts: ReportFacts, link: (path: string) => string): string {
  const { plan, validations, sheets, chosen, memory, notes } = facts;
  const sections = [
    section("Loss against the base model's", lossAgainstBase(facts)),
    section("Loss of each step", [
      "<p>At random timesteps: it jumps, and its level means little. The line is a mean of 20 steps.</p>",
      renderChart({ lines: [{ name: "mean loss", points: smooth(facts.losses) }], mark: keptMark(chosen) }),
    ]),
    ...(validations.length > 0 ? [section("Measurements", [validationTable(validations, chosen.step)])] : []),
    ...(sheets.length > 0
      ? [
          section(
            "Previews",
            sheets.map(({ step, path }) => figure(step, link(path))),
          ),
        ]
      : []),
    section("Memory", [`<p>${escapeHtml(describeMemory(memory))}</p>`]),
    section("Settings", settings(plan)),
    ...(notes.length > 0
      ? [section("Notes", [`<ul>${notes.map((note) => `<li>${escapeHtml(note)}</li>`).join("")}</ul>`])]
      : []),
  ];
  const footer =
    "<footer>plan.json beside this page has every setting, events.jsonl every number of the run. Made by gesso train.</footer>";
  return renderPage({
    title: `Training report: ${plan.name.value}`,
    style: chartStyle + reportStyle,
    body: [header(facts), "<main>", ...sections, "</main>", footer].join("\n"),
  });
}

function header({ plan, validations, chosen, memory }: ReportFacts): string {
  const { name, type, base, steps, trigger } = plan;
  const word = trigger.value === null ? "" : `, trigger word “${trigger.value}”`;
  const kept = validations.find(({ step }) => step === chosen.step);
  const measuredOn = kept?.heldOut === null ? "training pictures" : "held-out pictures";
  return [
    `<header><h1>${escapeHtml(name.value)}</h1><p>${escapeHtml(`A ${type.value} on ${base.reason}${word}.`)}</p><div class="stats">`,
    ...(kept ? [stat(kept.ratio.toFixed(3), `of the base's loss, ${measuredOn}`)] : []),
    stat(String(chosen.step), `step kept, of ${steps.value}`),
    stat(formatBytes(memory.peakBytes), "of memory at most"),
    `</div><p>Kept: step ${chosen.step}. ${escapeHtml(chosen.reason)}</p></header>`,
  ].join("");
}

function lossAgainstBase({ validations, chosen }: ReportFacts): readonly string[] {
  const heldOut = validations.flatMap((entry) =>
    entry.heldOut === null ? [] : [{ x: entry.step, y: entry.heldOut / (entry.base.heldOut ?? 1) }],
  );
  const trained = validations.map((entry) => ({ x: entry.step, y: entry.train / entry.base.train }));
  return [
    "<p>Same noise and timesteps every time; below 1 is better than the base. Where the held-out line turns up while the other goes on down, the adapter begins to copy its pictures.</p>",
    renderChart({
      lines: [
        { name: "held-out pictures", points: heldOut },
        { name: "training pictures", points: trained },
      ],
      mark: keptMark(chosen),
    }),
  ];
}

function keptMark({ step }: ReportFacts["chosen"]): Chart["mark"] {
  return { x: step, name: `kept: step ${step}` };
}

/** What a part of the run is, after "while". */
const phaseTexts: { readonly [K in MemoryEvent["forecastAt"]]: string } = {
  encoding: "encoding the pictures",
  training: "training",
  validation: "measuring the loss",
  preview: "drawing previews",
};

function describeMemory({ peakBytes, forecastBytes, forecastAt, ratio }: MemoryEvent): string {
  return `At most ${formatBytes(peakBytes)} was held; ${formatBytes(forecastBytes)} was forecast, while ${phaseTexts[forecastAt]}: it took ${ratio.toFixed(2)} of that.`;
}

function figure(step: number, source: string): string {
  const address = escapeHtml(encodeURI(source));
  return `<figure><a href="${address}"><img src="${address}" alt="Preview of step ${step}"></a><figcaption>Step ${step}</figcaption></figure>`;
}

function validationTable(validations: readonly Validation[], kept: number): string {
  const rows = validations.map(({ step, train, heldOut, ratio }) => {
    const isKept = step === kept;
    const cells = [`${step}${isKept ? " (kept)" : ""}`, train.toFixed(5), heldOut?.toFixed(5) ?? "none", ratio.toFixed(4)];
    return `<tr${isKept ? ' class="kept"' : ""}>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
  });
  const heads = ["step", "training loss", "held-out loss", "of the base's"];
  return `<table class="numbers"><tr>${heads.map((head) => `<th>${head}</th>`).join("")}</tr>${rows.join("")}</table>`;
}

/** What people ask about, and the rest folded away. */
function settings(plan: TrainPlan): readonly string[] {
  const rows = settingRows(plan);
  const table = (part: readonly SettingRow[]): string => {
    const lines = part.map(({ label, value, why }) => {
      return `<tr><th>${escapeHtml(label)}</th><td>${escapeHtml(value)}</td><td>${escapeHtml(why)}</td></tr>`;
    });
    return `<table class="settings">${lines.join("")}</table>`;
  };
  const asides = rows.filter(({ isAside }) => isAside);
  return [
    table(rows.filter(({ isAside }) => !isAside)),
    `<details><summary>The other ${asides.length} settings</summary>${table(asides)}</details>`,
  ];
}

/** Mean of the 20 steps up to each step. */
function smooth(losses: ReportFacts["losses"]): readonly Point[] {
  return losses.map(({ step }, i) => {
    const part = losses.slice(Math.max(0, i - 19), i + 1);
    return { x: step, y: part.reduce((sum, { loss }) => sum + loss, 0) / part.length };
  });
}

/** On a phone each setting's reason stands below it. */
const reportStyle = `
header .stats+p{margin-top:1rem;color:var(--ink)}
figure{margin:0 0 1.2rem}
img{max-width:100%;border-radius:.4rem}
figcaption{color:var(--soft)}
.numbers{max-width:34rem}
.numbers td:last-child{color:var(--ink)}
.numbers td:first-child{white-space:nowrap}
.numbers .kept td{font-weight:600}
table.settings{max-width:none}
.settings td,.settings th{vertical-align:top}
.settings th{width:11rem;font-weight:500}
.settings td:nth-child(2){width:14rem}
@media(max-width:40rem){
.settings tr{display:grid;grid-template-columns:8.5rem 1fr;padding:.35rem 0;border-bottom:1px solid var(--line)}
.settings td,.settings th{border:0;padding:0 .6rem 0 0}
.settings th,.settings td:nth-child(2){width:auto}
.settings td:last-child{grid-column:1/3;font-size:.9rem}
.numbers td,.numbers th{padding-right:.5rem;font-size:.9rem}
}
`;
