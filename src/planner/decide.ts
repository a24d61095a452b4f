/** What a run is on and what is trained: the user's choice, or the recipe's value for this base, with reason and source. */
import { UserError } from "../errors.ts";
import { lineages } from "../models/lineages.ts";
import type { BaseFacts, DatasetFacts, DeviceFacts, Planned, PlannedSettings, UserChoices } from "./plan.ts";
import type { Recipe } from "./recipes.ts";
import { from, sources } from "./sources.ts";
import { findTrainedTargets, widthOf } from "./targets.ts";

/** The reason of a value that the user gave. */
export const asked = "you chose it";

/** The user's choice where there is one. */
export function choose<T>(chosen: T | undefined, value: T, reason: string, source: string): Planned<T> {
  return chosen === undefined ? { value, reason, source } : { value: chosen, reason: asked, source: sources.user };
}

export function decidePlaces(dataset: DatasetFacts, base: BaseFacts, choices: UserChoices) {
  const { user, gesso } = sources;
  return {
    name: { value: choices.name, reason: "the result's name", source: user },
    datasetFolder: { value: dataset.folder, reason: asked, source: user },
    runFolder: { value: choices.runFolder, reason: "where the run is kept", source: user },
    cacheFolder: {
      value: choices.cacheFolder,
      reason: "latents and text embeddings are kept for the next run on the same pictures",
      source: gesso,
    },
    base: { value: choices.base ?? base.folder, reason: base.name, source: user },
    baseHash: { value: base.hashes.all, reason: "so that a resumed run is on the same base", source: sources.base },
    type: { value: choices.type, reason: "what the adapter is to teach", source: user },
    trigger: choose(choices.trigger, null, "none was given: the adapter acts without a word", gesso),
    defaultCaption: choose(choices.defaultCaption, "", "pictures without a caption get the trigger word alone", gesso),
    skipBroken: choose(choices.skipBroken, false, "a picture that cannot be used stops the run before it begins", gesso),
    seed: choose(choices.seed, 42, "any number does; the same one gives the same run", gesso),
    continueFrom: choose(choices.continueFrom, null, "a fresh adapter", gesso),
  };
}

/** What follows from what the base was trained from. */
export function decideBase(base: BaseFacts) {
  const { name, reason } = base.lineage ?? { name: base.family, reason: "its keys and shapes" };
  const { captions, captionAdvice } = lineages[name];
  const source = sources.base;
  return {
    baseOptions: { value: base.openedWith ?? {}, reason: "so that a resumed run opens the base in the same way", source },
    lineage: { value: name, reason, source },
    captionStyle: { value: captions, reason: captionAdvice, source: "the base's model card" },
  };
}

/** Each text encoder's rate; 0 leaves it alone. */
export function decideTextEncoders(base: BaseFacts, recipe: Recipe, choices: UserChoices) {
  const { textEncoderLearningRate: usual, learningRate } = recipe;
  const first = choose(
    choices.textEncoderLearningRate,
    usual,
    usual === 0 ? "text encoders are left alone: they tend to forget" : `1/${Math.round(learningRate / usual)} of the UNet's`,
    recipe.sources.textEncoder,
  );
  if (base.textEncoders.some(({ name }) => name === "text_encoder_2")) {
    const why = "the same as the first text encoder's";
    const second = choose(choices.textEncoder2LearningRate, first.value, why, first.source ?? sources.gesso);
    return { textEncoderLearningRate: first, textEncoder2LearningRate: second };
  }
  if (choices.textEncoder2LearningRate !== undefined) {
    throw new UserError(`${base.name} has one text encoder: there is no second one to give a learning rate.`, {
      fix: "Leave --text-encoder-2-learning-rate out.",
      exitCode: 2,
    });
  }
  const none = { value: 0, reason: "the base has one text encoder", source: sources.base };
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
    from("demystifying"),
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
  const isNarrow = recipe.rank > limit;
  const rank = choose(
    choices.rank,
    Math.min(recipe.rank, limit),
    isNarrow ? `the narrowest layer is ${limit} wide` : `usual for a ${choices.type} on this base`,
    isNarrow ? sources.base : recipe.sources.adapter,
  );
  const isSmall = rank.value < recipe.alpha;
  const alpha = choose(
    choices.alpha,
    Math.min(recipe.alpha, rank.value),
    isSmall ? "no more than the rank" : "the learning rate belongs to this alpha, whatever the rank",
    isSmall ? from("holo") : recipe.sources.adapter,
  );
  return { targets, rank, alpha };
}

/** What was found of the machine; the CPU where nothing was. */
export function decideEngine(
  device: DeviceFacts | undefined,
): Pick<PlannedSettings, "engine" | "device" | "precision" | "python" | "gpus" | "basePrecision"> {
  const reason = device?.reason ?? "the CPU";
  const source = sources.device;
  const precision = device?.precision ?? "float32";
  return {
    engine: { value: device?.engine === "torch" ? "torch" : "ort", reason, source },
    device: { value: device?.device ?? "cpu", reason, source },
    precision: { value: precision, reason: device?.precisionReason ?? "what the CPU engine computes in", source },
    python: { value: device?.python ?? null, reason, source },
    gpus: { value: device?.gpus ?? 1, reason: device?.gpusReason ?? "one device", source },
    basePrecision: {
      value: device?.basePrecision ?? precision,
      reason: device?.basePrecisionReason ?? "the precision that it is computed with",
      source,
    },
  };
}
