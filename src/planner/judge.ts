/** What is likely to go wrong with a plan, in the user's words. */
import { type BaseFacts, type DatasetFacts, type DeviceFacts, picturesPerStep, type TrainSettings } from "./plan.ts";
import type { RecipeFamily } from "./recipes.ts";

interface Rule {
  readonly applies: (settings: TrainSettings, dataset: DatasetFacts, base: BaseFacts, family: RecipeFamily) => boolean;
  readonly text: (settings: TrainSettings, dataset: DatasetFacts, base: BaseFacts) => string;
}

/** Mean of the learning rate over its peak. */
const meanRate = { constant: 1, cosine: 0.55 } as const;

/** How far a plan moves the weights: rate x sqrt(alpha x batch) x steps. Published recipes lie between 0.1 and 3. */
function dose(settings: TrainSettings): number {
  const { learningRate, schedule, alpha, steps } = settings;
  return learningRate * meanRate[schedule] * Math.sqrt(alpha * picturesPerStep(settings)) * steps;
}

/** Long and with few commas, as Civitai's trainer tells sentences from tags. */
function isSentence(caption: string): boolean {
  return caption.length > 80 && caption.split(",").length - 1 < caption.length * 0.05;
}

function highestTextRate({ textEncoderLearningRate, textEncoder2LearningRate }: TrainSettings): number {
  return Math.max(textEncoderLearningRate, textEncoder2LearningRate);
}

const rules: readonly Rule[] = [
  {
    applies: ({ alpha, rank }) => alpha > rank,
    text: ({ alpha, rank }) =>
      `Alpha ${alpha} is above rank ${rank}: the adapter acts more strongly than usual. Lower it, or the learning rate.`,
  },
  {
    applies: ({ rank }, { pictures }) => rank >= 64 && pictures < 30,
    text: ({ rank }, { pictures }) => `Rank ${rank} with ${pictures} pictures learns them by heart. 16 or 32 is enough.`,
  },
  {
    applies: (settings, _dataset, _base, family) => family !== "mini" && dose(settings) < 0.1,
    text: ({ steps, learningRate }) => `${steps} steps at ${learningRate} will probably be too little to see.`,
  },
  {
    applies: (settings, _dataset, _base, family) => family !== "mini" && dose(settings) > 3,
    text: ({ steps, learningRate }) => `${steps} steps at ${learningRate} will probably be too much: keep an early checkpoint.`,
  },
  {
    applies: (settings) => highestTextRate(settings) > settings.learningRate / 3,
    text: (settings) =>
      `The text encoder's rate ${highestTextRate(settings)} is more than a third of the UNet's: it tends to forget other words.`,
  },
  {
    applies: ({ warmupSteps, steps }) => warmupSteps >= steps,
    text: ({ warmupSteps, steps }) =>
      `The warm-up of ${warmupSteps} steps does not end within ${steps}: the learning rate is never reached.`,
  },
  {
    applies: ({ noiseOffset }) => noiseOffset > 0.1,
    text: ({ noiseOffset }) => `Noise offset ${noiseOffset} above 0.1 gives harsh contrast.`,
  },
  {
    applies: ({ noiseOffset, predictionType }) => noiseOffset > 0 && predictionType === "v_prediction",
    text: () => "A base of v prediction needs no noise offset.",
  },
  {
    applies: ({ predictionType }, _dataset, { schedule }) => predictionType !== schedule.predictionType,
    text: ({ predictionType }, _dataset, { schedule }) =>
      `The base predicts ${schedule.predictionType}; training it as ${predictionType} gives noise.`,
  },
  {
    applies: ({ resolutionPx }, _dataset, { nativeResolutionPx }) => resolutionPx !== nativeResolutionPx,
    text: ({ resolutionPx }, _dataset, { nativeResolutionPx }) =>
      `The base was made for ${nativeResolutionPx} px, not ${resolutionPx}.`,
  },
  {
    applies: ({ flip, type }) => flip && type === "character",
    text: () => "Mirrored pictures make a character symmetric: partings, badges and writing suffer.",
  },
  {
    applies: (settings, { pictures }) => picturesPerStep(settings) > pictures,
    text: (settings, { pictures }) =>
      `${picturesPerStep(settings)} pictures a step, of ${pictures}: steps will hold a picture twice.`,
  },
  {
    applies: ({ steps, checkpointEvery }) => checkpointEvery > steps / 3,
    text: () => "Few checkpoints: there will be little to choose the best from.",
  },
  {
    applies: (_settings, { pictures }) => pictures < 5,
    text: (_settings, { pictures }) =>
      `${pictures} ${pictures === 1 ? "picture is" : "pictures are"} very few: expect copies of them.`,
  },
  {
    applies: ({ captionStyle }, { captions }, _base, family) =>
      family !== "mini" && captionStyle === "tags" && captions.length > 0 && captions.every(isSentence),
    text: (_settings, { captions }, { name }) =>
      `${name} was trained on tags, but captions are sentences ("${(captions[0] ?? "").slice(0, 40)}..."): write tags, separated by commas.`,
  },
  {
    applies: ({ trigger, type }) => trigger === null && type !== "style",
    text: ({ type }) => `A ${type} without a trigger word acts on every picture. Give one with --trigger.`,
  },
];

/** Warnings about a plan, each saying what to do. */
export function judge(
  settings: TrainSettings,
  dataset: DatasetFacts,
  base: BaseFacts,
  family: RecipeFamily,
  device: DeviceFacts | undefined,
): readonly string[] {
  const found = rules
    .filter(({ applies }) => applies(settings, dataset, base, family))
    .map(({ text }) => text(settings, dataset, base));
  const isOnCpu = device !== undefined && (device.device ?? "cpu") === "cpu";
  const isSlow = isOnCpu && family !== "mini";
  return isSlow ? [...found, `${base.name} will take very long on the processor alone, which is meant for mini.`] : found;
}
