/** The dose index: against recipes worked out by hand, and where a plan is placed. */
import { expect, test } from "vitest";
import { rateFactor } from "../trainer/learning-rate.ts";
import { doseOf, knownDoses, meanRateFactor, placeDose } from "./dose.ts";

const kohyaDocs = {
  learningRate: 1e-4,
  schedule: "constant",
  warmupSteps: 0,
  alpha: 16,
  batch: 1,
  accumulation: 1,
  gpus: 1,
  steps: 2000,
} as const;

test("2000 steps of kohya's SDXL docs (1e-4, alpha 16, batch 1, constant) are a dose of 0.8", () => {
  expect(doseOf(kohyaDocs)).toBeCloseTo(0.8, 10);
});

test("accumulation counts as batch does, and four times the batch is twice the dose", () => {
  expect(doseOf({ ...kohyaDocs, batch: 4 })).toBeCloseTo(1.6, 10);
  expect(doseOf({ ...kohyaDocs, accumulation: 4 })).toBeCloseTo(1.6, 10);
});

test("the mean rate is the mean over the steps of what the trainer takes", () => {
  for (const schedule of ["constant", "cosine"] as const) {
    for (const warmupSteps of [0, 50, 1000, 3000]) {
      const settings = { schedule, warmupSteps, steps: 1000 };
      let sum = 0;
      for (let step = 1; step <= 1000; step++) sum += rateFactor(step, settings);
      expect(meanRateFactor(settings)).toBeCloseTo(sum / 1000, 10);
    }
  }
});

test("a dose is placed between the nearest known recipes, and the ends have one neighbour", () => {
  expect(placeDose(kohyaDocs)).toMatchObject({ verdict: "usual", below: { dose: 0.8 }, above: { dose: 1.2 } });
  expect(placeDose({ ...kohyaDocs, steps: 10 })).toMatchObject({ verdict: "probably too little", below: undefined });
  expect(placeDose({ ...kohyaDocs, steps: 20_000 })).toMatchObject({ verdict: "probably too much", above: undefined });
  expect(placeDose({ ...kohyaDocs, steps: 300 }).verdict).toBe("low");
  expect(placeDose({ ...kohyaDocs, steps: 6000 }).verdict).toBe("high");
});

test("the known recipes stand in the order of their doses", () => {
  const doses = knownDoses.map(({ dose }) => dose);
  expect(doses).toEqual(doses.toSorted((a, b) => a - b));
});
