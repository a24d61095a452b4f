/** Each setting of a plan: the user's choice, or the recipe's value for this dataset and base, with the reason. */
import { UserError } from "../errors.ts";
import { lineages } from "../models/lineages.ts";
import type { BaseFacts, DatasetFacts, DeviceFacts, Planned, PlannedSettings, UserChoices } from "./plan.ts";
import type { Recipe, RecipeFamily } from "./recipes.ts";
import { findTrainedTargets, widthOf } from "./targets.ts";

const asked = "you chose it";

/** The user's choice where there is one. */
function choose<T>(chosen: T | undefined, value: T, reason: string): Planned<T> {
  return chosen === undefined ? { value, reason } : { value: chosen, reason: asked };
}

export function decidePlaces(dataset: DatasetFacts, base: BaseFacts, choices: UserChoices) {
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

/** What follows from what the base was trained from. */
export function decideBase(base: BaseFacts) {
  const { name, reason } = base.lineage ?? { name: base.family, reason: "its keys and shapes" };
  const { captions, captionAdvice } = lineages[name];
  return {
    baseOptions: { value: base.openedWith ?? {}, reason: "so that a resumed run opens the base in the same way" },
    lineage: { value: name, reason },
    captionStyle: { value: captions, reason: captionAdvice },
  };
}

/** Each text encoder's rate; 0 leaves it alone. */
export function decideTextEncoders(base: BaseFacts, recipe: Recipe, choices: UserChoices) {
  const first = choose(
    choices.textEncoderLearningRate,
    recipe.textEncoderLearningRate,
    recipe.textEncoderLearningRate === 0 ? "text encoders are left alone: they tend to forget" : "well below the UNet's",
  );
  if (base.textEncoders.some(({ name }) => name === "text_encoder_2")) {
    const second = choose(choices.textEncoder2LearningRate, first.value, "the same as the first text encoder's");
    return { textEncoderLearningRate: first, textEncoder2LearningRate: second };
  }
  if (choices.textEncoder2LearningRate !== undefined) {
    throw new UserError(`${base.name} has one text encoder: there is no second one to give a learning rate.`, {
      fix: "Leave --text-encoder-2-learning-rate out.",
      exitCode: 2,
    });
  }
  const none = { value: 0, reason: "the base has one text encoder" };
  return { textEncoderLearningRate: first, textEncoder2LearningRate: none };
}

export function decideAdapter(
  base: BaseFacts,
  recipe: Recipe,
  { textEncoderLearningRate, textEncoder2LearningRate }: ReturnType<typeof decideTextEncoders>,
  choices: UserChoices,
) {
  const targets = choose(
    choices.targets,
    "attention+ff" as const,
    "closes the gap to full fine-tuning; convolutions add little",
  );
  const layers = findTrainedTargets(base, {
    targets: targets.value,
    textEncoderLearningRate: textEncoderLearningRate.value,
    textEncoder2LearningRate: textEncoder2LearningRate.value,
  });
  const narrowest = layers.reduce((least, target) =>
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

export function decideDose(
  dataset: DatasetFacts,
  recipe: Recipe,
  family: RecipeFamily,
  { alpha, gpus }: { readonly alpha: number; readonly gpus: number },
  choices: UserChoices,
) {
  const all = Math.min(recipe.batch, Math.max(1, dataset.pictures));
  const usual = Math.max(1, Math.floor(all / gpus));
  const why = all < recipe.batch ? "no more than there are pictures" : `usual for ${family}`;
  const batch = choose(choices.batch, usual, gpus === 1 ? why : `on each of ${gpus} GPUs; ${recipe.batch} in all is ${why}`);
  const accumulation = choose(choices.accumulation, 1, "a larger batch is not needed");
  const perStep = batch.value * accumulation.value * gpus;
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
  const rateReason =
    factor === 1
      ? "usual for this kind"
      : `${recipe.learningRate} is usual at batch ${recipe.batch} and alpha ${recipe.alpha}; scaled by their square roots`;
  return {
    batch,
    accumulation,
    steps,
    learningRate: choose(choices.learningRate, rate, rateReason),
    schedule: choose(choices.schedule, recipe.schedule, "usual for this kind"),
    warmupSteps: choose(choices.warmupSteps, Math.round(steps.value * recipe.warmup), `${recipe.warmup * 100} % of the steps`),
    beta1: choose(choices.beta1, 0.9, "AdamW's default"),
    beta2: choose(choices.beta2, 0.999, "AdamW's default"),
    eps: choose(choices.eps, 1e-8, "AdamW's default"),
    weightDecay: choose(choices.weightDecay, 0.01, "AdamW's default; 0.0001 to 0.1 make no difference"),
    maxGradNorm: choose(choices.maxGradNorm, 1, "one bad batch cannot throw the adapter off"),
  };
}

export function decidePictures(dataset: DatasetFacts, base: BaseFacts, family: RecipeFamily, choices: UserChoices) {
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
    recompute: choose(choices.recompute, false, "activations are kept: the fastest, where memory is enough"),
    flip: choose(choices.flip, false, "a mirrored subject may be a wrong one; switch it on for symmetric ones"),
    alphaAsMask: choose(choices.alphaAsMask, false, "transparent parts become white"),
  };
}

export function decideObjective(base: BaseFacts, recipe: Recipe, choices: UserChoices) {
  const { scheduleReason = "as the base's scheduler_config.json says" } = base;
  return {
    captionDropout: choose(
      choices.captionDropout,
      recipe.captionDropout,
      recipe.captionDropout > 0 ? "a style must hold without words too" : "every word counts",
    ),
    predictionType: choose(choices.predictionType, base.schedule.predictionType, scheduleReason),
    zeroTerminalSnr: choose(
      choices.zeroTerminalSnr,
      base.schedule.zeroTerminalSnr ?? false,
      base.schedule.zeroTerminalSnr ? `${scheduleReason}: the schedule ends in pure noise` : scheduleReason,
    ),
    minSnrGamma: choose(choices.minSnrGamma, recipe.minSnrGamma, "min-SNR (Hang et al. 2023) evens out the timesteps"),
    noiseOffset: choose(choices.noiseOffset, 0, "only needed for very dark or bright pictures"),
  };
}

export function decideMeasuring(
  dataset: DatasetFacts,
  base: BaseFacts,
  steps: number,
  family: RecipeFamily,
  choices: UserChoices,
) {
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

/** What was found of the machine; the CPU where nothing was. */
export function decideEngine(
  device: DeviceFacts | undefined,
): Pick<PlannedSettings, "engine" | "device" | "precision" | "python" | "gpus" | "basePrecision"> {
  const reason = device?.reason ?? "the CPU";
  const precision = device?.precision ?? "float32";
  return {
    engine: { value: device?.engine === "torch" ? "torch" : "ort", reason },
    device: { value: device?.device ?? "cpu", reason },
    precision: { value: precision, reason: device?.precisionReason ?? "what the CPU engine computes in" },
    python: { value: device?.python ?? null, reason },
    gpus: { value: device?.gpus ?? 1, reason: device?.gpusReason ?? "one device" },
    basePrecision: {
      value: device?.basePrecision ?? precision,
      reason: device?.basePrecisionReason ?? "the precision that it is computed with",
    },
  };
}
