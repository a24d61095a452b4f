/** Every threshold of the planner, in one table: the value, its unit, and where it comes from. Rules hold no numbers of their own. */
import { from, heuristic } from "./sources.ts";

export interface Limit {
  readonly value: number;
  /** Printed after the value: "pictures", "of the run"; "" for a bare number. */
  readonly unit: string;
  /** What it bounds, in a few words. */
  readonly about: string;
  /** See `sources`; marked as heuristic where nobody has published a value. */
  readonly source: string;
}

/** Names the rows and keeps their type. */
function table<const T extends Readonly<Record<string, Limit>>>(rows: T): Readonly<Record<keyof T, Limit>> {
  return rows;
}

export const limits = table({
  // The adapter.
  highRank: { value: 64, unit: "", about: "ranks from here on are high", source: heuristic("civitai") },
  picturesForHighRank: { value: 30, unit: "pictures", about: "fewer are learnt by heart at a high rank", source: heuristic() },
  // Dose and rates.
  doseTooLittle: { value: 0.1, unit: "", about: "doses below it are probably too little", source: heuristic() },
  doseLow: { value: 0.15, unit: "", about: "doses below it are called low", source: heuristic() },
  doseHigh: { value: 2, unit: "", about: "doses above it are called high", source: heuristic() },
  doseTooMuch: { value: 3, unit: "", about: "doses above it are probably too much", source: heuristic() },
  prodigyRate: {
    value: 0.1,
    unit: "",
    about: "rates from here on are meant for Prodigy or D-Adaptation",
    source: from("prodigy"),
  },
  textRateShare: { value: 1 / 3, unit: "of the UNet's rate", about: "the most for a text encoder", source: heuristic("holo") },
  noiseOffset: { value: 0.1, unit: "", about: "the most that presets have", source: from("civitai") },
  // Pictures and captions.
  fewestPictures: { value: 5, unit: "pictures", about: "fewer are copied rather than understood", source: heuristic() },
  longEpoch: {
    value: 1000,
    unit: "steps",
    about: "longer epochs come of repeats that stand in for steps",
    source: heuristic("kohya"),
  },
  sentenceCharacters: { value: 80, unit: "characters", about: "a longer caption may be a sentence", source: from("civitai") },
  sentenceCommas: {
    value: 0.05,
    unit: "of the characters",
    about: "fewer commas than that: a sentence, not tags",
    source: from("civitai"),
  },
  // Measuring and saving.
  picturesForHoldOut: {
    value: 15,
    unit: "pictures",
    about: "of so many, some can be spared to measure on",
    source: heuristic("kohya"),
  },
  checkpointShare: {
    value: 1 / 3,
    unit: "of the run",
    about: "the most between two checkpoints",
    source: heuristic("civitai"),
  },
  // Memory, time and money.
  memoryMargin: {
    value: 0.1,
    unit: "of what a run needs",
    about: "stays free beside it: forecasts are not exact, and memory breaks up",
    source: heuristic(),
  },
  cardOverhead: {
    value: 0.8e9,
    unit: "bytes",
    about: "what CUDA itself takes of a rented card; 0.8 to 1.5 GB are reported",
    source: heuristic(),
  },
  cardStart: {
    value: 5,
    unit: "minutes",
    about: "renting a machine and getting the base model there; 3 to 10 are reported",
    source: heuristic(),
  },
  sameTime: {
    value: 0.05,
    unit: "of the time",
    about: "cards that are closer than this are told as equally fast",
    source: heuristic(),
  },
  worstCase: { value: 1.5, unit: "times the estimate", about: "times are rarely further off", source: heuristic() },
});

export type LimitName = keyof typeof limits;

/** "0.1 of what a run needs", "0.8 GB"; thirds as such. */
export function formatLimit({ value, unit }: Limit): string {
  if (unit === "bytes") return `${value / 1e9} GB`;
  const number = value === 1 / 3 ? "1/3" : String(value);
  return unit === "" ? number : `${number} ${unit}`;
}
