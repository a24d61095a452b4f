/** The learning rate over a run. */
import { expect, test } from "vitest";
import { rateFactor } from "./learning-rate.ts";

test("a constant rate rises over the warm-up and stays", () => {
  const schedule = { schedule: "constant", steps: 10, warmupSteps: 4 } as const;
  expect([1, 2, 3, 4, 5, 10].map((step) => rateFactor(step, schedule))).toEqual([0.25, 0.5, 0.75, 1, 1, 1]);
});

test("a cosine rate is whole after the warm-up, half midway and near zero at the end", () => {
  const schedule = { schedule: "cosine", steps: 104, warmupSteps: 4 } as const;
  expect(rateFactor(5, schedule)).toBe(1);
  expect(rateFactor(55, schedule)).toBeCloseTo(0.5, 12);
  expect(rateFactor(104, schedule)).toBeGreaterThan(0);
  expect(rateFactor(104, schedule)).toBeLessThan(0.001);
});

test("without a warm-up the first step has the whole rate", () => {
  expect(rateFactor(1, { schedule: "cosine", steps: 3, warmupSteps: 0 })).toBe(1);
});
