/** What would make a run fit that does not: each change tried by a forecast, and the smallest card that would take the run as it is. */
import type { MeasuredDevice } from "../engines/choose.ts";
import { formatGigabytes } from "../planner/bytes.ts";
import type { RunCosts } from "../planner/costs.ts";
import { type Fit, fits } from "../planner/fit.ts";
import { limits } from "../planner/limits.ts";
import type { TrainSettings } from "../planner/plan.ts";
import { boundFinding, type PlanFinding } from "../planner/rules/table.ts";
import type { RunForecast } from "./forecast/forecast.ts";

interface Remedy {
  /** As it is typed. */
  readonly option: string;
  readonly settings: TrainSettings;
}

interface TriedRemedy {
  readonly option: string;
  readonly peakBytes: number;
}

/** At most so many are named. */
const MOST_REMEDIES = 3;

/** @param options.settings of the plan before it was fitted */
export function findTooLarge(options: {
  readonly settings: TrainSettings;
  readonly fit: Fit<RunForecast>;
  readonly device: MeasuredDevice;
  readonly costs: RunCosts;
  readonly forecast: (settings: TrainSettings) => RunForecast;
}): PlanFinding {
  const { settings, fit, device, costs, forecast } = options;
  const { peakBytes } = fit.chosen.figures;
  const { peakAt } = fit.chosen.forecast.memory;
  const smallest = { ...settings, ...fit.chosen.change };
  const tried = remediesFor(smallest).map(({ option, settings: own }): TriedRemedy => ({
    option,
    peakBytes: forecast(own).memory.peakBytes,
  }));
  return boundFinding(
    "memory",
    `The run would take ${formatGigabytes(peakBytes)} at its peak (${peakAt}), and ${device.profile.name} has ` +
      `${formatGigabytes(device.freeBytes)} free, of which a tenth of the need is to stay so.`,
    [describeRemedies(tried, device.freeBytes, peakBytes), describeCards(costs)].join(" "),
  );
}

/** Single changes from the mildest to the harshest, then all of them. */
function remediesFor(settings: TrainSettings): readonly Remedy[] {
  const { batch, accumulation, recompute, resolutionPx, bucketStepPx, targets } = settings;
  const smaller = Math.max(bucketStepPx, Math.floor((resolutionPx * 0.75) / bucketStepPx) * bucketStepPx);
  const single: readonly (readonly [option: string, change: Partial<TrainSettings>] | undefined)[] = [
    recompute ? undefined : ["--recompute", { recompute: true }],
    batch === 1
      ? undefined
      : [`--batch 1 --accumulate ${batch * accumulation}`, { batch: 1, accumulation: batch * accumulation }],
    settings.textEncoderLearningRate + settings.textEncoder2LearningRate > 0
      ? ["--text-encoder-learning-rate 0", { textEncoderLearningRate: 0, textEncoder2LearningRate: 0 }]
      : undefined,
    targets === "attention" ? undefined : ["--targets attention", { targets: "attention" }],
    smaller === resolutionPx ? undefined : [`--resolution ${smaller}`, { resolutionPx: smaller }],
  ];
  const possible = single.filter((entry) => entry !== undefined);
  const all = possible.reduce<Remedy>(
    (sum, [option, change]) => ({
      option: sum.option === "" ? option : `${sum.option} ${option}`,
      settings: { ...sum.settings, ...change },
    }),
    { option: "", settings },
  );
  const each = possible.map(([option, change]): Remedy => ({ option, settings: { ...settings, ...change } }));
  return possible.length > 1 ? [...each, all] : each;
}

function describeRemedies(tried: readonly TriedRemedy[], freeBytes: number, peakBytes: number): string {
  const fitting = tried.filter((remedy) => fits(remedy.peakBytes, freeBytes));
  if (fitting.length > 0) {
    const told = fitting.slice(0, MOST_REMEDIES).map((remedy) => `${remedy.option} (${formatGigabytes(remedy.peakBytes)})`);
    return `${told.join(", or ")} would fit.`;
  }
  const least = tried.reduce<TriedRemedy | undefined>((a, b) => (a && a.peakBytes <= b.peakBytes ? a : b), undefined);
  if (!least || least.peakBytes >= peakBytes) return "No setting makes it much smaller: free some memory.";
  const needed = formatGigabytes(least.peakBytes * (1 + limits.memoryMargin.value));
  return `Even ${least.option} needs ${needed} free, ${formatGigabytes(peakBytes - least.peakBytes)} less.`;
}

function describeCards({ cheapest, cards }: RunCosts): string {
  const cost = cards.find(({ card }) => card.name === cheapest);
  if (!cost) return "No card of the price table holds it.";
  return `It fits a ${cost.card.name} (${cost.card.memoryGiB} GB, about $${cost.typicalUsd.toFixed(2)}).`;
}
