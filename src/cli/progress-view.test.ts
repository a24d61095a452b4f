/** What a run writes to a terminal, watched and not. */
import { expect, test } from "vitest";
import type { TrainEvent } from "../index.ts";
import type { Terminal } from "./command.ts";
import { createProgressView } from "./progress-view.ts";

const start: TrainEvent = {
  type: "start",
  name: "fox",
  runFolder: "runs/fox",
  step: 0,
  steps: 40,
  pictures: 36,
  heldOut: ["a", "b", "c", "d"],
  buckets: [],
  layers: 70,
  trainedParameters: 1_200_000,
  device: "a processor (2 threads)",
};
const losses = { train: 0.11, heldOut: 0.12, base: { train: 0.11, heldOut: 0.12 } };

/** A run of 40 steps, half a second each, as lines: redrawn ones marked with "~". */
function replay(isInteractive: boolean): string[] {
  const lines: string[] = [];
  let nowMs = 0;
  const terminal: Terminal = {
    out: (text) => void lines.push(text),
    err: (text) => void lines.push(text),
    status: (line) => void lines.push(`~ ${line}`),
    isInteractive,
    columns: 90,
    signal: new AbortController().signal,
  };
  const view = createProgressView(terminal, { told: new Set(["known already"]), now: () => nowMs });
  view.show({ type: "progress", phase: "latents", done: 1, total: 36 });
  view.show({ type: "progress", phase: "latents", done: 36, total: 36 });
  view.show(start);
  view.show({ type: "warning", message: "known already" });
  view.show({ type: "warning", message: "new" });
  view.show({ type: "validation", step: 0, ...losses, ratio: 1 });
  for (let step = 1; step <= 40; step++) {
    nowMs += 500;
    view.show({ type: "step", step, epoch: 0, loss: 0.1, lr: 1e-3, gradNorm: 1, durationMs: 500, memoryBytes: 9e8 });
  }
  view.show({ type: "validation", step: 40, ...losses, ratio: 0.94 });
  view.show({ type: "sample", step: 40, path: "runs/fox/samples/step-000040.png" });
  view.end();
  return lines;
}

test("a run that nobody watches is told in plain lines", () => {
  const lines = replay(false);
  expect(lines.slice(0, 7).join("\n")).toMatchInlineSnapshot(`
    "Encoding pictures ...
    40 steps: 32 pictures to learn from, 4 held out; 70 layers, 1,200,000 weights (2.4 MB on
    disk); on a processor (2 threads).
    Note: new
    Before the first step: loss 0.1200 on held-out pictures; what follows is compared with it.
    step 1/40  loss 0.1000  900 MB
    step 3/40  loss 0.1000  2.0 steps/s  19 s left  900 MB
    step 5/40  loss 0.1000  2.0 steps/s  18 s left  900 MB"
  `);
  expect(lines.slice(-4).join("\n")).toMatchInlineSnapshot(`
    "step 40/40  loss 0.1000  2.0 steps/s  900 MB
    Step 40: loss on held-out pictures is 0.940 of the base model's.
    Step 40: preview runs/fox/samples/step-000040.png
    ~ "
  `);
  expect(lines).toHaveLength(28);
});

test("a run that a person watches redraws one line, and takes it away at the end", () => {
  const lines = replay(true);
  expect(lines.filter((line) => line.startsWith("~ "))).toHaveLength(49);
  expect(lines.filter((line) => !line.startsWith("~"))).toHaveLength(5);
  expect(lines.findLast((line) => line.includes("━"))).toMatchInlineSnapshot(
    `"~ ━━━━━━━━━━━━━━━━━━━  step 40/40  loss 0.1000  2.0 steps/s  900 MB  held-out 0.940 of base"`,
  );
  expect(lines.at(-1)).toBe("~ ");
});
