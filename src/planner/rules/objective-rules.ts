/** Rules on what is learnt against: the base, its size, its noise, and where it is computed. */
import { isQuantised } from "../../graph/graph.ts";
import { limits } from "../limits.ts";
import { from } from "../sources.ts";
import type { PlanRule } from "./rule.ts";

export const objectiveRules: readonly PlanRule[] = [
  {
    id: "prediction.mismatch",
    severity: "error",
    title: "prediction type is not the base's",
    reason: "A base that predicts velocity, trained as if it predicted noise, draws noise, and the other way round.",
    mend: "Name the base's --family, or leave it out.",
    source: from("kohya"),
    limits: [],
    find: ({ settings: { predictionType }, base: { schedule } }) =>
      predictionType === schedule.predictionType
        ? undefined
        : `The base predicts ${schedule.predictionType}; training it as ${predictionType} gives noise.`,
  },
  {
    id: "noise-offset.high",
    severity: "warning",
    title: `noise offset above ${limits.noiseOffset.value}`,
    reason: "A large offset teaches harsh contrast, whatever the pictures show.",
    mend: "Give 0.03 to 0.1, or 0.",
    source: from("civitai"),
    limits: ["noiseOffset"],
    find: ({ settings: { noiseOffset } }) =>
      noiseOffset > limits.noiseOffset.value ? `Noise offset ${noiseOffset} above 0.1 gives harsh contrast.` : undefined,
  },
  {
    id: "noise-offset.zero-snr",
    severity: "warning",
    title: "noise offset on a base that ends in pure noise",
    reason: "Such a schedule ends in pure noise: the base can draw dark and bright pictures already.",
    mend: "Give --noise-offset 0.",
    source: from("zeroSnr"),
    limits: [],
    find: ({ settings: { noiseOffset, predictionType, zeroTerminalSnr } }) =>
      noiseOffset > 0 && (predictionType === "v_prediction" || zeroTerminalSnr)
        ? `A base ${zeroTerminalSnr ? "whose schedule ends in pure noise" : "of v prediction"} needs no noise offset.`
        : undefined,
  },
  {
    id: "clip-skip.sdxl",
    severity: "warning",
    title: "clip skip on SDXL",
    reason: "SDXL reads the second-to-last layer of both text encoders, whatever is asked for.",
    mend: "Leave --clip-skip out.",
    source: from("kohya"),
    limits: [],
    find: ({ choices, base }) =>
      choices.clipSkip !== undefined && base.family === "sdxl" ? "A clip skip changes nothing on SDXL." : undefined,
  },
  {
    id: "resolution.other",
    severity: "warning",
    title: "resolution is not the base's",
    reason: "Away from its own size a base repeats limbs and loses detail; the adapter learns that too.",
    mend: "Leave --resolution out, unless memory or time forces it.",
    source: from("kohya"),
    limits: [],
    find: ({ settings: { resolutionPx }, base: { nativeResolutionPx } }) =>
      resolutionPx === nativeResolutionPx ? undefined : `The base was made for ${nativeResolutionPx} px, not ${resolutionPx}.`,
  },
  {
    id: "device.processor",
    severity: "warning",
    title: "a large base on the processor",
    reason: "A step takes minutes where a GPU takes a second.",
    mend: "Give a Python with PyTorch and a GPU (--python), or train mini.",
    source: from("gesso"),
    limits: [],
    find: ({ device, base, family }) =>
      device !== undefined && (device.device ?? "cpu") === "cpu" && family !== "mini"
        ? `${base.name} will take very long on the processor alone.`
        : undefined,
  },
  {
    id: "base-precision.sdxl",
    severity: "warning",
    title: "quantised base weights on SDXL",
    reason:
      "The adapter learns to make up for what rounding took from the base, and carries that to bases that were not rounded.",
    mend: "Leave --base-precision out where bfloat16 fits.",
    source: from("simpleTuner"),
    limits: [],
    find: ({ settings: { basePrecision }, base: { family } }) =>
      family === "sdxl" && isQuantised(basePrecision)
        ? `SDXL with its weights in ${basePrecision} learns worse than in bfloat16.`
        : undefined,
  },
];
