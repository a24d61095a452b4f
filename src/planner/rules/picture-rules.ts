/** Rules on the pictures, their captions, and how often they are shown. */
import { networkUnitPx } from "../decide-training.ts";
import { limits } from "../limits.ts";
import { from, heuristic } from "../sources.ts";
import { picturesPerStep } from "../per-step.ts";
import type { TrainSettings } from "../plan.ts";
import type { PlanRule } from "./rule.ts";

export const pictureRules: readonly PlanRule[] = [
  {
    id: "buckets.step",
    severity: "error",
    title: "bucket sizes that the network cannot halve",
    reason:
      "The network halves the latents several times; a size that does not divide evenly stops the run at its first picture.",
    mend: "Give a multiple.",
    source: from("kohya"),
    limits: [],
    find({ settings: { bucketStepPx }, base }) {
      const unit = networkUnitPx(base);
      return bucketStepPx % unit === 0
        ? undefined
        : `Bucket sides in steps of ${bucketStepPx} px are no multiples of ${unit} px, which ${base.name} needs.`;
    },
  },
  {
    id: "batch.pictures",
    severity: "error",
    title: "more pictures a step than an epoch shows",
    reason: "Every step would hold pictures several times: the same as a smaller batch, at the price of the large one.",
    mend: "Lower --batch or --accumulate.",
    source: from("simpleTuner"),
    limits: [],
    find({ settings, dataset }) {
      const [perStep, shown] = [picturesPerStep(settings), trainedShare(settings) * dataset.picturesPerEpoch];
      return perStep > Math.max(1, Math.round(shown))
        ? `${perStep} pictures a step, of ${Math.round(shown)} that an epoch shows in training.`
        : undefined;
    },
  },
  {
    id: "batch.repeats",
    severity: "warning",
    title: "more pictures a step than there are",
    reason: "A step that holds a picture twice learns no more from it.",
    mend: "Lower --batch or --accumulate.",
    source: from("simpleTuner"),
    limits: [],
    find({ settings, dataset: { pictures, picturesPerEpoch } }) {
      const perStep = picturesPerStep(settings);
      return perStep > pictures && perStep <= Math.round(trainedShare(settings) * picturesPerEpoch)
        ? `${perStep} pictures a step, of ${pictures}: steps will hold a picture twice.`
        : undefined;
    },
  },
  {
    id: "steps.epoch",
    severity: "warning",
    title: "run ends before every picture was shown",
    reason: "Repeats or a large set make an epoch longer than the run: which pictures count is chance.",
    mend: "Take more --steps, or lower the repeats in the folders' names.",
    source: heuristic("kohya"),
    limits: [],
    find({ settings, dataset: { picturesPerEpoch } }) {
      const shown = settings.steps * picturesPerStep(settings);
      return shown < trainedShare(settings) * picturesPerEpoch
        ? `${settings.steps} steps show ${shown} pictures, and an epoch has ${picturesPerEpoch}: some are never shown.`
        : undefined;
    },
  },
  {
    id: "pictures.few",
    severity: "warning",
    title: `fewer than ${limits.fewestPictures.value} pictures`,
    reason: "A handful of pictures is learnt by heart before it is understood.",
    mend: "Expect copies of them, or find more.",
    source: heuristic(),
    limits: ["fewestPictures"],
    find: ({ dataset: { pictures } }) =>
      pictures < limits.fewestPictures.value
        ? `${pictures} ${pictures === 1 ? "picture is" : "pictures are"} very few.`
        : undefined,
  },
  {
    id: "flip.character",
    severity: "warning",
    title: "mirrored pictures of a character",
    reason: "Partings, badges and writing are on one side; a mirrored set teaches both.",
    mend: "Leave --flip out.",
    source: from("kohya"),
    limits: [],
    find: ({ settings: { flip, type } }) =>
      flip && type === "character"
        ? "Mirrored pictures make a character symmetric: partings, badges and writing suffer."
        : undefined,
  },
  {
    id: "flip.captions",
    severity: "warning",
    title: "mirrored pictures whose captions speak of sides or of writing",
    reason: "In the mirrored picture the caption is wrong: left is right, and letters run backwards.",
    mend: "Leave --flip out, or take those words out of the captions.",
    source: heuristic("kohya"),
    limits: [],
    find({ settings: { flip }, dataset: { captions } }) {
      const wrong = flip ? captions.filter((caption) => sidedWords.test(caption)) : [];
      const [first = ""] = wrong;
      return wrong.length === 0
        ? undefined
        : `${wrong.length} of ${captions.length} captions speak of sides or of writing, which --flip mirrors ("${shorten(first)}").`;
    },
  },
  {
    id: "epoch.long",
    severity: "warning",
    title: "repeats that stand in for steps",
    reason:
      "An epoch is what pictures are shuffled over; repeats are there to weigh folders against each other, and --steps says how long to train.",
    mend: "Lower the repeats in the folders' names to 1 to 3, and take --steps.",
    source: heuristic("kohya"),
    limits: ["longEpoch"],
    find({ settings, dataset: { pictures, picturesPerEpoch } }) {
      const epochSteps = Math.round((trainedShare(settings) * picturesPerEpoch) / picturesPerStep(settings));
      return picturesPerEpoch > pictures && epochSteps > limits.longEpoch.value
        ? `With its repeats an epoch of ${pictures} pictures takes ${epochSteps} steps.`
        : undefined;
    },
  },
  {
    id: "captions.style",
    severity: "warning",
    title: "sentences for a base that was trained on tags",
    reason: "The base knows its words as tags, in their spelling and order; sentences are half understood.",
    mend: "Write tags, separated by commas.",
    source: from("civitai"),
    limits: ["sentenceCharacters", "sentenceCommas"],
    find: ({ settings: { captionStyle }, dataset: { captions }, base: { name }, family }) =>
      family !== "mini" && captionStyle === "tags" && captions.length > 0 && captions.every(isSentence)
        ? `${name} was trained on tags, but captions are sentences ("${shorten(captions[0] ?? "")}").`
        : undefined,
  },
  {
    id: "trigger.missing",
    severity: "warning",
    title: "no trigger word",
    reason: "Without a word of its own the subject is tied to whatever the captions say.",
    mend: "Give one with --trigger.",
    source: from("kohya"),
    limits: [],
    find: ({ settings: { trigger, type } }) =>
      trigger === null && type !== "style" ? `A ${type} without a trigger word acts on every picture.` : undefined,
  },
];

function trainedShare({ heldOutFraction }: TrainSettings): number {
  return 1 - heldOutFraction;
}

/** As Civitai's trainer tells sentences from tags: long, and with few commas. */
function isSentence(caption: string): boolean {
  const { sentenceCharacters, sentenceCommas } = limits;
  return caption.length > sentenceCharacters.value && caption.split(",").length - 1 < caption.length * sentenceCommas.value;
}

/** Words that are wrong of a mirrored picture. */
const sidedWords = /\b(left|right(?! (now|away|after|before))|text|writing|letters?|lettering|logo|watermark|signature)\b/i;

function shorten(caption: string): string {
  return caption.length <= 40 ? caption : `${caption.slice(0, 40)}...`;
}
