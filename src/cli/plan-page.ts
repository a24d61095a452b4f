/** The page before a run: what the dataset holds, what will be done and why, and where it goes. */
import {
  type DatasetReport,
  type Finding,
  placeDose,
  settingRows,
  settingsOf,
  tellInserted,
  type TrainPlan,
} from "../index.ts";
import { countOf } from "../words.ts";
import { datasetFindingLines, planFindingLines } from "./findings-page.ts";
import { quotePath, wrapText } from "./format.ts";

/** What the page says of the dataset. */
export interface DatasetSummary {
  readonly folder: string;
  readonly pictures: number;
  readonly captioned: number;
  readonly masked: number;
  /** Captions that the trigger word was put in front of. */
  readonly triggerAdded: number;
  /** Width and height of the smallest and the largest picture, in pixels. */
  readonly smallest: readonly [number, number];
  readonly largest: readonly [number, number];
  readonly findings: readonly Finding[];
  /** What gesso inspect says of it, where it was asked. */
  readonly report?: DatasetReport;
}

const INDENT = 2;

/** What there is and what will be done, without a line end. Lines are at most `columns` long where words allow. */
export function describePlan(plan: TrainPlan, dataset: DatasetSummary, columns: number): string {
  return [
    "Dataset",
    ...datasetLines(plan, dataset).map((line) => indent(line, columns)),
    ...(dataset.report ? datasetFindingLines(dataset.report, plan.base.value, columns) : []),
    "",
    "Plan",
    ...planLines(plan, columns),
    ...doseLines(plan).map((line) => indent(line, columns)),
    ...planFindingLines(plan.findings ?? [], columns),
  ].join("\n");
}

/** Where the run will lie and how it is gone on with, without a line end. */
export function describePlace(plan: TrainPlan, columns: number): string {
  const sheets = plan.previewPrompts.value.length === 0 ? "" : "preview sheets, ";
  return [
    "Where",
    indent(`Result: ${joinPath(plan.runFolder.value, `${plan.name.value}.safetensors`)}`, columns),
    indent(`Beside it: plan.json with every setting and its reason, checkpoints, ${sheets}report.html.`, columns),
    indent(`Ctrl-C saves and stops; gesso train --resume ${quotePath(plan.runFolder.value)} goes on.`, columns),
  ].join("\n");
}

/** Where the plan lies among known recipes; they are of bases a hundred times larger than mini. */
function doseLines(plan: TrainPlan): readonly string[] {
  if (plan.family === "mini") return [];
  const { dose, verdict, below, above } = placeDose(settingsOf(plan));
  const places = [
    ...(below ? [`above ${below.name} (${below.dose})`] : []),
    ...(above ? [`below ${above.name} (${above.dose})`] : []),
  ];
  return [`Dose index ${Number(dose.toPrecision(2))}, ${verdict}: ${places.join(", ")}. [heuristic]`];
}

function indent(text: string, columns: number): string {
  return " ".repeat(INDENT) + wrapText(text, columns, INDENT);
}

function datasetLines(plan: TrainPlan, dataset: DatasetSummary): string[] {
  const { folder, pictures, captioned, masked, smallest, largest, triggerAdded } = dataset;
  const sizes =
    smallest.join() === largest.join() ? `${smallest.join(" x ")} px` : `${smallest.join(" x ")} to ${largest.join(" x ")} px`;
  const masks = masked > 0 ? `, ${countOf(masked, "mask")}` : "";
  const trigger = plan.trigger.value;
  return [
    `${folder}: ${countOf(pictures, "picture")} of ${sizes}, ${captioned === pictures ? "all" : captioned} with captions${masks}.`,
    ...(trigger === null ? [] : [describeTrigger(trigger, triggerAdded, pictures)]),
    ...(dataset.report ? [] : dataset.findings.map(describeFinding)),
  ];
}

/** As the run tells it, too. */
function describeTrigger(trigger: string, added: number, pictures: number): string {
  return added === 0
    ? `The trigger word "${trigger}" stands in every caption already.`
    : tellInserted(trigger, added, pictures);
}

function describeFinding({ message, fix }: Finding): string {
  return `${message} ${fix}`;
}

/** What the page tells that the run would tell again as warnings. */
export function toldOnPage(plan: TrainPlan, { findings, triggerAdded, pictures }: DatasetSummary): ReadonlySet<string> {
  return new Set([
    ...findings.map(describeFinding),
    ...plan.warnings,
    describeTrigger(plan.trigger.value ?? "", triggerAdded, pictures),
  ]);
}

/** One line a setting: its name, its value, why, and from where. */
function planLines(plan: TrainPlan, columns: number): string[] {
  const rows = settingRows(plan).filter(({ isAside }) => !isAside);
  const labelWidth = Math.max(...rows.map(({ label }) => label.length));
  // A long path does not push every reason to the right.
  const valueWidth = Math.max(...rows.map(({ value }) => value.length).filter((length) => length <= 20));
  return rows.map(({ label, value, why }) => {
    const head = `${" ".repeat(INDENT)}${label.padEnd(labelWidth)}  ${value.padEnd(valueWidth)}  `;
    return why === "" ? head.trimEnd() : head + wrapText(why, Math.max(columns, head.length + 24), head.length);
  });
}

function joinPath(folder: string, file: string): string {
  return `${folder.replace(/[\\/]$/, "")}/${file}`;
}
