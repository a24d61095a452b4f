/** Fits a plan to a device's memory: of precision, recomputing and batch, the fastest that fits. Pure; forecasts are asked for. */
import type { FloatDType } from "../graph/graph.ts";
import { limits } from "./limits.ts";
import type { TrainSettings } from "./plan.ts";

/** Whether a run that needs so much fits, the margin counted. */
export function fits(peakBytes: number, freeBytes: number): boolean {
  return peakBytes * (1 + limits.memoryMargin.value) <= freeBytes;
}

/** What fitting goes by of a forecast. */
export interface FitFigures {
  readonly peakBytes: number;
  readonly totalSeconds: number;
}

/** The settings that fitting may change. */
export type FitChange = Pick<TrainSettings, "batch" | "accumulation" | "recompute" | "precision">;

export interface FitRequest<F> {
  readonly settings: TrainSettings;
  /** Settings that the user chose: they are kept. */
  readonly kept: ReadonlySet<keyof TrainSettings>;
  /** Other precisions that the device computes in, in the order in which they are to be tried; none where only one is to be had. */
  readonly precisions: readonly FloatDType[];
  readonly freeBytes: number;
  readonly forecast: (settings: TrainSettings) => F;
  readonly figuresOf: (forecast: F) => FitFigures;
}

export interface FitTrial<F> {
  readonly change: FitChange;
  readonly forecast: F;
  readonly figures: FitFigures;
}

export interface Fit<F> {
  /** What to run with: the fastest that fits, or the smallest where none does. */
  readonly chosen: FitTrial<F>;
  readonly fits: boolean;
  /** The plan as it was. */
  readonly first: FitTrial<F>;
  readonly tried: readonly FitTrial<F>[];
}

/**
 * The plan itself where it fits. Otherwise the fastest among recomputing or not, smaller batches with as many pictures in a step, and,
 * only where nothing else fits, other precisions. A smaller batch is only tried while the larger one does not fit without recomputing:
 * it would be no faster.
 */
export function fitPlan<F>(request: FitRequest<F>): Fit<F> {
  const { settings, freeBytes } = request;
  const attempt = (change: FitChange): FitTrial<F> => {
    const forecast = request.forecast({ ...settings, ...change });
    return { change, forecast, figures: request.figuresOf(forecast) };
  };
  const { batch, accumulation, recompute, precision } = settings;
  const first = attempt({ batch, accumulation, recompute, precision });
  const isFitting = ({ figures }: FitTrial<F>): boolean => fits(figures.peakBytes, freeBytes);
  if (isFitting(first)) return { chosen: first, fits: true, first, tried: [first] };
  const tried = [first];
  for (const chosen of [precision, ...request.precisions.filter((other) => other !== precision)]) {
    for (const change of candidates(request, chosen)) {
      const isKnown = tried.some((trial) => sameChange(trial.change, change));
      // Without recomputing, the first that fits is the largest batch that does.
      if (isKnown) continue;
      const trial = attempt(change);
      tried.push(trial);
      if (!change.recompute && isFitting(trial)) break;
    }
    if (tried.some(isFitting)) break;
  }
  const fitting = tried.filter(isFitting).sort((a, b) => a.figures.totalSeconds - b.figures.totalSeconds);
  const smallest = tried.reduce((a, b) => (b.figures.peakBytes < a.figures.peakBytes ? b : a));
  return { chosen: fitting[0] ?? smallest, fits: fitting.length > 0, first, tried };
}

/** From the largest batch to the smallest, each first without recomputing, then with it. */
function candidates<F>({ settings, kept }: FitRequest<F>, precision: FloatDType): readonly FitChange[] {
  const perStep = settings.batch * settings.accumulation;
  const isBatchFree = !kept.has("batch") && !kept.has("accumulation");
  const batches = isBatchFree ? divisorsUpTo(perStep, settings.batch) : [settings.batch];
  const recomputes = kept.has("recompute") ? [settings.recompute] : [false, true];
  return batches.flatMap((batch) =>
    recomputes.map((recompute) => ({ batch, accumulation: perStep / batch, recompute, precision })),
  );
}

function divisorsUpTo(total: number, most: number): readonly number[] {
  return Array.from({ length: most }, (_, i) => most - i).filter((batch) => total % batch === 0);
}

function sameChange(a: FitChange, b: FitChange): boolean {
  return a.batch === b.batch && a.accumulation === b.accumulation && a.recompute === b.recompute && a.precision === b.precision;
}
