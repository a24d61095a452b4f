/** The options of gesso train, and what they tell the planner; which values can be had is the planner's to say. */
import {
  basePrecisions,
  type EngineRequest,
  engineNames,
  loraTypes,
  precisions,
  targetSets,
  type UserChoices,
} from "../index.ts";
import { baseOptions } from "./base-options.ts";
import { type OptionTable, type OptionValues, optionalOneOf } from "./command.ts";

const schedules = ["constant", "cosine"] as const;

const what = {
  base: baseOptions.base,
  type: { kind: "text", value: "KIND", about: "What to teach.", default: "concept", choices: loraTypes },
  trigger: { kind: "text", value: "WORD", about: "Word that calls up what was learnt; put in front of captions that lack it." },
  name: {
    kind: "text",
    value: "NAME",
    about: "Name of the run and of its result.",
    default: "the trigger word, or the dataset's name",
  },
  out: { kind: "text", value: "DIR", about: "Folder that the run's own folder is made in.", default: "runs" },
  "skip-broken": { kind: "switch", about: "Leave pictures out that cannot be used, instead of stopping." },
  flip: { kind: "switch", about: "Show every picture mirrored too, half of the time." },
} as const satisfies OptionTable;

const howBase = {
  vae: baseOptions.vae,
  family: baseOptions.family,
  variant: baseOptions.variant,
} as const satisfies OptionTable;

const howLong = {
  steps: { kind: "integer", value: "N", about: "Training steps.", default: "by the number of pictures", min: 1 },
  batch: { kind: "integer", value: "N", about: "Pictures at once.", min: 1 },
  accumulate: { kind: "integer", value: "N", about: "Batches in a step.", default: "1", min: 1 },
  "checkpoint-every": { kind: "integer", value: "N", about: "Steps between checkpoints.", default: "a tenth of them" },
  "validate-every": {
    kind: "integer",
    value: "N",
    about: "Steps between measurements of the loss; 0 measures at the end.",
    default: "a tenth of them",
  },
  "preview-every": { kind: "integer", value: "N", about: "Steps between preview sheets; 0 draws one at the end." },
  "no-previews": { kind: "switch", about: "Draw no preview sheets: less time, and less memory." },
  "held-out": {
    kind: "number",
    value: "SHARE",
    about: "Share of the pictures that is only measured on: 0 to 0.5.",
    default: "0.12",
  },
} as const satisfies OptionTable;

const adapter = {
  rank: {
    kind: "integer",
    value: "N",
    about: "Size of the adapter: more holds more detail, and learns by heart sooner.",
    min: 1,
  },
  alpha: { kind: "number", value: "N", about: "Strength: the adapter acts with alpha / rank." },
  targets: { kind: "text", value: "SET", about: "Layers that get an adapter.", default: "attention+ff", choices: targetSets },
  "continue-from": { kind: "text", value: "FILE", about: "Adapter file to go on from, in a new run." },
} as const satisfies OptionTable;

const advanced = {
  seed: { kind: "integer", value: "N", about: "The same seed gives the same run.", default: "42", min: 0 },
  resolution: {
    kind: "integer",
    value: "PX",
    about: "Pictures are scaled to the area of a square of this side.",
    default: "the base's own",
    min: 8,
  },
  "learning-rate": { kind: "number", value: "X", about: "Of the UNet's adapter.", default: "by base, kind and batch", min: 0 },
  "text-encoder-learning-rate": {
    kind: "number",
    value: "X",
    about: "Of the text encoders' adapters; 0 leaves them alone.",
    min: 0,
  },
  "text-encoder-2-learning-rate": {
    kind: "number",
    value: "X",
    about: "Of the second text encoder's, where it is to differ.",
    default: "the first's",
  },
  schedule: { kind: "text", value: "KIND", about: "How the learning rate goes on.", choices: schedules },
  warmup: { kind: "integer", value: "STEPS", about: "Steps over which the learning rate rises from 0." },
  "max-grad-norm": {
    kind: "number",
    value: "X",
    about: "Longest gradient; longer ones are shortened. 0 is no limit.",
    default: "1",
  },
  "min-snr-gamma": {
    kind: "number",
    value: "X",
    about: "Limit on the weight of steps with little noise; 0 is none.",
    default: "5",
  },
  "noise-offset": { kind: "number", value: "X", about: "Makes very dark and bright pictures easier; up to 0.1.", default: "0" },
  "max-caption-tokens": {
    kind: "integer",
    value: "N",
    about: "How much of a caption is read: 75, 150 or 225 tokens; 30, 60 or 90 for mini.",
    default: "what the longest needs",
  },
  "clip-skip": {
    kind: "integer",
    value: "N",
    about: "Layer of SD 1.5's text encoder, from the end: 1, or 2 as bases for anime want.",
    default: "1; 2 for anime models",
  },
  "caption-dropout": { kind: "number", value: "SHARE", about: "How often a caption is left empty: 0 to 1." },
} as const satisfies OptionTable;

/** What computes; gesso sample has the same. */
export const engineOptions = {
  engine: {
    kind: "text",
    value: "NAME",
    about: "What computes.",
    default: "auto: torch where one with a GPU is found, else ort, the CPU",
    choices: engineNames,
  },
  python: { kind: "text", value: "PATH", about: "Python with PyTorch, for the torch engine." },
  device: { kind: "text", value: "NAME", about: "Where the torch engine computes: cpu, cuda, cuda:1, mps.", default: "a GPU" },
  precision: {
    kind: "text",
    value: "KIND",
    about: "Of base weights and activations.",
    default: "bfloat16 on cards that have it",
    choices: precisions,
  },
} as const satisfies OptionTable;

/** What a plan decides of the engine besides. */
const trainingEngine = {
  "base-precision": {
    kind: "text",
    value: "KIND",
    about:
      "Keep the UNet's frozen weights in int8 or nf4: a half or a quarter of the memory that bfloat16 takes, at some loss; with the torch engine.",
    default: "as precision",
    choices: basePrecisions,
  },
  gpus: {
    kind: "integer",
    value: "N",
    about: "GPUs that share each step, every one with a batch of its own; with the torch engine.",
    default: "1",
    min: 1,
  },
} as const satisfies OptionTable;

const recompute = {
  kind: "switch",
  about: "Compute activations again instead of keeping them (gradient checkpointing): far less memory, a third more work.",
} as const satisfies OptionTable[string];

const running = {
  ...engineOptions,
  ...trainingEngine,
  torchrun: {
    kind: "text",
    value: "ARGS",
    about: 'Arguments for torchrun, to share steps with other machines: "--nnodes 2 --node-rank 0 ..." (docs/engines.md).',
  },
  recompute,
  resume: { kind: "text", value: "DIR", about: "Go on with the stopped run in this folder, exactly where it stood." },
  yes: { kind: "switch", about: "Do not ask, and begin in spite of errors." },
  strict: { kind: "switch", about: "Do not begin when there are warnings." },
  "no-preflight": { kind: "switch", about: "Begin without having tried a step, a preview and a checkpoint." },
  json: { kind: "switch", about: "Print events as JSON, one a line, and nothing else." },
} as const satisfies OptionTable;

const prices = {
  kind: "text",
  value: "FILE",
  about: "Table of GPU prices of your own, as JSON.",
  default: "the one that comes with Gesso",
} as const satisfies OptionTable[string];

export const trainOptions = { ...what, ...howBase, ...howLong, ...adapter, ...advanced, ...running, prices } as const;

/** The same settings; nothing is run. */
export const planOptions = {
  ...what,
  ...howBase,
  ...howLong,
  ...adapter,
  ...advanced,
  ...engineOptions,
  ...trainingEngine,
  recompute,
  prices,
  json: { kind: "switch", about: "Print plan, forecast and costs as JSON." },
} as const;

/** Help's headings, by the option that each stands above. */
export const trainHeadings: Readonly<Partial<Record<keyof typeof trainOptions & keyof typeof planOptions, string>>> = {
  base: "What to learn",
  vae: "How to read the base model",
  steps: "How long, and how often to look",
  rank: "The adapter",
  seed: "Advanced",
  engine: "Running",
};

export type TrainOptions = OptionValues<typeof trainOptions>;

/** The options that are settings of the plan as they stand. */
export function readSettings(options: TrainOptions): Partial<UserChoices> {
  return {
    trigger: options.trigger,
    skipBroken: options["skip-broken"],
    flip: options.flip,
    recompute: options.recompute,
    steps: options.steps,
    batch: options.batch,
    accumulation: options.accumulate,
    checkpointEvery: options["checkpoint-every"],
    validateEvery: options["validate-every"],
    previewEvery: options["preview-every"],
    previewPrompts: options["no-previews"] === true ? [] : undefined,
    heldOutFraction: options["held-out"],
    targets: optionalOneOf(options.targets, targetSets),
    seed: options.seed,
    resolutionPx: options.resolution,
    learningRate: options["learning-rate"],
    textEncoderLearningRate: options["text-encoder-learning-rate"],
    textEncoder2LearningRate: options["text-encoder-2-learning-rate"],
    schedule: optionalOneOf(options.schedule, schedules),
    warmupSteps: options.warmup,
    maxGradNorm: options["max-grad-norm"],
    minSnrGamma: options["min-snr-gamma"],
    noiseOffset: options["noise-offset"],
    captionDropout: options["caption-dropout"],
    maxCaptionTokens: options["max-caption-tokens"],
    clipSkip: options["clip-skip"],
  };
}

/** The engine that was asked for, for training. */
export function readTrainingEngine(options: OptionValues<typeof planOptions> & Pick<TrainOptions, "torchrun">): EngineRequest {
  const basePrecision = optionalOneOf(options["base-precision"], basePrecisions);
  return { ...readEngine(options), basePrecision, gpus: options.gpus, torchrun: options.torchrun };
}

/** The engine that was asked for. */
export function readEngine(options: OptionValues<typeof engineOptions>): EngineRequest {
  return {
    engine: optionalOneOf(options.engine, engineNames),
    python: options.python,
    device: options.device,
    precision: optionalOneOf(options.precision, precisions),
  };
}
