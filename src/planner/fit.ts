/** Fits a plan to a device's memory: of what does not change the result, the fastest that fits. Pure; forecasts are asked for. */
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
  /** The peak of everything but the previews. */
  readonly trainingBytes: number;
  readonly totalSeconds: number;
}

/** The settings that fitting may change. */
export type FitChange = Pick<
  TrainSettings,
  "batch" | "accumulation" | "recompute" | "precision" | "previewSizePx" | "previewPrompts"
>;

export interface FitRequest<F> {
  readonly settings: TrainSettings;
  /** Settings that the user chose: they are kept. */
  readonly kept: ReadonlySet<keyof TrainSettings>;
  /** Narrower precisions that the device computes in, in the order in which they are to be tried; none where there are none to be had. */
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
  /** What to run with: the fastest of the mildest kind of change that fits, or the smallest where none does. */
  readonly chosen: FitTrial<F>;
  readonly fits: boolean;
  /** The plan as it was. */
  readonly first: FitTrial<F>;
  readonly tried: readonly FitTrial<F>[];
}

/**
 * The plan itself where it fits. Otherwise the mildest kind of change that helps, and of that kind the fastest:
 *
 * 1. recomputing, or smaller batches with as many pictures in a step: the result is the same;
 * 2. smaller previews, or none, where it is they that do not fit: so is it then;
 * 3. a narrower precision, again with 1 and 2.
 *
 * A smaller batch is only tried while the larger one does not fit without recomputing: it would be no faster.
 */
export function fitPlan<F>(request: FitRequest<F>): Fit<F> {
  const { settings, freeBytes } = request;
  const { batch, accumulation, recompute, precision, previewSizePx, previewPrompts } = settings;
  const tried: FitTrial<F>[] = [];
  const attempt = (change: FitChange): FitTrial<F> => {
    const known = tried.find((trial) => sameChange(trial.change, change));
    if (known) return known;
    const forecast = request.forecast({ ...settings, ...change });
    const trial = { change, forecast, figures: request.figuresOf(forecast) };
    tried.push(trial);
    return trial;
  };
  const isFitting = ({ figures }: FitTrial<F>): boolean => fits(figures.peakBytes, freeBytes);
  const first = attempt({ batch, accumulation, recompute, precision, previewSizePx, previewPrompts });
  if (isFitting(first)) return { chosen: first, fits: true, first, tried };
  for (const own of [precision, ...request.precisions.filter((other) => other !== precision)]) {
    const trials = attemptAll(candidates(request, own), attempt, isFitting);
    const chosen = fastest(trials.filter(isFitting)) ?? withSmallerPreviews(request, trials, attempt, isFitting);
    if (chosen) return { chosen, fits: true, first, tried };
  }
  const smallest = tried.reduce((a, b) => (b.figures.peakBytes < a.figures.peakBytes ? b : a));
  return { chosen: smallest, fits: false, first, tried };
}

type Attempt<F> = (change: FitChange) => FitTrial<F>;
type IsFitting<F> = (trial: FitTrial<F>) => boolean;

function attemptAll<F>(changes: readonly FitChange[], attempt: Attempt<F>, isFitting: IsFitting<F>): readonly FitTrial<F>[] {
  const trials: FitTrial<F>[] = [];
  for (const change of changes) {
    const trial = attempt(change);
    trials.push(trial);
    // Without recomputing, the first that fits is the largest batch that does.
    if (!change.recompute && isFitting(trial)) break;
  }
  return trials;
}

function fastest<F>(trials: readonly FitTrial<F>[]): FitTrial<F> | undefined {
  return trials.toSorted((a, b) => a.figures.totalSeconds - b.figures.totalSeconds)[0];
}

/** Of what can be trained but not shown, the fastest, with previews as large as can be. */
function withSmallerPreviews<F>(
  request: FitRequest<F>,
  trials: readonly FitTrial<F>[],
  attempt: Attempt<F>,
  isFitting: IsFitting<F>,
): FitTrial<F> | undefined {
  const trainable = trials
    .filter(({ figures }) => fits(figures.trainingBytes, request.freeBytes))
    .sort((a, b) => a.figures.totalSeconds - b.figures.totalSeconds);
  const smallest = trials.toSorted((a, b) => a.figures.trainingBytes - b.figures.trainingBytes).slice(0, 1);
  for (const previews of smallerPreviews(request)) {
    // What draws previews is held in training too: without it a little more fits.
    const isWithout = previews.previewPrompts !== undefined;
    for (const { change } of isWithout && trainable.length === 0 ? smallest : trainable) {
      const trial = attempt({ ...change, ...previews });
      if (isFitting(trial)) return trial;
    }
  }
  return undefined;
}

/** From large to small, none at last. */
function smallerPreviews<F>({ settings, kept }: FitRequest<F>): readonly Partial<FitChange>[] {
  const { previewSizePx, bucketStepPx, previewPrompts } = settings;
  if (previewPrompts.length === 0) return [];
  const sizes = kept.has("previewSizePx") ? [] : previewShares.map((share) => roundTo(previewSizePx * share, bucketStepPx));
  const smaller = sizes.filter((size) => size > 0 && size < previewSizePx).map((size) => ({ previewSizePx: size }));
  return [...smaller, ...(kept.has("previewPrompts") ? [] : [{ previewPrompts: [] }])];
}

/** Of the side of a preview. */
const previewShares = [0.75, 0.5];

function roundTo(px: number, step: number): number {
  return Math.floor(px / step) * step;
}

/** From the largest batch to the smallest, each first without recomputing, then with it. */
function candidates<F>({ settings, kept }: FitRequest<F>, precision: FloatDType): readonly FitChange[] {
  const { previewSizePx, previewPrompts } = settings;
  const perStep = settings.batch * settings.accumulation;
  const isBatchFree = !kept.has("batch") && !kept.has("accumulation");
  const batches = isBatchFree ? divisorsUpTo(perStep, settings.batch) : [settings.batch];
  const recomputes = kept.has("recompute") ? [settings.recompute] : [false, true];
  return batches.flatMap((batch) =>
    recomputes.map((recompute) => {
      const accumulation = perStep / batch;
      return { batch, accumulation, recompute, precision, previewSizePx, previewPrompts };
    }),
  );
}

function divisorsUpTo(total: number, most: number): readonly number[] {
  return Array.from({ length: most }, (_, i) => most - i).filter((batch) => total % batch === 0);
}

function sameChange(a: FitChange, b: FitChange): boolean {
  return (Object.keys(a) as (keyof FitChange)[]).every((name) =>
    name === "previewPrompts" ? a[name].length === b[name].length : a[name] === b[name],
  );
}
