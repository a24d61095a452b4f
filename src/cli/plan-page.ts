/** The page before a run: what the dataset holds, what will be done and why, and where it goes. */
import {
  type DatasetReport,
  type Finding,
  placeDose,
  type Planned,
  settingsOf,
  sources,
  type TrainPlan,
  type TrainSettings,
} from "../index.ts";
import { datasetFindingLines, planFindingLines } from "./findings-page.ts";
import { countOf, formatValue, quotePath, wrapText } from "./format.ts";

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

/** The settings that people ask about, in the order in which they are read; the others show when they were chosen by hand. */
const shownSettings: readonly (readonly [name: keyof TrainSettings, label: string])[] = [
  ["base", "base model"],
  ["lineage", "base family"],
  ["captionStyle", "captions"],
  ["clipSkip", "clip skip"],
  ["predictionType", "predicts"],
  ["type", "teaches"],
  ["trigger", "trigger word"],
  ["continueFrom", "begins with"],
  ["rank", "rank"],
  ["alpha", "alpha"],
  ["targets", "layers"],
  ["steps", "steps"],
  ["batch", "batch"],
  ["accumulation", "accumulation"],
  ["learningRate", "learning rate"],
  ["textEncoderLearningRate", "text encoder rate"],
  ["schedule", "schedule"],
  ["resolutionPx", "resolution"],
  ["maxCaptionTokens", "caption length"],
  ["captionDropout", "caption dropout"],
  ["heldOutFraction", "held out"],
  ["heldOut", "held out"],
  ["checkpointEvery", "checkpoint every"],
  ["previewPrompts", "previews"],
  ["previewEvery", "preview every"],
  ["previewSizePx", "preview size"],
  ["seed", "seed"],
  ["recompute", "recompute"],
  ["engine", "engine"],
  ["precision", "precision"],
  ["basePrecision", "base weights"],
  ["gpus", "GPUs"],
];

/** What the others are called. */
const otherLabels: Readonly<Partial<Record<keyof TrainSettings, string>>> = {
  textEncoder2LearningRate: "text encoder 2 rate",
  flip: "mirrored",
  warmupSteps: "warm-up",
  maxGradNorm: "longest gradient",
  minSnrGamma: "min-SNR gamma",
  noiseOffset: "noise offset",
  clipSkip: "clip skip",
  validateEvery: "measure every",
  skipBroken: "skip broken",
};

/** How values are shown that a bare number would not explain. */
const units: Readonly<Partial<Record<keyof TrainSettings, (value: unknown) => string>>> = {
  previewSizePx: (value) => `${formatValue(value)} px`,
  resolutionPx: (value) => `${formatValue(value)} px`,
  maxCaptionTokens: (value) => countOf(Number(value), "token"),
  heldOutFraction: (value) => (value === 0 ? "none" : `${Math.round(Number(value) * 100)} %`),
  heldOut: (value) => countOf((value as readonly string[] | null)?.length ?? 0, "picture"),
  checkpointEvery: (value) => countOf(Number(value), "step"),
  predictionType: (value) => (value === "epsilon" ? "noise" : "velocity"),
  previewEvery: (value) => (value === 0 ? "end only" : countOf(Number(value), "step")),
  validateEvery: (value) => (value === 0 ? "end only" : countOf(Number(value), "step")),
  warmupSteps: (value) => (value === 0 ? "none" : countOf(Number(value), "step")),
  textEncoderLearningRate: offAtZero,
  textEncoder2LearningRate: offAtZero,
  maxGradNorm: offAtZero,
  minSnrGamma: offAtZero,
  noiseOffset: offAtZero,
};

function offAtZero(value: unknown): string {
  return value === 0 ? "off" : formatValue(value);
}

/** What goes without saying is left out: the base is what it seems, and is read as usual. */
function goesWithoutSaying(plan: TrainPlan, name: keyof TrainSettings): boolean {
  const { lineage, predictionType, clipSkip } = plan;
  if (name === "gpus") return plan.gpus.value === 1;
  if (name === "basePrecision") return plan.basePrecision.value === plan.precision.value;
  const isPlain = lineage.value === "sd15" || lineage.value === "sdxl";
  if (name === "lineage" || name === "captionStyle") return isPlain;
  if (name === "clipSkip") return isPlain && (clipSkip.value === 1 || lineage.value === "sdxl");
  const isWithout = plan.previewPrompts.value.length === 0;
  if (name === "previewPrompts") return !isWithout;
  if (name === "previewEvery") return isWithout;
  if (name === "previewSizePx") return isWithout || plan.previewSizePx.value === plan.resolutionPx.value;
  const isNamed = plan.heldOut.value !== null && plan.heldOutFraction.value > 0;
  if (name === "heldOut") return !isNamed;
  if (name === "heldOutFraction") return isNamed;
  if (name === "recompute") return plan.recompute.reason.startsWith("activations are kept");
  return name === "predictionType" && predictionType.value === "epsilon";
}

const INDENT = 2;

/** What there is and what will be done, without a line end. Lines are at most `columns` long where words allow. */
export function describePlan(plan: TrainPlan, dataset: DatasetSummary, columns: number): string {
  return [
    "Dataset",
    ...datasetLines(plan, dataset).map((line) => indent(line, columns)),
    ...(dataset.report ? datasetFindingLines(dataset.report, columns) : []),
    "",
    "Plan",
    ...planLines(plan, columns),
    ...doseLines(plan).map((line) => indent(line, columns)),
    ...planFindingLines(plan.findings ?? [], columns),
  ].join("\n");
}

/** Where the run will lie and how it is gone on with, without a line end. */
export function describePlace(plan: TrainPlan, columns: number): string {
  return [
    "Where",
    indent(`Result: ${joinPath(plan.runFolder.value, `${plan.name.value}.safetensors`)}`, columns),
    indent("Beside it: plan.json with every setting and its reason, checkpoints, preview sheets, report.html.", columns),
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

function describeTrigger(trigger: string, added: number, pictures: number): string {
  if (added === 0) return `The trigger word "${trigger}" stands in every caption already.`;
  return `The trigger word "${trigger}" was put in front of ${added} of ${pictures} captions that lacked it.`;
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

/** These go without saying beside the reason. */
const plainSources: ReadonlySet<string> = new Set([
  sources.user,
  sources.dataset,
  sources.base,
  sources.device,
  sources.gesso,
  sources.pytorch,
]);

/** Why a value is what it is; of held-out pictures, also which. */
function explain(plan: TrainPlan, name: keyof TrainSettings): string {
  const why = withSource(plan[name]);
  if (name !== "heldOut" || plan.heldOut.value === null) return why;
  const names = plan.heldOut.value;
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : "";
  return `${names.slice(0, MOST_NAMES).join(", ")}${more}: ${why}`;
}

/** Held-out pictures that are named on the page; plan.json has all. */
const MOST_NAMES = 4;

function withSource({ reason, source }: Planned<unknown>): string {
  return source === undefined || plainSources.has(source) ? reason : `${reason} [${source}]`;
}

/** One line a setting: its name, its value, why, and from where. */
function planLines(plan: TrainPlan, columns: number): string[] {
  const rows = [...shownSettings, ...chosenByHand(plan)].flatMap(([name, label]) => {
    if (goesWithoutSaying(plan, name)) return [];
    const planned = plan[name] as Planned<unknown>;
    const { value, reason } = planned;
    const isIdle = value === null && (name === "continueFrom" || name === "trigger") && reason !== "you chose it";
    // The CPU engine has but one.
    if (name === "precision" && plan.engine.value === "ort") return [];
    const text = (units[name] ?? formatValue)(value);
    // A base model's reason is its name, which its path ends with.
    return isIdle && name === "continueFrom" ? [] : [[label, text, text.endsWith(reason) ? "" : explain(plan, name)] as const];
  });
  const labelWidth = Math.max(...rows.map(([label]) => label.length));
  // A long path does not push every reason to the right.
  const valueWidth = Math.max(...rows.map(([, value]) => value.length).filter((length) => length <= 20));
  return rows.map(([label, value, reason]) => {
    const head = `${" ".repeat(INDENT)}${label.padEnd(labelWidth)}  ${value.padEnd(valueWidth)}  `;
    return reason === "" ? head.trimEnd() : head + wrapText(reason, Math.max(columns, head.length + 24), head.length);
  });
}

/** Settings outside the list that the user gave a value; where the run lies is told elsewhere. */
function chosenByHand(plan: TrainPlan): (readonly [keyof TrainSettings, string])[] {
  const known = new Set<string>([
    ...shownSettings.map(([name]) => name),
    "name",
    "datasetFolder",
    "runFolder",
    "cacheFolder",
    "base",
    "type",
  ]);
  const names = Object.keys(plan) as (keyof TrainSettings)[];
  return names.flatMap((name) => {
    const planned: unknown = plan[name];
    const isChosen =
      typeof planned === "object" && planned !== null && "reason" in planned && planned.reason === "you chose it";
    return isChosen && !known.has(name) ? [[name, otherLabels[name] ?? name] as const] : [];
  });
}

function joinPath(folder: string, file: string): string {
  return `${folder.replace(/[\\/]$/, "")}/${file}`;
}
