/** Which change a plan gets so that it fits, with forecasts whose figures follow simple rules. */
import { expect, test } from "vitest";
import { datasetFacts, sdxl } from "../../test/plan-facts.ts";
import { type Fit, type FitFigures, fitPlan } from "./fit.ts";
import { applyFit } from "./fit-reasons.ts";
import { planTraining, settingsOf, type TrainSettings } from "./plan.ts";

const plan = planTraining(
  datasetFacts,
  sdxl,
  { engine: "torch", device: "cuda:0", precision: "float32", basePrecision: "float32" },
  {
    name: "fox",
    runFolder: "runs/fox",
    cacheFolder: "cache",
    type: "style",
    createdAt: "2026-01-01T00:00:00.000Z",
  },
);
const settings: TrainSettings = { ...settingsOf(plan), batch: 4, accumulation: 1 };

/** Weights of 10, 4 a picture in a step, 1 where it is computed again; previews of 20 at their full size. Half of all in 16 bits. */
function figures(own: TrainSettings): FitFigures {
  const width = own.precision === "float32" ? 1 : 0.5;
  const trainingBytes = width * (10 + own.batch * (own.recompute ? 1 : 4));
  const preview = own.previewPrompts.length === 0 ? 0 : width * (10 + 10 * (own.previewSizePx / 1024) ** 2);
  const perPicture = (own.recompute ? 1.3 : 1) * (own.precision === "float32" ? 2 : 1);
  const totalSeconds = own.accumulation * (0.2 + own.batch * perPicture);
  return { peakBytes: Math.max(trainingBytes, preview), trainingBytes, totalSeconds };
}

function fit(
  freeBytes: number,
  options: { kept?: (keyof TrainSettings)[]; precisions?: ["bfloat16"]; own?: TrainSettings } = {},
) {
  const { kept = [], precisions = [], own = settings } = options;
  return fitPlan({ settings: own, kept: new Set(kept), precisions, freeBytes, forecast: figures, figuresOf: (f) => f });
}

const changeOf = ({ chosen, fits }: Fit<FitFigures>) => {
  const { batch, accumulation, recompute, precision, previewSizePx, previewPrompts } = chosen.change;
  return fits ? [batch, accumulation, recompute, precision, previewPrompts.length > 0 && previewSizePx] : "none";
};

test("a plan that fits with a tenth to spare is kept, and nothing else is tried", () => {
  expect(changeOf(fit(28.7))).toEqual([4, 1, false, "float32", 1024]);
  expect(fit(28.7).tried).toHaveLength(1);
  expect(changeOf(fit(28.5))).not.toEqual([4, 1, false, "float32", 1024]);
});

test("of recomputing and smaller batches the faster is taken", () => {
  // 4 at once recomputed take 4 x 2.6 + 0.2; two times 2 pictures take 2 x (4 + 0.2) and 18 x 1.1 bytes.
  expect(changeOf(fit(25, { own: { ...settings, previewPrompts: [] } }))).toEqual([2, 2, false, "float32", false]);
  expect(changeOf(fit(25, { own: { ...settings, previewPrompts: [] }, kept: ["batch"] }))).toEqual([
    4,
    1,
    true,
    "float32",
    false,
  ]);
});

test("previews become smaller, and are left out at last, before the numbers become narrower", () => {
  const of = (freeBytes: number) => changeOf(fit(freeBytes, { precisions: ["bfloat16"] }));
  expect(of(22)).toEqual([2, 2, false, "float32", 1024]);
  expect(of(18)).toEqual([1, 4, false, "float32", 768]);
  expect(of(13.9)).toEqual([2, 2, true, "float32", 512]);
  expect(of(13.5)).toEqual([2, 2, true, "float32", false]);
  expect(of(11.9)).toEqual([2, 2, false, "bfloat16", 1024]);
});

test("what the user chose is kept: where that does not fit, nothing does, and the smallest that was tried is told", () => {
  const kept: (keyof TrainSettings)[] = ["batch", "recompute", "previewSizePx", "previewPrompts", "precision"];
  const result = fit(20, { kept });
  expect(changeOf(result)).toBe("none");
  expect(result.tried).toHaveLength(1);
  const smallest = fit(5, { precisions: ["bfloat16"] });
  expect(smallest.fits).toBe(false);
  expect(smallest.chosen.change).toMatchObject({ batch: 1, recompute: true, precision: "bfloat16", previewPrompts: [] });
});

test("a plan says what was changed for the memory and why, and leaves the rest as it was", () => {
  expect(applyFit(plan, fit(28.7), { freeBytes: 28.7 })).toBe(plan);
  const tight = fit(13.9);
  const told = applyFit(
    { ...plan, batch: { value: 4, reason: "usual" } },
    { ...tight, first: scale(tight.first), chosen: scale(tight.chosen) },
    { freeBytes: 13.9e9 },
  );
  const why = "26.0 GB would not fit the 13.9 GB that are free; 12.5 GB do, 32 % slower";
  expect(told.recompute).toMatchObject({ value: true, reason: why });
  expect(told.batch).toMatchObject({ value: 2, reason: `4 at once do not fit; ${why}` });
  expect(told.accumulation).toMatchObject({ value: 2, reason: "so that a step is on 4 pictures as planned" });
  expect(told.previewSizePx).toMatchObject({ value: 512, reason: `previews of 1024 px do not fit beside the run; ${why}` });
  expect(told.precision).toBe(plan.precision);
  expect(told.previewPrompts).toBe(plan.previewPrompts);
});

test("weights are kept in the precision that was chosen for the memory", () => {
  const narrow = fit(11.9, { precisions: ["bfloat16"] });
  const told = applyFit(plan, narrow, { freeBytes: 11.9 });
  expect([told.precision.value, told.basePrecision.value]).toEqual(["bfloat16", "bfloat16"]);
});

function scale<T extends { figures: FitFigures }>(trial: T): T {
  const { peakBytes, trainingBytes, totalSeconds } = trial.figures;
  return { ...trial, figures: { peakBytes: 1e9 * peakBytes, trainingBytes: 1e9 * trainingBytes, totalSeconds } };
}
