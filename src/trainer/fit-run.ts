/** Fits a run to a device: what is changed so that it fits, and what would help where nothing does. */
import type { BaseConfigs } from "../checkpoints/base.ts";
import { factsOf, type MeasuredDevice } from "../engines/choose.ts";
import type { EngineFacts } from "../engines/engine.ts";
import { byteSizeOf, type DType, type FloatDType } from "../graph/graph.ts";
import { asked } from "../planner/decide.ts";
import { type Fit, type FitFigures, fitPlan } from "../planner/fit.ts";
import { applyFit } from "../planner/fit-reasons.ts";
import { settingsOf, type TrainPlan, type TrainSettings } from "../planner/plan.ts";
import { type DatasetLoad, forecastRun, type RunForecast } from "./forecast/forecast.ts";

export interface FitRunInput {
  readonly plan: TrainPlan;
  readonly device: MeasuredDevice;
  /** See `forecaster`. */
  readonly forecast: Forecaster;
}

export type Forecaster = (settings: TrainSettings) => RunForecast;

export interface FittedRun {
  readonly fit: Fit<RunForecast>;
  /** With what was changed, and why; as it was where nothing fits. */
  readonly plan: TrainPlan;
}

/** One to some ten forecasts, each of which takes seconds for SDXL. */
export function fitRun({ plan, device: { profile, freeBytes }, forecast }: FitRunInput): FittedRun {
  const settings = settingsOf(plan);
  const kept = chosenByUser(plan);
  const hasOthers = profile.engine === "torch" && settings.device !== "cpu" && !kept.has("precision");
  const precisions = hasOthers ? narrowerThan(settings.precision, profile.dtypes) : [];
  const fit = fitPlan({ settings, kept, precisions, freeBytes, forecast, figuresOf });
  return { fit, plan: applyFit(plan, fit, { freeBytes }) };
}

export interface ForecasterInput {
  readonly base: BaseConfigs;
  readonly load: DatasetLoad;
  readonly device: Pick<MeasuredDevice, "profile">;
  /** Of an engine that is there; else those of the engine that the settings name. */
  readonly facts?: EngineFacts | undefined;
  /** What the process that will train holds. */
  readonly residentBytes?: number | undefined;
}

/** Forecasts of one dataset on one device, by settings. Where their resolution is another than the plan's, so are the buckets. */
export function forecaster(
  planned: Pick<TrainSettings, "resolutionPx">,
  { base, load, device: { profile }, facts, residentBytes }: ForecasterInput,
): Forecaster {
  return (settings) => {
    const engine = facts ? { ...facts, precision: settings.precision } : factsOf(settings);
    const dataset = scaleLoad(load, settings.resolutionPx / planned.resolutionPx, settings.bucketStepPx / base.pixelsPerLatent);
    return forecastRun({ settings, base, dataset, engine, residentBytes, profile });
  };
}

/** The same pictures in buckets of another size, each side a multiple of `step` latents. */
function scaleLoad(load: DatasetLoad, factor: number, step: number): DatasetLoad {
  if (factor === 1) return load;
  const scale = (side: number): number => Math.max(step, Math.round((side * factor) / step) * step);
  const buckets = load.buckets.map((bucket) => ({ ...bucket, height: scale(bucket.height), width: scale(bucket.width) }));
  return { ...load, buckets };
}

function figuresOf({ memory, time }: RunForecast): FitFigures {
  const { encoding, training, validation } = memory.phases;
  return {
    peakBytes: memory.peakBytes,
    trainingBytes: Math.max(encoding.bytes, training.bytes, validation.bytes),
    totalSeconds: time.totalSeconds,
  };
}

/** Types that take less room, the one with the wider range first. */
function narrowerThan(precision: FloatDType, dtypes: readonly DType[]): readonly FloatDType[] {
  const bytes = (dtype: DType): number => byteSizeOf({ shape: [1], dtype });
  return (["bfloat16", "float16"] as const).filter((dtype) => dtypes.includes(dtype) && bytes(dtype) < bytes(precision));
}

/** Settings that are the user's own. */
export function chosenByUser(plan: TrainPlan): ReadonlySet<keyof TrainSettings> {
  const names = Object.keys(settingsOf(plan)) as (keyof TrainSettings)[];
  return new Set(names.filter((name) => plan[name].reason === asked));
}
