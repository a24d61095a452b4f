/** Which values a plan's settings can have: the one place where bad values are refused. */
import { UserError } from "../errors.ts";
import type { PlannedSettings, TrainSettings } from "./plan.ts";
import { settingLabel } from "./setting-words.ts";

/** Smallest and largest value of each number, and whether it must be whole. */
const ranges: Readonly<Partial<Record<keyof TrainSettings, readonly [least: number, most: number, isWhole?: true]>>> = {
  seed: [0, 2 ** 32 - 1, true],
  alpha: [1e-4, 1e4],
  steps: [1, 1e7, true],
  batch: [1, 4096, true],
  accumulation: [1, 4096, true],
  learningRate: [1e-12, 10],
  textEncoderLearningRate: [0, 10],
  textEncoder2LearningRate: [0, 10],
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

/** @throws UserError naming the first setting that is out of its range, and the range */
export function checkRanges(settings: PlannedSettings): void {
  for (const [name, [least, most, isWhole]] of Object.entries(ranges)) {
    const value = settings[name as keyof TrainSettings].value as number;
    if (Number.isFinite(value) && value >= least && value <= most && (!isWhole || Number.isInteger(value))) continue;
    throw new UserError(`The setting "${settingLabel(name as keyof TrainSettings)}" cannot be ${value}.`, {
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
