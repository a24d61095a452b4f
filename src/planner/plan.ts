/** Dataset, base model, device and the user's choices to a complete plan, each value with its reason. Pure. */
import type { EngineChoice } from "../engines/choose.ts";
import type { DeviceProfile } from "../engines/engine.ts";
import type { FloatDType, WeightDType } from "../graph/graph.ts";
import type { TargetSet } from "../lora/targets.ts";
import { decideAdapter, decideBase, decideEngine, decidePlaces, decideTextEncoders } from "./decide.ts";
import { decideDose, decideMeasuring, decideObjective, decidePictures } from "./decide-training.ts";
import { checkRanges } from "./ranges.ts";
import { type LoraType, type RecipeFamily, recipeOfLineage, recipes } from "./recipes.ts";
import { judge, type PlanFinding, tellFinding } from "./rules/table.ts";
import type { LineageName } from "../models/lineages.ts";
import type { NetworkConfigs } from "./targets.ts";
import { decideText } from "./text.ts";

/** A decision, why it was taken, and where that comes from. */
export interface Planned<T> {
  readonly value: T;
  readonly reason: string;
  /** In words, see `sources`; "heuristic" is Gesso's own choice. Absent in plans from before it was told. */
  readonly source?: string;
}

/** Everything that a run needs to be told: plain values. */
export interface TrainSettings {
  /** Of the result: `<name>.safetensors`. */
  readonly name: string;
  readonly datasetFolder: string;
  /** Where the run is kept. */
  readonly runFolder: string;
  /** Where latents and text embeddings are kept between runs. */
  readonly cacheFolder: string;
  /** What `openBase` takes, and the hash of what it opened then. */
  readonly base: string;
  readonly baseHash: string;
  /** How the base was opened: another VAE, what the user said that it is, which variant of its files. */
  readonly baseOptions: BaseReading;
  /** What the base was trained from. */
  readonly lineage: LineageName;
  /** What captions the base is used to. */
  readonly captionStyle: "tags" | "sentences";
  readonly type: LoraType;
  /** Put in front of every caption that lacks it; null for none. */
  readonly trigger: string | null;
  /** For pictures without a caption. */
  readonly defaultCaption: string;
  /** Leave out pictures that cannot be read, with a warning, instead of stopping. */
  readonly skipBroken: boolean;
  readonly seed: number;
  readonly rank: number;
  readonly alpha: number;
  readonly targets: TargetSet;
  /** An adapter file to go on from, or null. */
  readonly continueFrom: string | null;
  /** Optimizer steps. */
  readonly steps: number;
  /** Pictures in one microstep of one worker, and microsteps in one step. */
  readonly batch: number;
  readonly accumulation: number;
  readonly learningRate: number;
  /** Of the first text encoder. 0: it is not trained. */
  readonly textEncoderLearningRate: number;
  /** Of the second text encoder; 0 where the base has none. */
  readonly textEncoder2LearningRate: number;
  readonly schedule: "constant" | "cosine";
  readonly warmupSteps: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** 0: gradients are not clipped. */
  readonly maxGradNorm: number;
  readonly resolutionPx: number;
  readonly bucketStepPx: number;
  readonly maxAspect: number;
  /** Pictures smaller than their bucket keep their size. */
  readonly noUpscale: boolean;
  readonly flip: boolean;
  /** Activations of each block are computed again in the backward pass instead of being kept: gradient checkpointing. */
  readonly recompute: boolean;
  /** The alpha channel says what counts; without it transparent parts become white. */
  readonly alphaAsMask: boolean;
  /** Chance of a caption being empty in a step. */
  readonly captionDropout: number;
  /** Tokens of a caption that are read, start and end not counted: one, two or three times what the text encoder reads at once. */
  readonly maxCaptionTokens: number;
  /** Which hidden state of the text encoder is taken, from the end: 1 is the last. */
  readonly clipSkip: number;
  readonly predictionType: "epsilon" | "v_prediction";
  /** Whether the noise schedule ends in pure noise (Lin et al. 2023). */
  readonly zeroTerminalSnr: boolean;
  /** 0: no weighting by signal-to-noise ratio. */
  readonly minSnrGamma: number;
  readonly noiseOffset: number;
  /** Share of the pictures that is only measured on; 0 for none. */
  readonly heldOutFraction: number;
  /** Names of those pictures; null where the run chooses them by its seed. Those that are not in the dataset are passed over. */
  readonly heldOut: readonly string[] | null;
  /** The timesteps that losses are compared at. */
  readonly validationTimesteps: readonly number[];
  /** 0: only before the first step and at the end. */
  readonly validateEvery: number;
  readonly checkpointEvery: number;
  /** 0: only at the end. */
  readonly previewEvery: number;
  /** What preview sheets show, without the trigger word; none switches them off. */
  readonly previewPrompts: readonly string[];
  readonly previewSteps: number;
  readonly previewGuidance: number;
  readonly previewSizePx: number;
  /** What computes, where, and in what; a run goes on with the same. */
  readonly engine: EngineChoice["engine"];
  readonly device: string;
  readonly precision: FloatDType;
  /** Interpreter of the torch engine, or null. */
  readonly python: string | null;
  /** Workers that train together, each on a GPU and on pictures of its own. */
  readonly gpus: number;
  /** What the UNet's frozen weights are kept in; they are computed with in `precision`. */
  readonly basePrecision: WeightDType;
}

/** The complete plan of a run, as plan.json holds it. */
export type TrainPlan = {
  readonly version: 1;
  /** ISO 8601; the date in the result's metadata. */
  readonly createdAt: string;
  readonly family: RecipeFamily;
  /** What the rules found, errors first; absent in plans from before there were rules. */
  readonly findings?: readonly PlanFinding[];
  /** The same in sentences. */
  readonly warnings: readonly string[];
} & { readonly [K in keyof TrainSettings]: Planned<TrainSettings[K]> };

/** What the planner has to know of a dataset. */
export interface DatasetFacts {
  readonly folder: string;
  /** Distinct pictures. */
  readonly pictures: number;
  /** Pictures in an epoch, repeats counted. */
  readonly picturesPerEpoch: number;
  /** A few captions, as examples for previews. */
  readonly captions: readonly string[];
  /** Tokens of the longest caption, with the trigger word and without start and end; undefined where they were not counted. */
  readonly longestCaption?: number | undefined;
  /** Widest over narrowest: of the longest picture, at least 1. */
  readonly maxAspect: number;
}

/** How a base is read where its files leave a choice; see `BaseOptions` of the base. */
export interface BaseReading {
  readonly vaeFile?: string | undefined;
  readonly lineage?: LineageName | undefined;
  readonly variant?: string | undefined;
}

/** What the planner has to know of a base model; a `BaseModel` has all of it. */
export interface BaseFacts extends NetworkConfigs {
  readonly name: string;
  readonly folder: string;
  readonly family: "sd15" | "sdxl";
  /** The family itself where absent. */
  readonly lineage?: { readonly name: LineageName; readonly reason: string };
  readonly schedule: {
    readonly predictionType: "epsilon" | "v_prediction";
    readonly trainTimesteps: number;
    readonly zeroTerminalSnr?: boolean;
  };
  readonly scheduleReason?: string;
  readonly openedWith?: BaseReading;
  readonly nativeResolutionPx: number;
  readonly pixelsPerLatent: number;
  readonly hashes: { readonly all: string };
}

/** What the planner has to know of where the run will be: `chooseEngine` tells it. */
export type DeviceFacts = Pick<DeviceProfile, "engine"> & Partial<Omit<EngineChoice, "engine">>;

/** What the user said. Where and when to run has no default; the rest is chosen where it is absent. */
export type UserChoices = {
  readonly [K in keyof Omit<TrainSettings, RequiredChoice | BaseChoice | EngineSetting>]?: TrainSettings[K] | undefined;
} & Pick<TrainSettings, RequiredChoice> & {
    readonly base?: string | undefined;
    readonly createdAt: string;
  };
type EngineSetting = "engine" | "device" | "precision" | "python" | "gpus" | "basePrecision";
type RequiredChoice = "name" | "runFolder" | "cacheFolder" | "type";
/** Settled with the base and the dataset, not with the plan. */
type BaseChoice = "base" | "baseHash" | "baseOptions" | "lineage" | "captionStyle" | "datasetFolder";

/**
 * A complete plan. What the user chose is kept and judged in `findings`; the rest comes from the recipes. A plan with an error among its
 * findings would waste the run: `gesso train` does not begin it unless the user insists.
 *
 * @param device undefined where it is not known: nothing is said of it then
 * @throws UserError for a choice that cannot work: a rank above a layer's width, a number out of its range, a rate for a text
 *   encoder that the base has not
 * @example const plan = planTraining(facts, base, engine.profile, { name: "fox", type: "style", runFolder, cacheFolder, createdAt });
 */
export function planTraining(
  dataset: DatasetFacts,
  base: BaseFacts,
  device: DeviceFacts | undefined,
  choices: UserChoices,
): TrainPlan {
  const family = recipeFamily(base);
  const recipe = recipes[family][choices.type];
  const textEncoders = decideTextEncoders(base, recipe, choices);
  const adapter = decideAdapter(base, recipe, textEncoders, choices);
  const decided = {
    ...decidePlaces(dataset, base, choices),
    ...decideBase(base),
    ...adapter,
    ...decideDose(dataset, recipe, { alpha: adapter.alpha.value, gpus: device?.gpus ?? 1 }, choices),
    ...textEncoders,
    ...decidePictures(dataset, base, family, choices),
    ...decideText(dataset, base, choices),
    ...decideObjective(base, recipe, choices),
  };
  const measuring = decideMeasuring(dataset, base, decided.steps.value, family, choices);
  const settings = { ...decided, ...measuring, ...decideEngine(device) };
  checkRanges(settings);
  const findings = judge({ settings: settingsOf(settings), choices, dataset, base, family, device });
  return {
    version: 1,
    createdAt: choices.createdAt,
    family,
    findings,
    warnings: findings.map(tellFinding),
    ...settings,
  };
}

/** Settings with their reasons. */
export type PlannedSettings = { readonly [K in keyof TrainSettings]: Planned<TrainSettings[K]> };

/** The values alone, for who carries the plan out. */
export function settingsOf(plan: PlannedSettings): TrainSettings {
  const values: Record<string, unknown> = {};
  for (const [name, planned] of Object.entries<unknown>(plan)) {
    // A whole plan holds more than settings.
    if (typeof planned === "object" && planned !== null && "reason" in planned && "value" in planned)
      values[name] = planned.value;
  }
  return values as unknown as TrainSettings;
}

/** A base with narrow layers takes mini's recipes, whatever it is called; the others those of what they were trained from. */
export function recipeFamily(base: Pick<BaseFacts, "family" | "lineage" | "schedule" | "unet">): RecipeFamily {
  if ((base.unet.downBlocks[0]?.channels ?? 0) < 160) return "mini";
  if (base.family === "sdxl" && base.schedule.predictionType === "v_prediction") return "noobai-vpred";
  return recipeOfLineage[base.lineage?.name ?? base.family];
}
