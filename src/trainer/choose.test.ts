/** Which checkpoint is kept. */
import { expect, test } from "vitest";
import { chooseStep } from "./choose.ts";
import type { Validation } from "./events.ts";

const at = (step: number, heldOut: number | null): Validation => ({
  step,
  train: 0.5,
  heldOut,
  base: { train: 1, heldOut: heldOut === null ? null : 1 },
  ratio: heldOut ?? 0.5,
});

test("the checkpoint with the lowest held-out loss is kept, not the last", () => {
  const choice = chooseStep([10, 20, 30], [at(0, 1), at(10, 0.97), at(20, 0.95), at(30, 0.96)]);
  expect(choice).toEqual({
    step: 20,
    reason: "Its loss on held-out pictures is the lowest of 3 checkpoints: 0.9500 of the base model's.",
  });
});

test("a measurement without a checkpoint cannot be chosen", () => {
  expect(chooseStep([20], [at(10, 0.9), at(20, 0.95)]).step).toBe(20);
});

test("when the last is the best, more steps are suggested", () => {
  expect(chooseStep([10, 20], [at(10, 0.97), at(20, 0.95)]).reason).toMatch(/more steps/);
});

test("when none is better than the base, that is said", () => {
  expect(chooseStep([10], [at(10, 1.02)]).reason).toMatch(/no better than the base/);
});

test("without held-out pictures the last step is kept", () => {
  expect(chooseStep([10, 20], [at(10, null), at(20, null)]).step).toBe(20);
});
