/** Each rule of the table: a plan that it speaks of, and one, as near as can be, that it does not. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { renderPlanDocs } from "../../../scripts/plan-docs.ts";
import { datasetFacts, narrow, sd15, sdxl } from "../../../test/plan-facts.ts";
import { limits } from "../limits.ts";
import { type BaseFacts, type DatasetFacts, type DeviceFacts, planTraining, type UserChoices } from "../plan.ts";
import { boundRules, planRules } from "./table.ts";

/** What differs from a style on SD 1.5 with 20 pictures, which no rule speaks of. */
interface Case {
  readonly choices?: Partial<UserChoices>;
  readonly dataset?: Partial<DatasetFacts>;
  readonly base?: BaseFacts;
  readonly device?: DeviceFacts;
}

const v: BaseFacts = { ...sdxl, schedule: { predictionType: "v_prediction", trainTimesteps: 1000, zeroTerminalSnr: true } };
const zeroSnr: BaseFacts = { ...sd15, schedule: { predictionType: "epsilon", trainTimesteps: 1000, zeroTerminalSnr: true } };
const pony: BaseFacts = { ...sdxl, lineage: { name: "pony", reason: "its name says so" } };
const sentence = "A small red fox sits on a mossy stone beside a stream and looks at the rising sun behind the hills";
const tags = "fox, red fur, sitting, moss, stone, stream, sunrise, hills, looking away, tail, outdoors, no humans, day";
const torch = { engine: "torch", name: "card", device: "cuda:0", precision: "bfloat16" } as const;
const fox = { type: "character", trigger: "fox" } as const;

/** By rule: where it speaks, and where it does not. */
const cases: Readonly<Record<string, readonly [fires: Case, silent: Case]>> = {
  "prediction.mismatch": [{ base: v, choices: { predictionType: "epsilon" } }, { base: v }],
  "noise-offset.high": [{ choices: { noiseOffset: 0.11 } }, { choices: { noiseOffset: 0.1 } }],
  "noise-offset.zero-snr": [{ base: zeroSnr, choices: { noiseOffset: 0.03 } }, { choices: { noiseOffset: 0.03 } }],
  "clip-skip.sdxl": [{ base: sdxl, choices: { clipSkip: 2 } }, { choices: { clipSkip: 2 } }],
  "resolution.other": [{ choices: { resolutionPx: 768 } }, { choices: { resolutionPx: 512 } }],
  "device.processor": [{ device: { engine: "ort" } }, { device: torch }],
  "base-precision.sdxl": [
    { base: sdxl, device: { ...torch, basePrecision: "int8" } },
    { base: sdxl, device: { ...torch, basePrecision: "bfloat16" } },
  ],
  "learning-rate.prodigy": [{ choices: { learningRate: 1 } }, { choices: { learningRate: 0.09 } }],
  "adapter.alpha": [{ choices: { rank: 16, alpha: 17 } }, { choices: { rank: 16, alpha: 16 } }],
  "adapter.rank": [
    { choices: { rank: 64 }, dataset: { pictures: 29 } },
    { choices: { rank: 64 }, dataset: { pictures: 30 } },
  ],
  // At rank 32 and alpha 16 a cosine with its warm-up has half the rate: 0.5 x 2e-4 x sqrt(16 x 2) x steps.
  "dose.low": [{ choices: { steps: 170 } }, { choices: { steps: 180 } }],
  "dose.high": [{ choices: { steps: 5400 } }, { choices: { steps: 5200 } }],
  "text-encoder.rate": [
    { choices: { learningRate: 3e-4, textEncoderLearningRate: 1.1e-4 } },
    { choices: { learningRate: 3e-4, textEncoderLearningRate: 0.9e-4 } },
  ],
  "warmup.long": [{ choices: { steps: 500, warmupSteps: 500 } }, { choices: { steps: 500, warmupSteps: 499 } }],
  "buckets.step": [{ choices: { bucketStepPx: 32 } }, { choices: { bucketStepPx: 128 } }],
  "batch.pictures": [{ choices: { batch: 19 } }, { choices: { batch: 18 } }],
  "batch.repeats": [
    { choices: { batch: 21 }, dataset: { picturesPerEpoch: 40 } },
    { choices: { batch: 20 }, dataset: { picturesPerEpoch: 40 } },
  ],
  "steps.epoch": [
    { choices: { steps: 300, learningRate: 1e-3 }, dataset: { pictures: 700, picturesPerEpoch: 700 } },
    { choices: { steps: 310, learningRate: 1e-3 }, dataset: { pictures: 700, picturesPerEpoch: 700 } },
  ],
  "pictures.few": [{ dataset: { pictures: 4 } }, { dataset: { pictures: 5 } }],
  "flip.character": [{ choices: { ...fox, flip: true } }, { choices: { type: "style", flip: true } }],
  "flip.captions": [
    { choices: { flip: true }, dataset: { captions: ["a fox", "a fox that looks to the left"] } },
    { choices: { flip: true }, dataset: { captions: ["a fox", "a fox that looks right after its cubs, leftovers beside it"] } },
  ],
  "epoch.long": [
    { dataset: { picturesPerEpoch: 20 * 115 } },
    // As many pictures in an epoch, but they are different ones.
    { dataset: { pictures: 2300, picturesPerEpoch: 2300 } },
  ],
  "captions.style": [
    { base: pony, dataset: { captions: [sentence] } },
    { base: pony, dataset: { captions: [tags] } },
  ],
  "trigger.missing": [{ choices: { type: "character" } }, { choices: fox }],
  "checkpoints.few": [{ choices: { steps: 900, checkpointEvery: 301 } }, { choices: { steps: 900, checkpointEvery: 300 } }],
  "held-out.none": [
    { choices: { heldOutFraction: 0 }, dataset: { pictures: 15 } },
    { choices: { heldOutFraction: 0 }, dataset: { pictures: 14 } },
  ],
};

function found({ choices, dataset, base = sd15, device }: Case): readonly string[] {
  const pictures = dataset?.pictures ?? datasetFacts.pictures;
  const plan = planTraining({ ...datasetFacts, picturesPerEpoch: pictures, ...dataset }, base, device, {
    name: "fox",
    runFolder: "runs/fox",
    cacheFolder: "cache",
    type: "style",
    createdAt: "2026-01-01T00:00:00.000Z",
    ...choices,
  });
  return (plan.findings ?? []).map(({ id }) => id);
}

test.each(planRules.map(({ id, title }) => [id, title] as const))("%s: speaks of %s, and of nothing near it", (id) => {
  const pair = cases[id];
  if (!pair) throw new Error(`two cases needed for the rule ${id}`);
  const [fires, silent] = pair;
  expect(found(fires)).toContain(id);
  expect(found(silent)).not.toContain(id);
});

test("doses of mini are not judged: the known ones are of bases a hundred times larger", () => {
  expect(found({ base: narrow, choices: { steps: 1, learningRate: 1e-6, checkpointEvery: 1 } })).not.toContain("dose.low");
});

test("sentences are no fault on a base that knows them, nor on SDXL itself", () => {
  expect(found({ base: sdxl, dataset: { captions: [sentence] } })).not.toContain("captions.style");
});

test("every rule has an id of its own, a reason, a source, and limits that are in the table", () => {
  const all = [...planRules, ...Object.values(boundRules)];
  expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
  for (const { reason, mend, source, limits: names } of all) {
    for (const text of [reason, mend, source]) expect(text.length).toBeGreaterThan(2);
    for (const name of names) expect(limits[name].source).not.toBe("");
  }
});

test("docs/plan.md tells every rule and limit as the tables have them", () => {
  expect(readFileSync("docs/plan.md", "utf8")).toBe(renderPlanDocs());
});
