import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createToy, type Toy } from "../../../test/toy-run.ts";
import { openBase } from "../../checkpoints/open-base.ts";
import { ortFacts } from "../../engines/ort/engine.ts";
import { settingsOf, type TrainSettings, type UserChoices } from "../../planner/plan.ts";
import { readRunPictures } from "../pictures.ts";
import { countGraphs } from "./graphs.ts";
import { datasetLoadOf, type ForecastInput, forecastRun, type RunForecast } from "./forecast.ts";

let toy: Toy;
let scratch: string;

beforeAll(async () => {
  toy = await createToy("sdxl");
  scratch = await mkdtemp(join(tmpdir(), "gesso-forecast-"));
});

afterAll(async () => {
  await rm(toy.folder, { recursive: true });
  await rm(scratch, { recursive: true });
});

const profile = {
  engine: "ort",
  name: "a machine",
  memoryBytes: 2 ** 34,
  threads: 2,
  dtypes: ["float32"],
  flopsPerSecond: 1e11,
  bytesPerSecond: 1e10,
} as const;

async function inputFor(choices: Partial<UserChoices> = {}): Promise<ForecastInput & { settings: TrainSettings }> {
  const settings = settingsOf(await toy.plan("forecast", choices));
  const base = await openBase(toy.baseFolder, { hashCacheFile: undefined });
  const run = await readRunPictures(settings);
  return { settings, base, dataset: datasetLoadOf(run, base), engine: ortFacts };
}

async function forecast(choices: Partial<UserChoices> = {}): Promise<RunForecast> {
  return forecastRun({ ...(await inputFor(choices)), profile });
}

function bytesOf({ memory }: RunForecast, name: string): number {
  return memory.phases.training.terms.find((term) => term.name === name)?.bytes ?? 0;
}

test("the terms of each part of a run add up to what it holds, and the peak is the largest part", async () => {
  const { memory } = await forecast({ previewPrompts: ["a square"] });
  const parts = Object.values(memory.phases);
  for (const { bytes, terms } of parts) expect(terms.reduce((sum, term) => sum + term.bytes, 0)).toBe(bytes);
  expect(memory.peakBytes).toBe(Math.max(...parts.map(({ bytes }) => bytes)));
  expect(memory.phases[memory.peakAt].bytes).toBe(memory.peakBytes);
});

test("AdamW's moments take twice the adapter's bytes, and gradients that are summed up have two arrays", async () => {
  const plain = await forecast();
  expect(bytesOf(plain, "optimizer")).toBe(2 * bytesOf(plain, "adapter"));
  expect(bytesOf(plain, "accumulated gradients")).toBe(0);
  const summed = await forecast({ accumulation: 2 });
  expect(bytesOf(summed, "accumulated gradients")).toBe(2 * bytesOf(summed, "adapter"));
});

test("an adapter of twice the rank takes twice the bytes", async () => {
  expect(bytesOf(await forecast({ rank: 8, alpha: 8 }), "adapter")).toBe(2 * bytesOf(await forecast({ rank: 4 }), "adapter"));
});

test("a larger batch takes more activations, recomputing takes fewer", async () => {
  const activations = async (choices: Partial<UserChoices>): Promise<number> =>
    countGraphs(await inputFor(choices)).step.memory.activations;
  const two = await activations({ batch: 2 });
  expect(await activations({ batch: 4 })).toBeGreaterThan(1.8 * two);
  expect(await activations({ batch: 2, recompute: true })).toBeLessThan(two);
});

test("what a process holds already counts where the engine runs in it, and not where the engine is another process", async () => {
  const input = await inputFor();
  const engineBytes = (residentBytes: number, isInProcess: boolean): number => {
    const engine = { ...ortFacts, overhead: { ...ortFacts.overhead, isInProcess } };
    return bytesOf(forecastRun({ ...input, engine, residentBytes, profile }), "engine");
  };
  const { startBytes } = ortFacts.overhead;
  expect(engineBytes(1e9, true) - engineBytes(0, true)).toBe(1e9 - startBytes);
  expect(engineBytes(0, true)).toBeGreaterThan(startBytes);
  expect(engineBytes(1e9, false)).toBe(startBytes);
});

test("text encoders are held in training only where they are trained", async () => {
  expect(bytesOf(await forecast(), "text encoder weights")).toBe(0);
  expect(bytesOf(await forecast({ textEncoderLearningRate: 1e-5 }), "text encoder weights")).toBeGreaterThan(0);
});

test("the seconds of each part times how often it comes add up to the whole", async () => {
  const { time } = await forecast({ steps: 10, validateEvery: 3, checkpointEvery: 5, previewPrompts: ["a square"] });
  expect(time.terms.reduce((sum, term) => sum + term.seconds * term.times, 0)).toBe(time.totalSeconds);
  const times = Object.fromEntries(time.terms.map((term) => [term.name, term.times]));
  // Before the first step, after steps 3, 6 and 9, and at the end; after step 5 and at the end.
  expect(times).toMatchObject({ steps: 10, validation: 5, checkpoints: 2 });
});

test("a step of two microsteps takes about twice as long", async () => {
  const [one, two] = [await forecast(), await forecast({ accumulation: 2 })];
  expect(two.time.stepSeconds / one.time.stepSeconds).toBeGreaterThan(1.7);
  expect(two.time.stepSeconds / one.time.stepSeconds).toBeLessThan(2.3);
});

test("the steps' shares of all buckets add up to 1, and every picture is in one", async () => {
  const { dataset } = await inputFor();
  expect(dataset.buckets.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 12);
  expect(dataset.buckets.reduce((sum, { pictures }) => sum + pictures, 0)).toBe(6);
});
