/** Rules on the adapter and on how fast and how long it learns. */
import { doseOf } from "../dose.ts";
import { limits } from "../limits.ts";
import { from, heuristic } from "../sources.ts";
import type { TrainSettings } from "../plan.ts";
import type { PlanRule } from "./rule.ts";

export const adapterRules: readonly PlanRule[] = [
  {
    id: "learning-rate.prodigy",
    severity: "error",
    title: "a learning rate meant for another optimizer",
    reason:
      "Prodigy and D-Adaptation take a rate near 1 and find the real one themselves; AdamW takes it as it stands, and the adapter is destroyed in its first steps.",
    mend: "Leave --learning-rate out, or give 1e-5 to 1e-3.",
    source: from("prodigy"),
    limits: ["prodigyRate"],
    find({ settings }) {
      const highest = Math.max(settings.learningRate, settings.textEncoderLearningRate, settings.textEncoder2LearningRate);
      return highest >= limits.prodigyRate.value
        ? `A learning rate of ${highest} is one for Prodigy, and this is AdamW.`
        : undefined;
    },
  },
  {
    id: "adapter.alpha",
    severity: "warning",
    title: "alpha above rank",
    reason: "The adapter acts with alpha over rank; above 1 the usual learning rates are too high.",
    mend: "Lower it, or the learning rate.",
    source: from("lycoris"),
    limits: [],
    find: ({ settings: { alpha, rank } }) =>
      alpha > rank ? `Alpha ${alpha} is above rank ${rank}: the adapter acts more strongly than usual.` : undefined,
  },
  {
    id: "adapter.rank",
    severity: "warning",
    title: "high rank with few pictures",
    reason: "Room that the subject does not need is filled with the pictures themselves.",
    mend: "16 or 32 is enough.",
    source: heuristic("civitai"),
    limits: ["highRank", "picturesForHighRank"],
    find: ({ settings: { rank }, dataset: { pictures } }) =>
      rank >= limits.highRank.value && pictures < limits.picturesForHighRank.value
        ? `Rank ${rank} with ${pictures} pictures learns them by heart.`
        : undefined,
  },
  {
    id: "dose.low",
    severity: "warning",
    title: `dose index below ${limits.doseTooLittle.value}`,
    reason: "The weights move less than in any recipe that people are content with.",
    mend: "Take more --steps, or a higher --learning-rate.",
    source: heuristic(),
    limits: ["doseTooLittle"],
    find: ({ settings, family }) =>
      family !== "mini" && doseOf(settings) < limits.doseTooLittle.value
        ? `${settings.steps} steps at ${settings.learningRate} will probably be too little to see (dose ${showDose(settings)}).`
        : undefined,
  },
  {
    id: "dose.high",
    severity: "warning",
    title: `dose index above ${limits.doseTooMuch.value}`,
    reason: "The weights move further than in any recipe in use: colours burn and prompts are forgotten.",
    mend: "Keep an early checkpoint, or lower --steps or --learning-rate.",
    source: heuristic(),
    limits: ["doseTooMuch"],
    find: ({ settings, family }) =>
      family !== "mini" && doseOf(settings) > limits.doseTooMuch.value
        ? `${settings.steps} steps at ${settings.learningRate} will probably be too much (dose ${showDose(settings)}).`
        : undefined,
  },
  {
    id: "text-encoder.rate",
    severity: "warning",
    title: "text encoder learns nearly as fast as the UNet",
    reason: "Text encoders overfit first: other words lose their meaning before the subject is learnt.",
    mend: "Give it a fifth to a tenth of the UNet's.",
    source: from("kohya", "holo"),
    limits: ["textRateShare"],
    find({ settings }) {
      const highest = Math.max(settings.textEncoderLearningRate, settings.textEncoder2LearningRate);
      return highest > settings.learningRate * limits.textRateShare.value
        ? `The text encoder's rate ${highest} is more than a third of the UNet's: it tends to forget other words.`
        : undefined;
    },
  },
  {
    id: "warmup.long",
    severity: "warning",
    title: "warm-up longer than the run",
    reason: "The rate that was chosen is never reached.",
    mend: "Lower --warmup to a twentieth of the steps.",
    source: heuristic("holo"),
    limits: [],
    find: ({ settings: { warmupSteps, steps } }) =>
      warmupSteps >= steps && warmupSteps > 0
        ? `The warm-up of ${warmupSteps} steps does not end within ${steps}: the learning rate is never reached.`
        : undefined,
  },
];

function showDose(settings: TrainSettings): string {
  return String(Number(doseOf(settings).toPrecision(2)));
}
