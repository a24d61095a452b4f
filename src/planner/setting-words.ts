/** What settings are called and how their values read: on the page before a run, and in the report after it. */
import { countOf } from "../words.ts";
import { asked } from "./decide.ts";
import type { Planned, TrainPlan, TrainSettings } from "./plan.ts";
import { sources } from "./sources.ts";

interface SettingWords<T> {
  readonly label: string;
  /** How a value is shown that the bare one would not explain. */
  readonly show?: (value: T) => string;
  /** What nobody asks about: it is worth a line only where it was chosen by hand, or never, since it is told elsewhere. */
  readonly aside?: "unless chosen" | "always";
}

/** In the order in which they are read. */
const settingWords: { readonly [K in keyof TrainSettings]: SettingWords<TrainSettings[K]> } = {
  base: { label: "base model" },
  lineage: { label: "base family" },
  captionStyle: { label: "captions" },
  clipSkip: { label: "clip skip" },
  predictionType: { label: "predicts", show: (value) => (value === "epsilon" ? "noise" : "velocity") },
  type: { label: "teaches" },
  trigger: { label: "trigger word" },
  continueFrom: { label: "begins with", show: (value) => value ?? "a fresh adapter" },
  rank: { label: "rank" },
  alpha: { label: "alpha" },
  targets: { label: "layers" },
  steps: { label: "steps" },
  batch: { label: "batch" },
  accumulation: { label: "accumulation" },
  learningRate: { label: "learning rate" },
  textEncoderLearningRate: { label: "text encoder rate", show: offAtZero },
  schedule: { label: "schedule" },
  resolutionPx: { label: "resolution", show: inPixels },
  maxCaptionTokens: { label: "caption length", show: (value) => countOf(value, "token") },
  captionDropout: { label: "caption dropout" },
  heldOutFraction: { label: "held out", show: (value) => (value === 0 ? "none" : `${Math.round(value * 100)} %`) },
  heldOut: { label: "held out", show: (value) => (value === null ? "by the seed" : countOf(value.length, "picture")) },
  checkpointEvery: { label: "checkpoint every", show: (value) => countOf(value, "step") },
  previewPrompts: { label: "previews", show: (value) => value.join("; ") || "none" },
  previewEvery: { label: "preview every", show: everySteps },
  previewSizePx: { label: "preview size", show: inPixels },
  seed: { label: "seed" },
  recompute: { label: "recompute" },
  engine: { label: "engine" },
  precision: { label: "precision" },
  basePrecision: { label: "base weights" },
  gpus: { label: "GPUs" },
  textEncoder2LearningRate: { label: "text encoder 2 rate", show: offAtZero, aside: "unless chosen" },
  flip: { label: "mirrored", aside: "unless chosen" },
  warmupSteps: {
    label: "warm-up",
    show: (value) => (value === 0 ? "none" : countOf(value, "step")),
    aside: "unless chosen",
  },
  maxGradNorm: { label: "longest gradient", show: offAtZero, aside: "unless chosen" },
  minSnrGamma: { label: "min-SNR gamma", show: offAtZero, aside: "unless chosen" },
  noiseOffset: { label: "noise offset", show: offAtZero, aside: "unless chosen" },
  zeroTerminalSnr: { label: "zero terminal SNR", aside: "unless chosen" },
  validateEvery: { label: "measure every", show: everySteps, aside: "unless chosen" },
  validationTimesteps: { label: "measured timesteps", aside: "unless chosen" },
  previewSteps: { label: "preview steps", aside: "unless chosen" },
  previewGuidance: { label: "preview guidance", aside: "unless chosen" },
  weightDecay: { label: "weight decay", aside: "unless chosen" },
  beta1: { label: "AdamW's beta 1", aside: "unless chosen" },
  beta2: { label: "AdamW's beta 2", aside: "unless chosen" },
  eps: { label: "AdamW's epsilon", aside: "unless chosen" },
  defaultCaption: { label: "default caption", aside: "unless chosen" },
  skipBroken: { label: "skip broken", aside: "unless chosen" },
  bucketStepPx: { label: "bucket step", show: inPixels, aside: "unless chosen" },
  maxAspect: { label: "longest bucket", show: (value) => `${value} to 1`, aside: "unless chosen" },
  noUpscale: {
    label: "small pictures",
    show: (value) => (value ? "keep their size" : "are enlarged"),
    aside: "unless chosen",
  },
  alphaAsMask: { label: "transparency", show: (value) => (value ? "is a mask" : "becomes white"), aside: "unless chosen" },
  device: { label: "device", aside: "unless chosen" },
  python: { label: "Python", aside: "unless chosen" },
  name: { label: "name", aside: "always" },
  datasetFolder: { label: "dataset", aside: "always" },
  runFolder: { label: "run's folder", aside: "always" },
  cacheFolder: { label: "cache", aside: "always" },
  baseHash: { label: "base's hash", aside: "always" },
  baseOptions: {
    label: "base read with",
    show: ({ vaeFile, lineage, variant }) =>
      [vaeFile && `VAE ${vaeFile}`, lineage && `family ${lineage}`, variant && `variant ${variant}`]
        .filter(Boolean)
        .join(", ") || "nothing else",
    aside: "always",
  },
};

function offAtZero(value: number): string {
  return value === 0 ? "off" : String(value);
}

function everySteps(value: number): string {
  return value === 0 ? "end only" : countOf(value, "step");
}

function inPixels(value: number): string {
  return `${value} px`;
}

/** What a setting is called on pages and in messages. @example settingLabel("maxGradNorm") is "longest gradient" */
export function settingLabel(name: keyof TrainSettings): string {
  return settingWords[name].label;
}

/** One setting as a line of a page. */
export interface SettingRow {
  readonly label: string;
  readonly value: string;
  /** Why it is what it is, and the source where that says more; empty where the value says it. */
  readonly why: string;
  /** What nobody asks about: it goes without saying, or is told elsewhere. */
  readonly isAside: boolean;
}

/**
 * Every setting of a plan, in the order in which they are read.
 *
 * @example settingRows(plan).filter(({ isAside }) => !isAside) // [{ label: "rank", value: "16", why: "usual for a style on this base [...]" }, ...]
 */
export function settingRows(plan: TrainPlan): readonly SettingRow[] {
  const names = Object.keys(settingWords) as (keyof TrainSettings)[];
  // Plans of older versions lack some.
  return names.filter((name) => name in plan).map((name) => settingRow(plan, name));
}

function settingRow<K extends keyof TrainSettings>(plan: TrainPlan, name: K): SettingRow {
  const { label, show = formatValue }: SettingWords<TrainSettings[K]> = settingWords[name];
  // TypeScript does not see through the intersection.
  const planned = plan[name] as Planned<TrainSettings[K]>;
  const value = show(planned.value);
  // A base model's reason is its name, which its path ends with.
  return { label, value, why: value.endsWith(planned.reason) ? "" : explain(plan, name), isAside: isAside(plan, name) };
}

/** A value in one word or list: true as yes, null as none. */
function formatValue(value: unknown): string {
  if (value === null || value === undefined || value === "") return "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(formatValue).join(", ");
  return typeof value === "string" || typeof value === "number" ? String(value) : JSON.stringify(value);
}

/** Held-out pictures that are named; plan.json has all. */
const MOST_NAMES = 4;

/** Why a value is what it is; of held-out pictures, also which. */
function explain(plan: TrainPlan, name: keyof TrainSettings): string {
  const why = withSource(plan[name]);
  if (name !== "heldOut" || plan.heldOut.value === null) return why;
  const names = plan.heldOut.value;
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : "";
  return `${names.slice(0, MOST_NAMES).join(", ")}${more}: ${why}`;
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

function withSource({ reason, source }: Planned<unknown>): string {
  return source === undefined || plainSources.has(source) ? reason : `${reason} [${source}]`;
}

function isAside(plan: TrainPlan, name: keyof TrainSettings): boolean {
  const { aside } = settingWords[name];
  const isChosen = plan[name].reason === asked;
  return aside === "always" || (aside !== undefined && !isChosen) || goesWithoutSaying(plan, name, isChosen);
}

/** The base is what it seems and is read as usual, the device is one, and what does not apply is left out. */
function goesWithoutSaying(plan: TrainPlan, name: keyof TrainSettings, isChosen: boolean): boolean {
  const { lineage, predictionType, clipSkip } = plan;
  if (name === "gpus") return plan.gpus.value === 1;
  // The CPU engine has but one.
  if (name === "precision") return plan.engine.value === "ort";
  if (name === "basePrecision") return plan.basePrecision.value === plan.precision.value;
  if (name === "continueFrom") return plan.continueFrom.value === null && !isChosen;
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
