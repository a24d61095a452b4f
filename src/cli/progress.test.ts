/** The progress line as a person sees it, from events at given times. */
import { expect, test } from "vitest";
import type { TrainEvent } from "../index.ts";
import {
  advance,
  initialProgress,
  isTimeToTell,
  markTold,
  type ProgressState,
  renderProgress,
  smoothedLoss,
} from "./progress.ts";

const start: TrainEvent = {
  type: "start",
  name: "fox",
  runFolder: "runs/fox",
  step: 0,
  steps: 400,
  pictures: 36,
  heldOut: [],
  buckets: [],
  layers: 10,
  trainedParameters: 1000,
  device: "cpu",
};

const stepEvent = (step: number, loss = 0.1): TrainEvent => ({
  type: "step",
  step,
  epoch: 0,
  loss,
  lr: 1e-3,
  gradNorm: 1,
  durationMs: 200,
  memoryBytes: 1_234_000_000,
});

/** Steps `from`..`to`, one every `ms`. */
function walk(from: number, to: number, ms: number, state = advance(initialProgress, start, 0)): ProgressState {
  for (let step = from; step <= to; step++) state = advance(state, stepEvent(step), 5000 + step * ms);
  return state;
}

test("before the first step the line says what is prepared", () => {
  const state = advance(advance(initialProgress, start, 0), { type: "progress", phase: "latents", done: 12, total: 36 }, 100);
  expect(renderProgress(state, 100)).toBe("encoding pictures 12/36");
});

test("the line shows bar, step, loss, rate, time left, memory and the held-out ratio", () => {
  const measured = advance(
    walk(1, 100, 250),
    { type: "validation", step: 100, train: 1, heldOut: 0.9, base: { train: 1, heldOut: 1 }, ratio: 0.9312 },
    31000,
  );
  expect(renderProgress(measured, 130)).toMatchInlineSnapshot(
    `"━━━━━━──────────────────  step 100/400  loss 0.1000  4.0 steps/s  1 min 15 s left  1.2 GB  held-out 0.931 of base"`,
  );
});

test("a narrow terminal gets a line without the bar, the memory and then the rate", () => {
  const state = walk(1, 100, 250);
  expect(renderProgress(state, 60)).toBe("step 100/400  loss 0.1000  4.0 steps/s  1 min 15 s left");
  expect(renderProgress(state, 50)).toBe("step 100/400  loss 0.1000  1 min 15 s left");
  expect(renderProgress(state, 10)).toBe("step 100/…");
});

test("the first step, which prepares everything, does not count for the rate", () => {
  const first = advance(advance(initialProgress, start, 0), stepEvent(1), 60_000);
  expect(renderProgress(first, 80)).not.toMatch(/left|step\/s|s\/step/);
  const second = advance(first, stepEvent(2), 62_100);
  expect(renderProgress(second, 100)).toContain("2.1 s/step  13 min 56 s left");
});

test("a run that goes on counts its rate from the step where it went on", () => {
  const resumed = advance(initialProgress, { ...start, step: 200 }, 0);
  expect(renderProgress(walk(201, 300, 500, resumed), 100)).toContain("step 300/400  loss 0.1000  2.0 steps/s  50 s left");
});

test("the loss is a mean over about twenty steps that begins at the first value", () => {
  const first = advance(initialProgress, stepEvent(1, 0.4), 0);
  expect(smoothedLoss(first)).toBeCloseTo(0.4);
  const second = advance(first, stepEvent(2, 0.2), 100);
  expect(smoothedLoss(second)).toBeCloseTo((0.95 * 0.4 + 0.2) / 1.95);
  expect(smoothedLoss(initialProgress)).toBeUndefined();
});

test("without a terminal a run of 400 fast steps is told in 21 lines, the first and last step among them", () => {
  let state = advance(initialProgress, start, 0);
  const told: number[] = [];
  for (let step = 1; step <= 400; step++) {
    state = advance(state, stepEvent(step), step * 10);
    if (!isTimeToTell(state, step * 10)) continue;
    told.push(step);
    state = markTold(state, step * 10);
  }
  expect(told).toHaveLength(21);
  expect([told[0], told.at(-1)]).toEqual([1, 400]);
});

test("a slow run is told every half a minute", () => {
  const state = markTold(walk(1, 1, 250), 10_000);
  const next = advance(state, stepEvent(2), 39_000);
  expect(isTimeToTell(next, 39_000)).toBe(false);
  expect(isTimeToTell(next, 40_000)).toBe(true);
});
