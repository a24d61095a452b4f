/** How long, how fast and on what a run trains, and how often it looks: each with its reason and source. */
import { UserError } from "../errors.ts";
import { choose } from "./decide.ts";
import { picturesPerStep } from "./per-step.ts";
import type { BaseFacts, DatasetFacts, UserChoices } from "./plan.ts";
import type { Recipe, RecipeFamily } from "./recipes.ts";
import { from, heuristic, sources } from "./sources.ts";

/** The number of pictures that recipes are given for. */
const RECIPE_PICTURES = 20;

/**
 * Pictures shown in all: the best number grew with the square root of the distinct ones in published runs, not with their number.
 *
 * @example exposuresFor(recipes.sd15.style, 80) is twice the recipe's 4000, which is just within its range
 */
export function exposuresFor({ exposures, exposuresRange: [least, most] }: Recipe, pictures: number): number {
  return Math.min(most, Math.max(least, exposures * Math.sqrt(pictures / RECIPE_PICTURES)));
}

function explainExposures(recipe: Recipe, pictures: number): string {
  const { exposures, exposuresRange } = recipe;
  const shown = Math.round(exposuresFor(recipe, pictures));
  const free = exposures * Math.sqrt(pictures / RECIPE_PICTURES);
  const clamped = free < exposuresRange[0] || free > exposuresRange[1];
  const rule = clamped ? `, kept within ${exposuresRange.join(" to ")}` : "";
  return `${shown} exposures for ${pictures} pictures (${exposures} x sqrt(${pictures}/${RECIPE_PICTURES})${rule})`;
}

export function decideDose(
  dataset: DatasetFacts,
  recipe: Recipe,
  { alpha, gpus }: { readonly alpha: number; readonly gpus: number },
  choices: UserChoices,
) {
  const { pictures } = dataset;
  const batch = decideBatch(pictures, recipe, gpus, choices);
  const accumulation = choose(choices.accumulation, 1, "a larger batch is not needed", sources.gesso);
  const perStep = picturesPerStep({ batch: batch.value, accumulation: accumulation.value, gpus });
  const steps = choose(
    choices.steps,
    Math.max(1, Math.round(exposuresFor(recipe, pictures) / perStep)),
    `${explainExposures(recipe, pictures)}, ${perStep} a step`,
    `${recipe.sources.exposures}; growth: ${from("demystifying")}`,
  );
  return {
    batch,
    accumulation,
    steps,
    learningRate: decideRate(recipe, perStep, alpha, choices),
    schedule: choose(choices.schedule, recipe.schedule, "usual for this kind", recipe.sources.schedule),
    warmupSteps: choose(
      choices.warmupSteps,
      Math.round(steps.value * recipe.warmup),
      recipe.warmup === 0 ? "a constant rate needs none" : `${recipe.warmup * 100} % of the steps`,
      recipe.sources.schedule,
    ),
    beta1: choose(choices.beta1, 0.9, "AdamW's default", from("pytorch")),
    beta2: choose(choices.beta2, 0.999, "AdamW's default", from("pytorch")),
    eps: choose(choices.eps, 1e-8, "AdamW's default", from("pytorch")),
    weightDecay: choose(
      choices.weightDecay,
      0.01,
      "AdamW's default; 0.0001 to 0.1 make no difference",
      from("pytorch", "demystifying"),
    ),
    maxGradNorm: choose(choices.maxGradNorm, 1, "one bad batch cannot throw the adapter off", from("kohya")),
  };
}

/** Of one GPU: the recipe's batch is for all of them together. */
function decideBatch(pictures: number, recipe: Recipe, gpus: number, choices: UserChoices) {
  const all = Math.min(recipe.batch, Math.max(1, pictures));
  const usual = Math.max(1, Math.floor(all / gpus));
  const [why, source] =
    all < recipe.batch ? ["no more than there are pictures", sources.dataset] : ["usual for this base", recipe.sources.batch];
  return choose(choices.batch, usual, gpus === 1 ? why : `on each of ${gpus} GPUs; ${all} in all is ${why}`, source);
}

/** Under AdamW the same speed takes the rate times the square root of the batch, and over that of alpha. */
function decideRate(recipe: Recipe, perStep: number, alpha: number, choices: UserChoices) {
  const factor = Math.sqrt(perStep / recipe.batch) * Math.sqrt(recipe.alpha / alpha);
  const rate = Number((recipe.learningRate * factor).toPrecision(3));
  const { learningRate: source } = recipe.sources;
  if (factor === 1) return choose(choices.learningRate, rate, "usual for this kind", source);
  const why = `${recipe.learningRate} is usual at batch ${recipe.batch} and alpha ${recipe.alpha}; scaled by their square roots`;
  return choose(choices.learningRate, rate, why, `${source}; scaling: ${from("lycoris", "demystifying")}`);
}

/** All sides of pictures are multiples of this many pixels: the network halves the latents so often. */
export function networkUnitPx({ pixelsPerLatent, unet }: Pick<BaseFacts, "pixelsPerLatent" | "unet">): number {
  return pixelsPerLatent * 2 ** (unet.downBlocks.length - 1);
}

export function decidePictures(dataset: DatasetFacts, base: BaseFacts, family: RecipeFamily, choices: UserChoices) {
  const step = Math.max(networkUnitPx(base), family === "mini" ? 1 : 64);
  const isMini = family === "mini";
  return {
    resolutionPx: choose(choices.resolutionPx, base.nativeResolutionPx, "what the base was made for", sources.base),
    bucketStepPx: choose(choices.bucketStepPx, step, "sides that the networks halve evenly", from("kohya")),
    maxAspect: choose(
      choices.maxAspect,
      dataset.maxAspect > 2 ? 4 : 2,
      `the longest picture is ${dataset.maxAspect.toFixed(2)} to 1`,
      sources.dataset,
    ),
    noUpscale: choose(
      choices.noUpscale,
      !isMini,
      isMini ? "small pictures are enlarged to the base's own size" : "enlarged pictures teach blur",
      from("kohya"),
    ),
    recompute: choose(choices.recompute, false, "activations are kept: the fastest, where memory is enough", sources.gesso),
    flip: choose(choices.flip, false, "a mirrored subject may be a wrong one; switch it on for symmetric ones", from("kohya")),
    alphaAsMask: choose(choices.alphaAsMask, false, "transparent parts become white", sources.gesso),
  };
}

export function decideObjective(base: BaseFacts, recipe: Recipe, choices: UserChoices) {
  const { scheduleReason = "as the base's scheduler_config.json says" } = base;
  const { captionDropout, minSnrGamma, noiseOffset } = recipe;
  return {
    captionDropout: choose(
      choices.captionDropout,
      captionDropout,
      captionDropout > 0 ? "a style must hold without words too" : "every word counts",
      captionDropout > 0 ? recipe.sources.captionDropout : heuristic(),
    ),
    predictionType: choose(choices.predictionType, base.schedule.predictionType, scheduleReason, sources.base),
    zeroTerminalSnr: choose(
      choices.zeroTerminalSnr,
      base.schedule.zeroTerminalSnr ?? false,
      base.schedule.zeroTerminalSnr ? `${scheduleReason}: the schedule ends in pure noise` : scheduleReason,
      sources.base,
    ),
    minSnrGamma: choose(
      choices.minSnrGamma,
      minSnrGamma,
      minSnrGamma > 0
        ? "min-SNR (Hang et al. 2023) evens out the timesteps"
        : "Pony is trained without it; HoloStrawberry's XL colab has 8",
      recipe.sources.minSnr,
    ),
    noiseOffset: choose(
      choices.noiseOffset,
      noiseOffset,
      noiseOffset > 0 ? "lets dark and bright pictures be dark and bright" : "only needed for very dark or bright pictures",
      recipe.sources.noiseOffset,
    ),
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
  const scale = base.schedule.trainTimesteps / 1000;
  const { demystifying } = sources;
  return {
    heldOutFraction: choose(
      choices.heldOutFraction,
      dataset.pictures < 6 ? 0 : 0.12,
      dataset.pictures < 6 ? "too few pictures to spare one" : "about one picture in eight tells when to stop",
      from("kohya"),
    ),
    heldOut: choose(choices.heldOut, null, "by the seed, when the run begins", sources.gesso),
    validationTimesteps: choose(
      choices.validationTimesteps,
      [100, 250, 400, 600].map((t) => Math.round(t * scale)),
      "where over-training shows first",
      demystifying,
    ),
    validateEvery: choose(choices.validateEvery, tenth, "ten times a run", heuristic("civitai")),
    checkpointEvery: choose(choices.checkpointEvery, tenth, "ten a run, so that the best one can be kept", from("civitai")),
    ...decidePreviews(dataset, base, steps, family, choices),
  };
}

function decidePreviews(dataset: DatasetFacts, base: BaseFacts, steps: number, family: RecipeFamily, choices: UserChoices) {
  const isMini = family === "mini";
  const isOff = choices.previewPrompts?.length === 0;
  if (isOff && choices.previewEvery !== undefined) {
    throw new UserError("Without previews there are no steps between them.", {
      fix: "Leave out --no-previews or --preview-every.",
      exitCode: 2,
    });
  }
  const every = isMini ? Math.ceil(steps / 2) : Math.max(1, Math.round(steps / 5));
  return {
    previewEvery: isOff
      ? { value: 0, reason: "there are no previews", source: sources.gesso }
      : choose(choices.previewEvery, every, isMini ? "halfway and at the end" : "five sheets a run", heuristic()),
    previewPrompts: choose(
      choices.previewPrompts,
      dataset.captions.slice(0, 3),
      "the first captions of the dataset",
      sources.dataset,
    ),
    previewSteps: choose(choices.previewSteps, isMini ? 20 : 25, "enough for DPM++ 2M", from("diffusers")),
    previewGuidance: choose(
      choices.previewGuidance,
      isMini ? 5 : 7,
      "usual for this base",
      isMini ? from("measured") : from("diffusers"),
    ),
    previewSizePx: choose(choices.previewSizePx, base.nativeResolutionPx, "what the base was made for", sources.base),
  };
}
