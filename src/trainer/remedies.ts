/** What would make a run fit that does not: each change tried by a forecast, and the cheapest card that would take the run as it is. */
import type { MeasuredDevice } from "../engines/choose.ts";
import { isQuantised } from "../graph/graph.ts";
import { formatBytes } from "../bytes.ts";
import type { RunCosts } from "../planner/costs.ts";
import { type Fit, fits } from "../planner/fit.ts";
import { limits } from "../planner/limits.ts";
import type { TrainSettings } from "../planner/plan.ts";
import { boundFinding, type PlanFinding } from "../planner/rules/table.ts";
import type { Forecaster } from "./fit-run.ts";
import type { RunForecast } from "./forecast/forecast.ts";

/** A change as it is typed. */
export interface Remedy {
  readonly option: string;
  readonly change: Partial<TrainSettings>;
}

interface TriedRemedy {
  readonly option: string;
  readonly peakBytes: number;
}

/** At most so many are named. */
const MOST_REMEDIES = 3;
/** Ranks below this are not proposed. */
const LEAST_RANK = 8;

/** @param options.settings of the plan before it was fitted */
export function findTooLarge(options: {
  readonly settings: TrainSettings;
  readonly fit: Fit<RunForecast>;
  readonly device: MeasuredDevice;
  readonly costs: RunCosts;
  readonly forecast: Forecaster;
}): PlanFinding {
  const { settings, fit, device, costs, forecast } = options;
  const { peakBytes } = fit.chosen.figures;
  const { peakAt } = fit.chosen.forecast.memory;
  const smallest = { ...settings, ...fit.chosen.change };
  const attempt = ({ option, change }: Remedy): TriedRemedy => ({
    option,
    peakBytes: forecast({ ...smallest, ...change }).memory.peakBytes,
  });
  const { freeBytes } = device;
  return boundFinding(
    "memory",
    `The run would take ${formatBytes(peakBytes)} at its peak (${peakAt}), and ${device.profile.name} has ` +
      `${formatBytes(freeBytes)} free, of which a tenth of the need is to stay so.`,
    [describeRemedies(remediesFor(smallest), attempt, freeBytes, peakBytes), describeCards(costs)].join(" "),
  );
}

/** Single changes from the mildest to the harshest. */
export function remediesFor(settings: TrainSettings): readonly Remedy[] {
  const { batch, accumulation, recompute, resolutionPx, bucketStepPx, targets, rank, alpha, previewPrompts } = settings;
  const shrunk = (share: number): number =>
    Math.max(bucketStepPx, Math.floor((resolutionPx * share) / bucketStepPx) * bucketStepPx);
  const [smaller, half] = [shrunk(0.75), shrunk(0.5)];
  const halfRank = Math.max(LEAST_RANK, Math.ceil(rank / 2));
  const canQuantise = settings.engine === "torch" && !isQuantised(settings.basePrecision);
  const isTextTrained = settings.textEncoderLearningRate + settings.textEncoder2LearningRate > 0;
  const remedies: readonly (Remedy | undefined | false)[] = [
    previewPrompts.length > 0 && { option: "--no-previews", change: { previewPrompts: [] } },
    !recompute && { option: "--recompute", change: { recompute: true } },
    batch > 1 && {
      option: `--batch 1 --accumulate ${batch * accumulation}`,
      change: { batch: 1, accumulation: batch * accumulation },
    },
    isTextTrained && {
      option: "--text-encoder-learning-rate 0",
      change: { textEncoderLearningRate: 0, textEncoder2LearningRate: 0 },
    },
    halfRank < rank && { option: `--rank ${halfRank}`, change: { rank: halfRank, alpha: Math.min(alpha, halfRank) } },
    targets !== "attention" && { option: "--targets attention", change: { targets: "attention" } },
    settings.engine === "torch" &&
      settings.device !== "cpu" &&
      settings.precision === "float32" && {
        option: "--precision bfloat16",
        change: { precision: "bfloat16", basePrecision: canQuantise ? "bfloat16" : settings.basePrecision },
      },
    canQuantise && { option: "--base-precision int8", change: { basePrecision: "int8" } },
    canQuantise && { option: "--base-precision nf4", change: { basePrecision: "nf4" } },
    smaller < resolutionPx && { option: `--resolution ${smaller}`, change: { resolutionPx: smaller } },
    half < smaller && { option: `--resolution ${half}`, change: { resolutionPx: half } },
  ];
  return remedies.filter((remedy): remedy is Remedy => remedy !== undefined && remedy !== false);
}

/** The mildest that fit by themselves; else as many together, from the mildest on, as it takes. */
function describeRemedies(
  remedies: readonly Remedy[],
  attempt: (remedy: Remedy) => TriedRemedy,
  freeBytes: number,
  peakBytes: number,
): string {
  const isFitting = (tried: TriedRemedy): boolean => fits(tried.peakBytes, freeBytes);
  const fitting: TriedRemedy[] = [];
  for (const remedy of remedies) {
    if (fitting.length === MOST_REMEDIES) break;
    const tried = attempt(remedy);
    if (isFitting(tried)) fitting.push(tried);
  }
  if (fitting.length > 0) return tellFitting(fitting);
  if (remedies.length === 0) return "No setting makes it smaller: free some memory.";
  const together = remedies.map((_, i) => combine(remedies.slice(0, i + 1)));
  const all = together.slice(-1).map(attempt);
  const [most] = all;
  if (most && isFitting(most)) return tellFitting([fewest(together.slice(1), attempt, isFitting) ?? most]);
  if (!most || most.peakBytes >= peakBytes) return "No setting makes it much smaller: free some memory.";
  const needed = formatBytes(most.peakBytes * (1 + limits.memoryMargin.value));
  return `Even ${most.option} needs ${needed} free, ${formatBytes(peakBytes - most.peakBytes)} less.`;
}

function tellFitting(fitting: readonly TriedRemedy[]): string {
  const told = fitting.map(({ option, peakBytes }) => `${option} (${formatBytes(peakBytes)})`);
  return `${told.join(", or ")} would fit.`;
}

/** Later changes of the same setting take the place of earlier ones. */
function combine(remedies: readonly Remedy[]): Remedy {
  const last = remedies.filter(({ change }, i) => {
    const later = remedies.slice(i + 1).flatMap((other) => Object.keys(other.change));
    return !Object.keys(change).every((name) => later.includes(name));
  });
  return {
    option: last.map(({ option }) => option).join(" "),
    change: Object.assign({}, ...last.map(({ change }) => change)) as Partial<TrainSettings>,
  };
}

/** Each takes less than the one before it: the first that fits, by halving. */
function fewest(
  together: readonly Remedy[],
  attempt: (remedy: Remedy) => TriedRemedy,
  isFitting: (tried: TriedRemedy) => boolean,
): TriedRemedy | undefined {
  let found: TriedRemedy | undefined;
  let [low, high] = [0, together.length - 1];
  while (low <= high) {
    const middle = Math.floor((low + high) / 2);
    const remedy = together[middle];
    const tried = remedy && attempt(remedy);
    if (tried && isFitting(tried)) {
      found = tried;
      high = middle - 1;
    } else low = middle + 1;
  }
  return found;
}

function describeCards({ cheapest, cards }: RunCosts): string {
  const cost = cards.find(({ card }) => card.name === cheapest);
  if (!cost) return "No card of the price table holds it.";
  return `It fits a ${cost.card.name} (${cost.card.memoryGiB} GB, about $${cost.typicalUsd.toFixed(2)}).`;
}
