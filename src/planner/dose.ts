/** The dose index: one number for how far a recipe moves the weights, so that recipes of different tools can be compared. */
import { limits } from "./limits.ts";
import { picturesPerStep } from "./per-step.ts";
import type { TrainSettings } from "./plan.ts";

/** A recipe in use, brought to one measure: 20 pictures, its own alpha, batch and schedule. */
export interface KnownDose {
  readonly name: string;
  readonly dose: number;
}

/** By dose. Calculated from each tool's own defaults at 20 pictures. */
export const knownDoses: readonly KnownDose[] = [
  { name: "AI_characters' SDXL recipe (2e-5, 100 epochs)", dose: 0.08 },
  { name: "demystifying-sd-finetuning, earliest best step", dose: 0.13 },
  { name: "HoloStrawberry XL colab", dose: 0.18 },
  { name: "Hugging Face's Flux QLoRA article", dose: 0.28 },
  { name: "OneTrainer SDXL preset (100 epochs)", dose: 0.3 },
  { name: "malcolmrey's SDXL recipe", dose: 0.4 },
  { name: "Civitai Flux", dose: 0.6 },
  { name: "kohya SDXL docs, 2000 steps", dose: 0.8 },
  { name: "Civitai SDXL", dose: 1.2 },
  { name: "replicate's Flux trainer", dose: 1.6 },
  { name: "ai-toolkit's user interface", dose: 1.7 },
  { name: "HoloStrawberry SD 1.5 colab", dose: 1.8 },
  { name: "FluxGym (8e-4, alpha 1)", dose: 2.6 },
];

export type DoseSettings = Pick<
  TrainSettings,
  "learningRate" | "schedule" | "warmupSteps" | "alpha" | "batch" | "accumulation" | "gpus" | "steps"
>;

/** Mean over the run of the learning rate, over its peak: a straight rise over the warm-up, then constant or half a cosine. */
export function meanRateFactor({
  schedule,
  warmupSteps,
  steps,
}: Pick<DoseSettings, "schedule" | "warmupSteps" | "steps">): number {
  const risingSteps = Math.min(warmupSteps, steps);
  const rest = steps - risingSteps;
  // 1/w + 2/w + ...; and half a cosine sampled from its top to just before its end.
  const rise = warmupSteps === 0 ? 0 : (risingSteps * (risingSteps + 1)) / warmupSteps / 2;
  const fall = rest === 0 ? 0 : (rest + 1) / 2;
  return (rise + (schedule === "constant" ? rest : fall)) / steps;
}

/**
 * Mean rate x sqrt(alpha x batch x accumulation) x steps: under AdamW, recipes of the same dose move the weights about equally far.
 * It spans a factor of ten between recipes that people are content with; it serves best to compare runs on one dataset.
 */
export function doseOf(settings: DoseSettings): number {
  const { learningRate, alpha, steps } = settings;
  return learningRate * meanRateFactor(settings) * Math.sqrt(alpha * picturesPerStep(settings)) * steps;
}

export interface PlacedDose {
  readonly dose: number;
  readonly verdict: "probably too little" | "low" | "usual" | "high" | "probably too much";
  /** The nearest known recipes on either side. */
  readonly below: KnownDose | undefined;
  readonly above: KnownDose | undefined;
}

/** Where a plan lies among the known recipes. */
export function placeDose(settings: DoseSettings): PlacedDose {
  const dose = doseOf(settings);
  return {
    dose,
    verdict: judgeDose(dose),
    below: knownDoses.findLast((known) => known.dose <= dose),
    above: knownDoses.find((known) => known.dose > dose),
  };
}

function judgeDose(dose: number): PlacedDose["verdict"] {
  if (dose < limits.doseTooLittle.value) return "probably too little";
  if (dose < limits.doseLow.value) return "low";
  if (dose <= limits.doseHigh.value) return "usual";
  return dose <= limits.doseTooMuch.value ? "high" : "probably too much";
}
