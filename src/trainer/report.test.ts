/** The report card. */
import { expect, test } from "vitest";
import type { TrainPlan } from "../planner/plan.ts";
import { renderReport } from "./report.ts";

const plan = {
  version: 1,
  name: { value: "a<b>", reason: "named" },
  steps: { value: 2, reason: "few & quick" },
} as unknown as TrainPlan;

test("the page has a curve of held-out and training loss, the settings with reasons, and the sheets, with names escaped", () => {
  const base = { train: 2, heldOut: 4 };
  const html = renderReport(
    {
      plan,
      losses: [
        { step: 1, loss: 0.5 },
        { step: 2, loss: 0.3 },
      ],
      validations: [
        { step: 0, ...base, base, ratio: 1 },
        { step: 2, train: 1, heldOut: 3, base, ratio: 0.75 },
      ],
      sheets: [{ step: 2, path: "samples/step 2.png" }],
      chosen: { step: 2, reason: "It is best." },
      memory: { type: "memory", residentBytes: 1e8, peakBytes: 1.1e9, forecastBytes: 1e9, forecastAt: "training", ratio: 1.1 },
      notes: ["<script>"],
    },
    (path) => path,
  );
  expect(html).toContain("<h1>a&lt;b&gt;</h1>");
  expect(html).toContain("few &amp; quick");
  expect(html.match(/<polyline/g)).toHaveLength(3);
  expect(html).toContain("0.7500");
  expect(html).toContain('src="samples/step%202.png"');
  expect(html).toContain("At most 1.1 GB was held; 1.0 GB was forecast (training), so it was 1.10 of that.");
  expect(html).not.toContain("<script>");
});
