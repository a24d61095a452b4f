/** What is chosen for SD 1.5 and SDXL at their full size on cards of 4 to 80 GB, by forecasts of the real graphs. Nothing is run. */
import { expect, test } from "vitest";
import type { MeasuredDevice } from "../src/engines/choose.ts";
import { gpuPrices } from "../src/planner/gpu-prices.ts";
import { compareCards } from "../src/planner/costs.ts";
import { fits } from "../src/planner/fit.ts";
import { limits } from "../src/planner/limits.ts";
import { planTraining, settingsOf, type TrainSettings } from "../src/planner/plan.ts";
import { fitRun, type Forecaster, forecaster } from "../src/trainer/fit-run.ts";
import type { RunForecast } from "../src/trainer/forecast/forecast.ts";
import { findTooLarge } from "../src/trainer/remedies.ts";
import { fullSizeBase } from "./full-size-base.ts";
import { datasetFacts } from "./plan-facts.ts";

function card(memoryGiB: number): MeasuredDevice {
  const memoryBytes = memoryGiB * 2 ** 30;
  return {
    profile: {
      engine: "torch",
      name: `a card of ${memoryGiB} GB`,
      memoryBytes,
      threads: 1,
      dtypes: ["float32", "bfloat16", "float16"],
      flopsPerSecond: 40e12,
      bytesPerSecond: 8e11,
    },
    freeBytes: memoryBytes - limits.cardOverhead.value,
  };
}

/** A character on 20 pictures in two buckets; forecasts are kept, since each takes seconds. */
function setUp(family: "sd15" | "sdxl") {
  const base = fullSizeBase(family);
  const engine = { engine: "torch", device: "cuda:0", precision: "bfloat16", basePrecision: "bfloat16" } as const;
  const plan = planTraining(datasetFacts, base, engine, {
    name: "fox",
    runFolder: "runs/fox",
    cacheFolder: "cache",
    type: "character",
    trigger: "fox",
    createdAt: "2026-01-01T00:00:00.000Z",
  });
  const side = base.nativeResolutionPx / base.pixelsPerLatent;
  const bucket = { pictures: 10, share: 0.5, heldOut: 1 };
  const load = {
    buckets: [
      { ...bucket, height: side, width: side },
      { ...bucket, height: (side * 5) / 4, width: (side * 3) / 4 },
    ],
    captions: 20,
    masked: false,
  };
  const known = new Map<string, RunForecast>();
  const settings = settingsOf(plan);
  const ask = forecaster(settings, { base, load, device: card(24) });
  const forecast: Forecaster = (own: TrainSettings) => {
    const key = JSON.stringify(own);
    const found = known.get(key) ?? ask(own);
    known.set(key, found);
    return found;
  };
  return { plan, settings, forecast };
}

type Run = ReturnType<typeof setUp>;

function fitTo(run: Run, memoryGiB: number) {
  const { plan, settings, forecast } = run;
  const device = card(memoryGiB);
  const { fit, plan: fitted } = fitRun({ plan, device, forecast });
  const { batch, accumulation, recompute, precision, previewSizePx } = settingsOf(fitted);
  expect([memoryGiB, fits(forecast(settingsOf(fitted)).memory.peakBytes, device.freeBytes)]).toEqual([memoryGiB, fit.fits]);
  const costs = compareCards(gpuPrices, []);
  const advice = fit.fits ? undefined : findTooLarge({ settings, fit, device, costs, forecast });
  return { change: [batch, accumulation, recompute, precision, previewSizePx], fitted, advice, freeBytes: device.freeBytes };
}

test("SD 1.5 is trained as planned from 8 GB on, and recomputes on 4", () => {
  const run = setUp("sd15");
  for (const memoryGiB of [8, 12, 16, 24, 80]) expect(fitTo(run, memoryGiB).change).toEqual([2, 1, false, "bfloat16", 512]);
  const { change, fitted } = fitTo(run, 4);
  expect(change).toEqual([2, 1, true, "bfloat16", 512]);
  expect(fitted.recompute.reason).toMatch(/^\d\.\d GB would not fit the 3\.5 GB that are free; \d\.\d GB do, \d+ % slower$/);
}, 300_000);

test("SDXL is trained as planned on 24 GB and more; on 12 it recomputes, on 8 with smaller previews; on 6 it is refused with what would fit", () => {
  const run = setUp("sdxl");
  for (const memoryGiB of [24, 80]) expect(fitTo(run, memoryGiB).change).toEqual([1, 1, false, "bfloat16", 1024]);
  expect(fitTo(run, 12).change).toEqual([1, 1, true, "bfloat16", 1024]);
  const { change, fitted } = fitTo(run, 8);
  expect(change).toEqual([1, 1, true, "bfloat16", 512]);
  expect(fitted.previewSizePx.reason).toMatch(/^previews of 1024 px do not fit beside the run; /);

  const { advice, freeBytes } = fitTo(run, 6);
  expect(advice?.message).toMatch(
    /^The run would take \d\.\d GB at its peak \(training\), and a card of 6 GB has 5\.6 GB free/,
  );
  expect(advice?.mend).toMatch(/--base-precision int8 \(\d\.\d GB\), or --base-precision nf4 \(\d\.\d GB\) would fit\./);
  // What is named does fit.
  const { settings, forecast } = run;
  const smallest: TrainSettings = { ...settings, recompute: true, previewPrompts: [] };
  const proposed = forecast({ ...smallest, basePrecision: "int8" });
  expect(fits(proposed.memory.peakBytes, freeBytes)).toBe(true);
  // A lower resolution is forecast on smaller buckets.
  const own = forecast(smallest).memory.phases.training.bytes;
  expect(forecast({ ...smallest, resolutionPx: 512 }).memory.phases.training.bytes).toBeLessThan(own);
}, 600_000);
