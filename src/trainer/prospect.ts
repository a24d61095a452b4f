/** What is known of a run before it begins: a plan that fits this machine, what it will take, and what it would cost elsewhere. */
import type { MeasuredDevice } from "../engines/choose.ts";
import { torchFacts } from "../engines/torch/engine.ts";
import type { DType, FloatDType } from "../graph/graph.ts";
import { type CardVariant, compareCards, type RunCosts } from "../planner/costs.ts";
import { type PlacedDose, placeDose } from "../planner/dose.ts";
import { asked } from "../planner/decide.ts";
import { type FitChange, type FitFigures, fitPlan } from "../planner/fit.ts";
import { applyFit } from "../planner/fit-reasons.ts";
import type { GpuPrices } from "../planner/gpu-prices.ts";
import { settingsOf, type TrainPlan, type TrainSettings } from "../planner/plan.ts";
import { withFindings } from "../planner/rules/table.ts";
import { type DiskNeed, findFullDisk, measureDisk } from "./disk-need.ts";
import { type DatasetLoad, type ForecastBase, forecastRun, type RunForecast } from "./forecast/forecast.ts";
import { countGraphs } from "./forecast/graphs.ts";
import { forecastMemory } from "./forecast/memory.ts";
import { forecastTime } from "./forecast/time.ts";
import { findTooLarge } from "./remedies.ts";

/** Everything that is told of a run before it. Plain data: JSON holds all of it. */
export interface RunProspect {
  /** Fitted to the device. */
  readonly plan: TrainPlan;
  readonly dose: PlacedDose;
  readonly device: {
    readonly name: string;
    readonly memoryBytes: number;
    readonly freeBytes: number;
    readonly flopsPerSecond: number;
    readonly bytesPerSecond: number;
  };
  readonly forecast: RunForecast;
  readonly fit: {
    readonly fits: boolean;
    readonly tried: readonly (FitChange & FitFigures)[];
  };
  readonly disk: DiskNeed;
  readonly costs: RunCosts;
}

export interface ProspectInput {
  readonly plan: TrainPlan;
  readonly base: ForecastBase;
  readonly load: DatasetLoad;
  readonly device: MeasuredDevice;
  readonly prices: GpuPrices;
}

/** A few seconds for SDXL: its graphs are built and counted, nothing is run. */
export async function prospectRun({ plan, base, load, device, prices }: ProspectInput): Promise<RunProspect> {
  const { profile, freeBytes, facts } = device;
  const settings = settingsOf(plan);
  const kept = chosenByUser(plan);
  const hasOthers = profile.engine === "torch" && settings.device !== "cpu" && !kept.has("precision");
  const forecast = (own: TrainSettings): RunForecast =>
    forecastRun({ settings: own, base, dataset: load, engine: { ...facts, precision: own.precision }, profile });
  const fit = fitPlan({
    settings,
    kept,
    precisions: hasOthers ? narrower(profile.dtypes) : [],
    freeBytes,
    forecast,
    figuresOf,
  });
  const fitted = applyFit(plan, fit, { freeBytes });
  const costs = compareCards(prices, cardVariants(settings, base, load, kept));
  const disk = await measureDisk(settingsOf(fitted), fit.chosen.forecast, load);
  const findings = [...(fit.fits ? [] : [findTooLarge({ settings, fit, device, costs, forecast })]), ...findFullDisk(disk)];
  return {
    plan: withFindings(fitted, findings),
    dose: placeDose(settingsOf(fitted)),
    device: {
      name: profile.name,
      memoryBytes: profile.memoryBytes,
      freeBytes,
      flopsPerSecond: profile.flopsPerSecond,
      bytesPerSecond: profile.bytesPerSecond,
    },
    forecast: fit.chosen.forecast,
    fit: { fits: fit.fits, tried: fit.tried.map(({ change, figures }) => ({ ...change, ...figures })) },
    disk,
    costs,
  };
}

function figuresOf({ memory, time }: RunForecast): FitFigures {
  return { peakBytes: memory.peakBytes, totalSeconds: time.totalSeconds };
}

/** Types with less than float32 in them, the roomier range first. */
function narrower(dtypes: readonly DType[]): readonly FloatDType[] {
  return (["bfloat16", "float16"] as const).filter((dtype) => dtypes.includes(dtype));
}

/** Settings that are the user's own. */
function chosenByUser(plan: TrainPlan): ReadonlySet<keyof TrainSettings> {
  const names = Object.keys(settingsOf(plan)) as (keyof TrainSettings)[];
  return new Set(names.filter((name) => plan[name].reason === asked));
}

/** What is rented has the torch engine, and computes in bfloat16. */
const rented = { engine: "torch", device: "cuda:0", precision: "bfloat16" } as const;

/** The ways to run a plan on a rented card: as it is, with blocks recomputed, and picture by picture. */
function cardVariants(
  settings: TrainSettings,
  base: ForecastBase,
  load: DatasetLoad,
  kept: ReadonlySet<keyof TrainSettings>,
): readonly CardVariant[] {
  const perStep = settings.batch * settings.accumulation;
  const own = { batch: settings.batch, accumulation: settings.accumulation };
  const isBatchFree = !kept.has("batch") && !kept.has("accumulation");
  const changes = [
    ...(kept.has("recompute") ? [] : [{ ...own, recompute: false }]),
    { ...own, recompute: true },
    ...(isBatchFree && settings.batch > 1 ? [{ batch: 1, accumulation: perStep, recompute: true }] : []),
  ];
  return changes.map((change): CardVariant => {
    const input = {
      settings: { ...settings, ...rented, ...change },
      base,
      dataset: load,
      engine: torchFacts(rented.device, rented.precision),
    };
    const graphs = countGraphs(input);
    return {
      ...change,
      peakBytes: forecastMemory(input, graphs).peakBytes,
      // The rate of the table is that of whole steps: what memory takes is in it.
      secondsAt: (flopsPerSecond) =>
        forecastTime(input, graphs, { ...anyCard, flopsPerSecond, bytesPerSecond: Infinity }).totalSeconds,
    };
  });
}

const anyCard = { engine: "torch", name: "a rented card", memoryBytes: 0, threads: 1, dtypes: [] } as const;
