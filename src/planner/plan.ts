/** Dataset, base model, device and the user's choices to a complete plan, each value with its reason. Pure. */
import { UserError } from "../errors.ts";
import type { DeviceProfile } from "../engines/engine.ts";
import type { TargetSet } from "../lora/targets.ts";
import { judge } from "./judge.ts";
import { type LoraType, type Recipe, type RecipeFamily, recipes } from "./recipes.ts";
import { findAdapterTargets, type NetworkConfigs, widthOf } from "./targets.ts";

/** A decision and why it was taken. */
export interface Planned<T> {
  readonly value: T;
  readonly reason: string;
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
  /** Pictures in one microstep, and microsteps in one step. */
  readonly batch: number;
  readonly accumulation: number;
  readonly learningRate: number;
  /** 0: not trained. */
  readonly textEncoderLearningRate: number;
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
  /** The alpha channel says what counts; without it transparent parts become white. */
  readonly alphaAsMask: boolean;
  /** Chance of a caption being empty in a step. */
  readonly captionDropout: number;
  readonly predictionType: "epsilon" | "v_prediction";
  /** 0: no weighting by signal-to-noise ratio. */
  readonly minSnrGamma: number;
  readonly noiseOffset: number;
  /** Share of the pictures that is only measured on; 0 for none. */
  readonly heldOutFraction: number;
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
}

/** The complete plan of a run, as plan.json holds it. */
export type TrainPlan = {
  readonly version: 1;
  /** ISO 8601; the date in the result's metadata. */
  readonly createdAt: string;
  readonly family: RecipeFamily;
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
  /** Widest over narrowest: of the longest picture, at least 1. */
  readonly maxAspect: number;
}

/** What the planner has to know of a base model; a `BaseModel` has all of it. */
export interface BaseFacts extends NetworkConfigs {
  readonly name: string;
  readonly folder: string;
  readonly family: "sd15" | "sdxl";
  readonly schedule: { readonly predictionType: "epsilon" | "v_prediction"; readonly trainTimesteps: number };
  readonly nativeResolutionPx: number;
  readonly pixelsPerLatent: number;
  readonly hashes: { readonly all: string };
}

/** What the user said. Where and when to run has no default; the rest is chosen where it is absent. */
export type UserChoices = {
  readonly [K in keyof Omit<TrainSettings, RequiredChoice | "baseHash" | "base" | "datasetFolder">]?:
    TrainSettings[K] | undefined;
} & Pick<TrainSettings, RequiredChoice> & {
    readonly base?: string | undefined;
    readonly createdAt: string;
  };
type RequiredChoice = "name" | "runFolder" | "cacheFolder" | "type";

/**
 * A complete plan. What the user chose is kept and judged in `warnings`; the rest comes from the recipes.
 *
 * @throws UserError for a choice that cannot work: a rank above a layer's width, a number out of its range
 * @example const plan = planTraining(facts, base, engine.profile, { name: "fox", type: "style", runFolder, cacheFolder, createdAt });
 */
export function planTraining(
  dataset: DatasetFacts,
  base: BaseFacts,
  device: DeviceProfile | undefined,
  choices: UserChoices,
): TrainPlan {
  const family = recipeFamily(base);
  const recipe = recipes[family][choices.type];
  const adapter = decideAdapter(base, recipe, choices);
  const decided = {
    ...decidePlaces(dataset, base, choices),
    ...adapter,
    ...decideDose(dataset, recipe, family, adapter.alpha.value, choices),
    ...decidePictures(dataset, base, family, choices),
    ...decideObjective(base, recipe, choices),
  };
  const measuring = decideMeasuring(dataset, base, decided.steps.value, family, choices);
  const settings = { ...decided, ...measuring };
  checkRanges(settings);
  const plain = settingsOf(settings);
  return {
    version: 1,
    createdAt: choices.createdAt,
    family,
    warnings: judge(plain, dataset, base, family, device),
    ...settings,
  };
}

type PlannedSettings = { readonly [K in keyof TrainSettings]: Planned<TrainSettings[K]> };

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

/** A base with narrow layers takes mini's recipes, whatever it is called. */
function recipeFamily(base: Pick<BaseFacts, "family" | "unet">): RecipeFamily {
  return (base.unet.downBlocks[0]?.channels ?? 0) < 160 ? "mini" : base.family;
}

const asked = "you chose it";

/** The user's choice where there is one. */
function choose<T>(chosen: T | undefined, value: T, reason: string): Planned<T> {
  return chosen === undefined ? { value, reason } : { value: chosen, reason: asked };
}

function decidePlaces(dataset: DatasetFacts, base: BaseFacts, choices: UserChoices) {
  return {
    name: { value: choices.name, reason: "the result's name" },
    datasetFolder: { value: dataset.folder, reason: asked },
    runFolder: { value: choices.runFolder, reason: "where the run is kept" },
    cacheFolder: {
      value: choices.cacheFolder,
      reason: "latents and text embeddings are kept for the next run on the same pictures",
    },
    base: { value: choices.base ?? base.folder, reason: base.name },
    baseHash: { value: base.hashes.all, reason: "so that a resumed run is on the same base" },
    type: { value: choices.type, reason: "what the adapter is to teach" },
    trigger: choose(choices.trigger, null, "none was given: the adapter acts without a word"),
    defaultCaption: choose(choices.defaultCaption, "", "pictures without a caption get the trigger word alone"),
    skipBroken: choose(choices.skipBroken, false, "a picture that cannot be used stops the run before it begins"),
    seed: choose(choices.seed, 42, "any number does; the same one gives the same run"),
    continueFrom: choose(choices.continueFrom, null, "a fresh adapter"),
  };
}

function decideAdapter(base: BaseFacts, recipe: Recipe, choices: UserChoices) {
  const targets = choose(
    choices.targets,
    "attention+ff" as const,
    "closes the gap to full fine-tuning; convolutions add little",
  );
  const widest = findAdapterTargets(
    base,
    targets.value,
    (choices.textEncoderLearningRate ?? recipe.textEncoderLearningRate) > 0,
  );
  const narrowest = widest.reduce((least, target) =>
    widthOf(target.weightShape) < widthOf(least.weightShape) ? target : least,
  );
  const limit = widthOf(narrowest.weightShape);
  if (choices.rank !== undefined && (!Number.isInteger(choices.rank) || choices.rank < 1 || choices.rank > limit)) {
    throw new UserError(`Rank ${choices.rank} does not fit ${narrowest.path}, which is ${limit} wide.`, {
      fix: `Give --rank a whole number from 1 to ${limit}.`,
    });
  }
  const rank = choose(
    choices.rank,
    Math.min(recipe.rank, limit),
    recipe.rank > limit ? `the narrowest layer is ${limit} wide` : "usual for this kind",
  );
  const alpha = choose(
    choices.alpha,
    Math.min(recipe.alpha, rank.value),
    rank.value < recipe.alpha ? "no more than the rank" : "the learning rate belongs to this alpha, whatever the rank",
  );
  return { targets, rank, alpha };
}

function decideDose(dataset: DatasetFacts, recipe: Recipe, family: RecipeFamily, alpha: number, choices: UserChoices) {
  const usual = Math.min(recipe.batch, Math.max(1, dataset.pictures));
  const batch = choose(choices.batch, usual, usual < recipe.batch ? `no more than there are pictures` : `usual for ${family}`);
  const accumulation = choose(choices.accumulation, 1, "a larger batch is not needed");
  const perStep = batch.value * accumulation.value;
  // The best number of exposures grew with the square root of the number of pictures in published runs.
  const [least, most] = recipe.exposuresRange;
  const exposures = Math.min(most, Math.max(least, recipe.exposures * Math.sqrt(dataset.pictures / 20)));
  const steps = choose(
    choices.steps,
    Math.max(1, Math.round(exposures / perStep)),
    `${Math.round(exposures)} exposures for ${dataset.pictures} pictures, ${perStep} a step`,
  );
  // Under AdamW the same speed takes the rate times the square root of the batch, and over that of alpha.
  const factor = Math.sqrt(perStep / recipe.batch) * Math.sqrt(recipe.alpha / alpha);
  const rate = Number((recipe.learningRate * factor).toPrecision(3));
  const why =
    factor === 1
      ? "usual for this kind"
      : `${recipe.learningRate} is usual at batch ${recipe.batch} and alpha ${recipe.alpha}; scaled by their square roots`;
  return {
    batch,
    accumulation,
    steps,
    learningRate: choose(choices.learningRate, rate, why),
    textEncoderLearningRate: choose(
      choices.textEncoderLearningRate,
      recipe.textEncoderLearningRate,
      recipe.textEncoderLearningRate === 0 ? "text encoders are left alone: they tend to forget" : "well below the UNet's",
    ),
    schedule: choose(choices.schedule, recipe.schedule, "usual for this kind"),
    warmupSteps: choose(choices.warmupSteps, Math.round(steps.value * recipe.warmup), `${recipe.warmup * 100} % of the steps`),
    beta1: choose(choices.beta1, 0.9, "AdamW's default"),
    beta2: choose(choices.beta2, 0.999, "AdamW's default"),
    eps: choose(choices.eps, 1e-8, "AdamW's default"),
    weightDecay: choose(choices.weightDecay, 0.01, "AdamW's default; 0.0001 to 0.1 make no difference"),
    maxGradNorm: choose(choices.maxGradNorm, 1, "one bad batch cannot throw the adapter off"),
  };
}

function decidePictures(dataset: DatasetFacts, base: BaseFacts, family: RecipeFamily, choices: UserChoices) {
  const step = Math.max(base.pixelsPerLatent * 2 ** (base.unet.downBlocks.length - 1), family === "mini" ? 1 : 64);
  return {
    resolutionPx: choose(choices.resolutionPx, base.nativeResolutionPx, "what the base was made for"),
    bucketStepPx: choose(choices.bucketStepPx, step, "sides that the networks halve evenly"),
    maxAspect: choose(
      choices.maxAspect,
      dataset.maxAspect > 2 ? 4 : 2,
      `the longest picture is ${dataset.maxAspect.toFixed(2)} to 1`,
    ),
    noUpscale: choose(
      choices.noUpscale,
      family !== "mini",
      family === "mini" ? "small pictures are enlarged to the base's own size" : "enlarged pictures teach blur",
    ),
    flip: choose(choices.flip, false, "a mirrored subject may be a wrong one; switch it on for symmetric ones"),
    alphaAsMask: choose(choices.alphaAsMask, false, "transparent parts become white"),
  };
}

function decideObjective(base: BaseFacts, recipe: Recipe, choices: UserChoices) {
  return {
    captionDropout: choose(
      choices.captionDropout,
      recipe.captionDropout,
      recipe.captionDropout > 0 ? "a style must hold without words too" : "every word counts",
    ),
    predictionType: choose(choices.predictionType, base.schedule.predictionType, "as the base's scheduler_config.json says"),
    minSnrGamma: choose(choices.minSnrGamma, recipe.minSnrGamma, "min-SNR (Hang et al. 2023) evens out the timesteps"),
    noiseOffset: choose(choices.noiseOffset, 0, "only needed for very dark or bright pictures"),
  };
}

function decideMeasuring(dataset: DatasetFacts, base: BaseFacts, steps: number, family: RecipeFamily, choices: UserChoices) {
  const tenth = Math.max(1, Math.round(steps / 10));
  const fifth = Math.max(1, Math.round(steps / 5));
  const scale = base.schedule.trainTimesteps / 1000;
  return {
    heldOutFraction: choose(
      choices.heldOutFraction,
      dataset.pictures < 6 ? 0 : 0.12,
      dataset.pictures < 6 ? "too few pictures to spare one" : "about one picture in eight tells when to stop",
    ),
    validationTimesteps: choose(
      choices.validationTimesteps,
      [100, 250, 400, 600].map((t) => Math.round(t * scale)),
      "where over-training shows first",
    ),
    validateEvery: choose(choices.validateEvery, tenth, "ten times a run"),
    checkpointEvery: choose(choices.checkpointEvery, tenth, "ten a run, so that the best one can be kept"),
    previewEvery: choose(
      choices.previewEvery,
      family === "mini" ? Math.ceil(steps / 2) : fifth,
      family === "mini" ? "halfway and at the end" : "five sheets a run",
    ),
    previewPrompts: choose(choices.previewPrompts, dataset.captions.slice(0, 3), "the first captions of the dataset"),
    previewSteps: choose(choices.previewSteps, family === "mini" ? 20 : 25, "enough for DPM++ 2M"),
    previewGuidance: choose(choices.previewGuidance, family === "mini" ? 5 : 7, "usual for this base"),
    previewSizePx: choose(choices.previewSizePx, base.nativeResolutionPx, "what the base was made for"),
  };
}

/** Smallest and largest value of each number, and whether it must be whole. */
const ranges: Readonly<Partial<Record<keyof TrainSettings, readonly [least: number, most: number, isWhole?: true]>>> = {
  seed: [0, 2 ** 32 - 1, true],
  alpha: [1e-4, 1e4],
  steps: [1, 1e7, true],
  batch: [1, 4096, true],
  accumulation: [1, 4096, true],
  learningRate: [1e-12, 10],
  textEncoderLearningRate: [0, 10],
  warmupSteps: [0, 1e7, true],
  beta1: [0, 0.999999],
  beta2: [0, 0.999999],
  eps: [0, 1],
  weightDecay: [0, 1],
  maxGradNorm: [0, 1e9],
  resolutionPx: [8, 8192, true],
  bucketStepPx: [1, 512, true],
  maxAspect: [1, 16],
  captionDropout: [0, 1],
  minSnrGamma: [0, 1e6],
  noiseOffset: [0, 1],
  heldOutFraction: [0, 0.5],
  validateEvery: [0, 1e7, true],
  checkpointEvery: [1, 1e7, true],
  previewEvery: [0, 1e7, true],
  previewSteps: [1, 1000, true],
  previewGuidance: [0, 100],
  previewSizePx: [8, 8192, true],
};

function checkRanges(settings: PlannedSettings): void {
  for (const [name, [least, most, isWhole]] of Object.entries(ranges)) {
    const value = settings[name as keyof TrainSettings].value as number;
    if (Number.isFinite(value) && value >= least && value <= most && (!isWhole || Number.isInteger(value))) continue;
    throw new UserError(`${name} cannot be ${value}.`, {
      fix: `Give ${isWhole ? "a whole number" : "a number"} from ${least} to ${most}.`,
      exitCode: 2,
    });
  }
  if (!/^[^\\/:*?"<>|\u0000-\u001f]+$/.test(settings.name.value) || /^\.|[. ]$/.test(settings.name.value)) {
    throw new UserError(`"${settings.name.value}" cannot be a file's name.`, {
      fix: "Use letters, digits, - and _.",
      exitCode: 2,
    });
  }
  const { resolutionPx, bucketStepPx } = settings;
  if (resolutionPx.value % bucketStepPx.value !== 0) {
    throw new UserError(`Resolution ${resolutionPx.value} is not a multiple of ${bucketStepPx.value}.`, {
      fix: `Give a multiple of ${bucketStepPx.value}.`,
      exitCode: 2,
    });
  }
}
