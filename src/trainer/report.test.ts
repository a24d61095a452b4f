/** The report card. */
import { expect, test } from "vitest";
import { datasetFacts, narrow } from "../../test/plan-facts.ts";
import { planTraining } from "../planner/plan.ts";
import { renderReport, type ReportFacts } from "./report.ts";

const choices = { type: "style", runFolder: "runs/fox", cacheFolder: "cache", trigger: "a<b>", steps: 2 } as const;
const plan = planTraining(datasetFacts, narrow, undefined, { ...choices, name: "few & quick", createdAt: "" });
const base = { train: 2, heldOut: 4 };
const facts: ReportFacts = {
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
};

test("the page has a curve of held-out and training loss, the measurements, and the sheets, with names escaped", () => {
  const html = renderReport(facts, (path) => path);
  expect(html).toContain("<h1>few &amp; quick</h1>");
  expect(html).toContain("trigger word “a&lt;b&gt;”");
  expect(html.match(/<polyline/g)).toHaveLength(3);
  expect(html).toContain("<td>2 (kept)</td><td>1.00000</td><td>3.00000</td><td>0.7500</td>");
  expect(html).toContain('src="samples/step%202.png"');
  expect(html).toContain("At most 1.1 GB was held; 1.0 GB was forecast, while training: it took 1.10 of that.");
  expect(html).not.toContain("<script>");
});

test("the settings have the names, units and reasons of gesso plan, what nobody asks about folded away, and no key of the plan", () => {
  const html = renderReport(facts, (path) => path);
  const [asked = "", folded = ""] = html.slice(html.indexOf('class="settings"')).split("<details>");
  expect(asked).toContain("<th>resolution</th><td>512 px</td><td>what the base was made for</td>");
  expect(asked).toContain("<th>text encoder rate</th><td>off</td><td>text encoders are left alone: they tend to forget [");
  expect(folded).toContain("<th>longest gradient</th><td>1</td><td>one bad batch cannot throw the adapter off [kohya");
  expect(folded).toContain("<th>small pictures</th><td>are enlarged</td>");
  for (const name of Object.keys(plan).filter((name) => /[A-Z]/.test(name))) expect(html).not.toContain(name);
  expect(html).not.toMatch(/<td>(null|true|false|[[{].*)<\/td>/);
});
