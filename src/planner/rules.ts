/** The rules that a plan is judged by: what is refused, what is warned of, why, and what to do instead. One table. */
import { networkUnitPx } from "./decide-training.ts";
import { doseBands, doseOf } from "./dose.ts";
import {
  type BaseFacts,
  type DatasetFacts,
  type DeviceFacts,
  picturesPerStep,
  type TrainSettings,
  type UserChoices,
} from "./plan.ts";
import type { RecipeFamily } from "./recipes.ts";
import { from, heuristic } from "./sources.ts";

/** error: the run would be wasted, and is not begun unless the user insists; warning: the result will probably suffer. */
export type RuleSeverity = "error" | "warning";

/** What a rule has found in a plan. */
export interface PlanFinding {
  readonly id: string;
  readonly severity: RuleSeverity;
  /** One or two sentences with the numbers. */
  readonly message: string;
  readonly mend: string;
  /** Why it matters. */
  readonly reason: string;
  readonly source: string;
}

/** Everything that rules may look at. */
export interface RuleInput {
  readonly settings: TrainSettings;
  readonly choices: UserChoices;
  readonly dataset: DatasetFacts;
  readonly base: BaseFacts;
  readonly family: RecipeFamily;
  readonly device: DeviceFacts | undefined;
}

export interface PlanRule extends Omit<PlanFinding, "message"> {
  readonly title: string;
  /** What is wrong, with the numbers; undefined where nothing is. */
  readonly find: (input: RuleInput) => string | undefined;
}

/** Limits that rules hold plans against. */
export const limits = {
  /** A rank from this on, with fewer pictures than the next, learns them by heart. */
  highRank: 64,
  picturesForHighRank: 30,
  /** The text encoder's rate over the UNet's. */
  textRateShare: 1 / 3,
  noiseOffset: 0.1,
  /** The share of a run between two checkpoints. */
  checkpointShare: 1 / 3,
  fewestPictures: 5,
  /** From this many pictures on, some can be held out. */
  picturesForHoldOut: 15,
} as const;

const error = "error";
const warning = "warning";

export const planRules: readonly PlanRule[] = [
  {
    id: "prediction.mismatch",
    severity: error,
    title: "prediction type is not the base's",
    reason: "A base that predicts velocity, trained as if it predicted noise, draws noise, and the other way round.",
    mend: "Name the base's --family, or leave it out.",
    source: from("kohya"),
    find: ({ settings: { predictionType }, base: { schedule } }) =>
      predictionType === schedule.predictionType
        ? undefined
        : `The base predicts ${schedule.predictionType}; training it as ${predictionType} gives noise.`,
  },
  {
    id: "buckets.step",
    severity: error,
    title: "bucket sizes that the network cannot halve",
    reason:
      "The network halves the latents several times; a size that does not divide evenly stops the run at its first picture.",
    mend: "Give a multiple.",
    source: from("kohya"),
    find({ settings: { bucketStepPx }, base }) {
      const unit = networkUnitPx(base);
      return bucketStepPx % unit === 0
        ? undefined
        : `Bucket sides in steps of ${bucketStepPx} px are no multiples of ${unit} px, which ${base.name} needs.`;
    },
  },
  {
    id: "batch.pictures",
    severity: error,
    title: "more pictures a step than an epoch shows",
    reason: "Every step would hold pictures several times: the same as a smaller batch, at the price of the large one.",
    mend: "Lower --batch or --accumulate.",
    source: from("simpleTuner"),
    find({ settings, dataset }) {
      const [perStep, shown] = [picturesPerStep(settings), trainedShare(settings) * dataset.picturesPerEpoch];
      return perStep > Math.max(1, Math.round(shown))
        ? `${perStep} pictures a step, of ${Math.round(shown)} that an epoch shows in training.`
        : undefined;
    },
  },
  {
    id: "adapter.alpha",
    severity: warning,
    title: "alpha above rank",
    reason: "The adapter acts with alpha over rank; above 1 the usual learning rates are too high.",
    mend: "Lower it, or the learning rate.",
    source: from("lycoris"),
    find: ({ settings: { alpha, rank } }) =>
      alpha > rank ? `Alpha ${alpha} is above rank ${rank}: the adapter acts more strongly than usual.` : undefined,
  },
  {
    id: "adapter.rank",
    severity: warning,
    title: "high rank with few pictures",
    reason: "Room that the subject does not need is filled with the pictures themselves.",
    mend: "16 or 32 is enough.",
    source: heuristic("civitai"),
    find: ({ settings: { rank }, dataset: { pictures } }) =>
      rank >= limits.highRank && pictures < limits.picturesForHighRank
        ? `Rank ${rank} with ${pictures} pictures learns them by heart.`
        : undefined,
  },
  {
    id: "dose.low",
    severity: warning,
    title: `dose index below ${doseBands.tooLittle}`,
    reason: "The weights move less than in any recipe that people are content with.",
    mend: "Take more --steps, or a higher --learning-rate.",
    source: heuristic(),
    find: ({ settings, family }) =>
      family !== "mini" && doseOf(settings) < doseBands.tooLittle
        ? `${settings.steps} steps at ${settings.learningRate} will probably be too little to see (dose ${showDose(settings)}).`
        : undefined,
  },
  {
    id: "dose.high",
    severity: warning,
    title: `dose index above ${doseBands.tooMuch}`,
    reason: "The weights move further than in any recipe in use: colours burn and prompts are forgotten.",
    mend: "Keep an early checkpoint, or lower --steps or --learning-rate.",
    source: heuristic(),
    find: ({ settings, family }) =>
      family !== "mini" && doseOf(settings) > doseBands.tooMuch
        ? `${settings.steps} steps at ${settings.learningRate} will probably be too much (dose ${showDose(settings)}).`
        : undefined,
  },
  {
    id: "text-encoder.rate",
    severity: warning,
    title: "text encoder learns nearly as fast as the UNet",
    reason: "Text encoders overfit first: other words lose their meaning before the subject is learnt.",
    mend: "Give it a fifth to a tenth of the UNet's.",
    source: from("kohya", "holo"),
    find({ settings }) {
      const highest = Math.max(settings.textEncoderLearningRate, settings.textEncoder2LearningRate);
      return highest > settings.learningRate * limits.textRateShare
        ? `The text encoder's rate ${highest} is more than a third of the UNet's: it tends to forget other words.`
        : undefined;
    },
  },
  {
    id: "clip-skip.sdxl",
    severity: warning,
    title: "clip skip on SDXL",
    reason: "SDXL reads the second-to-last layer of both text encoders, whatever is asked for.",
    mend: "Leave --clip-skip out.",
    source: from("kohya"),
    find: ({ choices, base }) =>
      choices.clipSkip !== undefined && base.family === "sdxl" ? "A clip skip changes nothing on SDXL." : undefined,
  },
  {
    id: "warmup.long",
    severity: warning,
    title: "warm-up longer than the run",
    reason: "The rate that was chosen is never reached.",
    mend: "Lower --warmup to a twentieth of the steps.",
    source: heuristic("holo"),
    find: ({ settings: { warmupSteps, steps } }) =>
      warmupSteps >= steps && warmupSteps > 0
        ? `The warm-up of ${warmupSteps} steps does not end within ${steps}: the learning rate is never reached.`
        : undefined,
  },
  {
    id: "noise-offset.high",
    severity: warning,
    title: `noise offset above ${limits.noiseOffset}`,
    reason: "A large offset teaches harsh contrast, whatever the pictures show.",
    mend: "Give 0.03 to 0.1, or 0.",
    source: from("civitai"),
    find: ({ settings: { noiseOffset } }) =>
      noiseOffset > limits.noiseOffset ? `Noise offset ${noiseOffset} above 0.1 gives harsh contrast.` : undefined,
  },
  {
    id: "noise-offset.v-prediction",
    severity: warning,
    title: "noise offset on a v-prediction base",
    reason: "Such a schedule ends in pure noise: the base can draw dark and bright pictures already.",
    mend: "Give --noise-offset 0.",
    source: from("zeroSnr"),
    find: ({ settings: { noiseOffset, predictionType } }) =>
      noiseOffset > 0 && predictionType === "v_prediction" ? "A base of v prediction needs no noise offset." : undefined,
  },
  {
    id: "resolution.other",
    severity: warning,
    title: "resolution is not the base's",
    reason: "Away from its own size a base repeats limbs and loses detail; the adapter learns that too.",
    mend: "Leave --resolution out, unless memory or time forces it.",
    source: from("kohya"),
    find: ({ settings: { resolutionPx }, base: { nativeResolutionPx } }) =>
      resolutionPx === nativeResolutionPx ? undefined : `The base was made for ${nativeResolutionPx} px, not ${resolutionPx}.`,
  },
  {
    id: "flip.character",
    severity: warning,
    title: "mirrored pictures of a character",
    reason: "Partings, badges and writing are on one side; a mirrored set teaches both.",
    mend: "Leave --flip out.",
    source: from("kohya"),
    find: ({ settings: { flip, type } }) =>
      flip && type === "character"
        ? "Mirrored pictures make a character symmetric: partings, badges and writing suffer."
        : undefined,
  },
  {
    id: "batch.repeats",
    severity: warning,
    title: "more pictures a step than there are",
    reason: "A step that holds a picture twice learns no more from it.",
    mend: "Lower --batch or --accumulate.",
    source: from("simpleTuner"),
    find({ settings, dataset: { pictures, picturesPerEpoch } }) {
      const perStep = picturesPerStep(settings);
      return perStep > pictures && perStep <= Math.round(trainedShare(settings) * picturesPerEpoch)
        ? `${perStep} pictures a step, of ${pictures}: steps will hold a picture twice.`
        : undefined;
    },
  },
  {
    id: "steps.epoch",
    severity: warning,
    title: "run ends before every picture was shown",
    reason: "Repeats or a large set make an epoch longer than the run: which pictures count is chance.",
    mend: "Take more --steps, or lower the repeats in the folders' names.",
    source: heuristic("kohya"),
    find({ settings, dataset: { picturesPerEpoch } }) {
      const shown = settings.steps * picturesPerStep(settings);
      return shown < trainedShare(settings) * picturesPerEpoch
        ? `${settings.steps} steps show ${shown} pictures, and an epoch has ${picturesPerEpoch}: some are never shown.`
        : undefined;
    },
  },
  {
    id: "checkpoints.few",
    severity: warning,
    title: "few checkpoints",
    reason: "The best step is rarely the last one, and only what was saved can be chosen.",
    mend: "Lower --checkpoint-every.",
    source: from("civitai"),
    find: ({ settings: { steps, checkpointEvery } }) =>
      checkpointEvery > steps * limits.checkpointShare
        ? "Few checkpoints: there will be little to choose the best from."
        : undefined,
  },
  {
    id: "held-out.none",
    severity: warning,
    title: "nothing held out of a set that is large enough",
    reason: "Without pictures that are only measured on, nothing tells learning from copying.",
    mend: "Leave --held-out out.",
    source: heuristic("kohya"),
    find: ({ settings: { heldOutFraction }, dataset: { pictures } }) =>
      heldOutFraction === 0 && pictures >= limits.picturesForHoldOut
        ? `No picture of ${pictures} is held out: nothing will tell when to stop.`
        : undefined,
  },
  {
    id: "pictures.few",
    severity: warning,
    title: `fewer than ${limits.fewestPictures} pictures`,
    reason: "A handful of pictures is learnt by heart before it is understood.",
    mend: "Expect copies of them, or find more.",
    source: heuristic(),
    find: ({ dataset: { pictures } }) =>
      pictures < limits.fewestPictures ? `${pictures} ${pictures === 1 ? "picture is" : "pictures are"} very few.` : undefined,
  },
  {
    id: "captions.style",
    severity: warning,
    title: "sentences for a base that was trained on tags",
    reason: "The base knows its words as tags, in their spelling and order; sentences are half understood.",
    mend: "Write tags, separated by commas.",
    source: from("civitai"),
    find: ({ settings: { captionStyle }, dataset: { captions }, base: { name }, family }) =>
      family !== "mini" && captionStyle === "tags" && captions.length > 0 && captions.every(isSentence)
        ? `${name} was trained on tags, but captions are sentences ("${(captions[0] ?? "").slice(0, 40)}...").`
        : undefined,
  },
  {
    id: "trigger.missing",
    severity: warning,
    title: "no trigger word",
    reason: "Without a word of its own the subject is tied to whatever the captions say.",
    mend: "Give one with --trigger.",
    source: from("kohya"),
    find: ({ settings: { trigger, type } }) =>
      trigger === null && type !== "style" ? `A ${type} without a trigger word acts on every picture.` : undefined,
  },
  {
    id: "device.processor",
    severity: warning,
    title: "a large base on the processor",
    reason: "A step takes minutes where a GPU takes a second.",
    mend: "Give a Python with PyTorch and a GPU (--python), or train mini.",
    source: from("gesso"),
    find: ({ device, base, family }) =>
      device !== undefined && (device.device ?? "cpu") === "cpu" && family !== "mini"
        ? `${base.name} will take very long on the processor alone.`
        : undefined,
  },
];

/** What is judged by a forecast and by the disks, not by the settings alone; see `prospectRun`. */
export const boundRules = {
  memory: {
    id: "memory.too-small",
    severity: error,
    title: "the run does not fit the device's memory",
    reason: "It would stop at its first step, or at the first of its largest pictures.",
    mend: "See what would fit.",
    source: heuristic(),
  },
  disk: {
    id: "disk.too-small",
    severity: error,
    title: "the disk cannot hold what the run will write",
    reason: "A checkpoint that cannot be written ends the run.",
    mend: "Free some space, give another --out, or raise --checkpoint-every.",
    source: from("gesso"),
  },
} as const satisfies Readonly<Record<string, Omit<PlanRule, "find">>>;

/** A plan with findings that were made later, errors first. */
export function withFindings<P extends { readonly findings?: readonly PlanFinding[] }>(
  plan: P,
  more: readonly PlanFinding[],
): P & { readonly findings: readonly PlanFinding[]; readonly warnings: readonly string[] } {
  const findings = errorsFirst([...more, ...(plan.findings ?? [])]);
  return { ...plan, findings, warnings: findings.map(tellFinding) };
}

function errorsFirst(findings: readonly PlanFinding[]): readonly PlanFinding[] {
  const of = (severity: RuleSeverity) => findings.filter((finding) => finding.severity === severity);
  return [...of(error), ...of(warning)];
}

/** What the rules find in a plan, errors first. */
export function judge(input: RuleInput): readonly PlanFinding[] {
  const found = planRules.flatMap(({ find, id, severity, mend, reason, source }): PlanFinding[] => {
    const message = find(input);
    return message === undefined ? [] : [{ id, severity, message, mend, reason, source }];
  });
  return errorsFirst(found);
}

/** A finding in a line. */
export function tellFinding({ message, mend }: Pick<PlanFinding, "message" | "mend">): string {
  return `${message} ${mend}`;
}

function trainedShare({ heldOutFraction }: TrainSettings): number {
  return 1 - heldOutFraction;
}

function showDose(settings: TrainSettings): string {
  return String(Number(doseOf(settings).toPrecision(2)));
}

/** Long and with few commas, as Civitai's trainer tells sentences from tags. */
function isSentence(caption: string): boolean {
  return caption.length > 80 && caption.split(",").length - 1 < caption.length * 0.05;
}
