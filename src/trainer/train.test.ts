/** Whole runs on a toy base: events, files, stopping and going on, accumulation, broken weights. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writePng } from "../formats/images.ts";
import { openSafetensors, readTensor, writeSafetensors } from "../formats/safetensors.ts";
import { openBase } from "../checkpoints/open-base.ts";
import { settingsOf, type TrainPlan, type UserChoices } from "../planner/plan.ts";
import { ortFacts } from "../engines/ort/engine.ts";
import { ortOverheadOf } from "../engines/ort/overhead.ts";
import { collect, createToy, type Toy, toyOptions, toyThreads } from "../../test/toy-run.ts";
import { writeToyDataset } from "../../test/toy-base.ts";
import type { TrainEvent } from "./events.ts";
import { datasetLoadOf } from "./forecast/forecast.ts";
import { countGraphs } from "./forecast/graphs.ts";
import { forecastMemory } from "./forecast/memory.ts";
import { readRunPictures } from "./pictures.ts";
import { readEvents } from "./run-folder.ts";
import { sampleImages } from "./sample-images.ts";
import { resumeTraining, train } from "./train.ts";

let toy: Toy;
/** A run of 4 steps that nothing disturbed. */
let whole: { plan: TrainPlan; events: TrainEvent[] };

beforeAll(async () => {
  toy = await createToy("sdxl");
  const plan = await toy.plan("whole");
  whole = { plan, events: await collect(train(plan, toyOptions)) };
}, 60_000);
afterAll(() => rm(toy.folder, { recursive: true, force: true }));

const fileOf = (plan: TrainPlan, ...names: string[]): Promise<Buffer> => readFile(join(plan.runFolder.value, ...names));

/** The result and the last checkpoint's two tensor files. */
async function bytesOf(plan: TrainPlan): Promise<readonly Buffer[]> {
  const last = join("checkpoints", "step-000004");
  return Promise.all([
    fileOf(plan, `${plan.name.value}.safetensors`),
    fileOf(plan, last, "adapter.safetensors"),
    fileOf(plan, last, "optimizer.safetensors"),
  ]);
}

const stepsOf = (events: readonly TrainEvent[]): number[] =>
  events.flatMap((event) => (event.type === "step" ? [event.step] : []));

test("a run tells its start, every step, validations against the base, checkpoints and its result", () => {
  const told = whole.events.filter(({ type }) => type !== "progress" && type !== "warning").map(({ type }) => type);
  const half = ["step", "step", "validation", "checkpoint"];
  expect(told).toEqual(["start", "validation", ...half, ...half, "memory", "done"]);
  expect(stepsOf(whole.events)).toEqual([1, 2, 3, 4]);
  const validations = whole.events.flatMap((event) => (event.type === "validation" ? [event] : []));
  expect(validations[0]?.ratio).toBe(1);
  expect(validations[2]?.ratio).toBeLessThan(1);
  expect(validations[2]?.base).toEqual(validations[0]?.base);
});

test("what the run took in memory is told beside what was forecast of it", async () => {
  const memory = whole.events.find((event) => event.type === "memory");
  if (!memory) throw new Error("nothing was told of memory");
  const base = await openBase(toy.baseFolder, { hashCacheFile: undefined });
  const settings = settingsOf(whole.plan);
  const dataset = datasetLoadOf(await readRunPictures(settings), base);
  const engine = { ...ortFacts, overhead: ortOverheadOf(toyThreads) };
  const input = { settings, base, dataset, engine, residentBytes: memory.residentBytes };
  const { peakBytes, peakAt } = forecastMemory(input, countGraphs(input));
  expect(memory).toMatchObject({ forecastBytes: peakBytes, forecastAt: peakAt });
  expect(memory.peakBytes).toBeGreaterThan(0);
  expect(memory.peakBytes).toBeLessThanOrEqual(1024 * process.resourceUsage().maxRSS);
  expect(memory.ratio).toBe(memory.peakBytes / memory.forecastBytes);
  expect((await fileOf(whole.plan, "report.html")).toString()).toContain("MB was forecast");
});

test("a forecast that was made before the run is the one that is told", async () => {
  const settings = settingsOf(whole.plan);
  const base = await openBase(toy.baseFolder, { hashCacheFile: undefined });
  const input = { settings, base, dataset: datasetLoadOf(await readRunPictures(settings), base), engine: ortFacts };
  const forecast = { ...forecastMemory(input, countGraphs(input)), peakBytes: 123e6, peakAt: "encoding" } as const;
  const events = await collect(train(await toy.plan("forecast", { steps: 1 }), { ...toyOptions, forecast }));
  const memory = events.find((event) => event.type === "memory");
  expect(memory).toMatchObject({ forecastBytes: 123e6, forecastAt: "encoding" });
  expect(memory?.ratio).toBe((memory?.peakBytes ?? 0) / 123e6);
}, 60_000);

test("events.jsonl holds what was told, one event a line, without progress", async () => {
  const lines = await readEvents(join(whole.plan.runFolder.value, "events.jsonl"));
  expect(lines).toEqual(whole.events.filter(({ type }) => type !== "progress"));
  const step = lines.find(({ type }) => type === "step");
  expect(Object.keys(step ?? {})).toEqual(["type", "step", "epoch", "loss", "lr", "gradNorm", "durationMs", "memoryBytes"]);
});

test("a validation tells step, losses, the base's losses and their ratio, and nothing else", () => {
  const [first, ...others] = whole.events.filter((event) => event.type === "validation");
  expect(others).toHaveLength(2);
  if (first?.type !== "validation") return;
  for (const event of [first, ...others]) {
    if (event.type !== "validation") continue;
    expect(Object.keys(event)).toEqual(["type", "step", "train", "heldOut", "base", "ratio"]);
    expect(event.base).toEqual({ train: first.train, heldOut: first.heldOut });
    expect(event.ratio).toBe((event.heldOut ?? NaN) / (first.heldOut ?? NaN));
  }
});

test("the result is the chosen checkpoint's adapter, byte for byte", async () => {
  const done = whole.events.at(-1);
  const step = done?.type === "done" ? done.step : 0;
  const adapter = await fileOf(whole.plan, "checkpoints", `step-00000${step}`, "adapter.safetensors");
  expect(adapter.equals(await fileOf(whole.plan, "whole.safetensors"))).toBe(true);
});

test("a finished run folder holds the plan, two complete checkpoints, the adapter and the report, and nothing half-written", async () => {
  const names = await readdir(whole.plan.runFolder.value, { recursive: true });
  const inside = ["adapter.safetensors", "optimizer.safetensors", "state.json"];
  const checkpoints = ["step-000002", "step-000004"].flatMap((step) => [step, ...inside.map((name) => join(step, name))]);
  const expected = ["checkpoints", "events.jsonl", "plan.json", "report.html", "samples", "whole.safetensors"];
  expect(names.sort()).toEqual([...expected, ...checkpoints.map((name) => join("checkpoints", name))].sort());
});

test("the adapter file changes what the base draws", async () => {
  const base = await openBase(toy.baseFolder, { hashCacheFile: undefined });
  const shared = {
    base,
    createEngine: toyOptions.createEngine,
    prompts: ["toy, square 0"],
    negativePrompt: "",
    seed: 1,
    steps: 2,
    guidance: 3,
    sampler: "euler",
    widthPx: 32,
    heightPx: 32,
  };
  const path = join(whole.plan.runFolder.value, "whole.safetensors");
  const [plain] = await sampleImages({ ...shared, adapters: [] });
  const [unused] = await sampleImages({ ...shared, adapters: [{ path, weight: 0 }] });
  const [changed] = await sampleImages({ ...shared, adapters: [{ path, weight: 4 }] });
  expect(unused?.data).toEqual(plain?.data);
  expect(changed?.data).not.toEqual(plain?.data);
});

test("stopping at step 2 and resuming gives the same bytes as 4 steps", async () => {
  const plan = { ...whole.plan, runFolder: { value: join(toy.folder, "runs", "stopped"), reason: "" } };
  const controller = new AbortController();
  const stopAt = (event: TrainEvent): void => {
    if (event.type === "step" && event.step === 2) controller.abort();
  };
  const first = await collect(train(plan, { ...toyOptions, signal: controller.signal }), stopAt);
  expect(first.at(-1)).toMatchObject({ type: "stopped", step: 2 });
  const second = await collect(resumeTraining(plan.runFolder.value, toyOptions));
  expect(stepsOf(second)).toEqual([3, 4]);
  expect(await bytesOf(plan)).toEqual(await bytesOf(whole.plan));
});

test("stopping between two checkpoints saves one, and resuming gives the same bytes", async () => {
  const plan = { ...whole.plan, runFolder: { value: join(toy.folder, "runs", "between"), reason: "" } };
  const controller = new AbortController();
  await collect(train(plan, { ...toyOptions, signal: controller.signal }), (event) => {
    if (event.type === "step" && event.step === 3) controller.abort();
  });
  const second = await collect(resumeTraining(plan.runFolder.value, toyOptions));
  expect(stepsOf(second)).toEqual([4]);
  expect(await bytesOf(plan)).toEqual(await bytesOf(whole.plan));
});

test("a run that is killed with SIGKILL after step 3 resumes from step 2 to the same bytes, and its events tell each step once", async () => {
  const plan = { ...whole.plan, runFolder: { value: join(toy.folder, "runs", "killed"), reason: "" } };
  const planPath = join(toy.folder, "killed.json");
  await writeFile(planPath, JSON.stringify(plan));
  const script = fileURLToPath(new URL("../../test/train-child.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", script, planPath], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  for await (const line of createInterface({ input: child.stdout })) {
    const event = JSON.parse(line) as TrainEvent;
    if (event.type === "step" && event.step === 3) child.kill("SIGKILL");
  }
  await exited;
  const second = await collect(resumeTraining(plan.runFolder.value, toyOptions));
  expect(stepsOf(second)).toEqual([3, 4]);
  expect(stepsOf(await readEvents(join(plan.runFolder.value, "events.jsonl")))).toEqual([1, 2, 3, 4]);
  expect(await bytesOf(plan)).toEqual(await bytesOf(whole.plan));
});

test("a checkpoint that was being written when the run died is removed and not used", async () => {
  const folder = join(toy.folder, "runs", "leftover");
  await cp(whole.plan.runFolder.value, folder, { recursive: true });
  await cp(join(folder, "checkpoints", "step-000002"), join(folder, "checkpoints", ".step-000003.abcd"), { recursive: true });
  await rm(join(folder, "checkpoints", "step-000004"), { recursive: true });
  await writeFile(join(folder, ".whole.safetensors.0123.tmp"), "half");
  const events = await collect(resumeTraining(folder, toyOptions));
  expect(stepsOf(events)).toEqual([3, 4]);
  expect(await readdir(join(folder, "checkpoints"))).toEqual(["step-000002", "step-000004"]);
  expect((await readdir(folder)).filter((name) => name.startsWith("."))).toEqual([]);
});

test("a run on a dataset that has changed is not gone on with", async () => {
  const folder = join(toy.folder, "runs", "changed");
  await cp(whole.plan.runFolder.value, folder, { recursive: true });
  const caption = join(toy.folder, "data", "square-0.txt");
  await writeFile(caption, "something else");
  await expect(collect(resumeTraining(folder, toyOptions))).rejects.toThrow(/has changed since the run was started/);
  await writeFile(caption, "square 0");
});

test("a folder that holds a run is not trained into", async () => {
  await expect(collect(train(whole.plan, toyOptions))).rejects.toThrow(/There is a run in .* already/);
});

test("a run folder that cannot be made is refused with the reason", async () => {
  const inAFile = join(toy.baseFolder, "model_index.json", "run");
  const plan = { ...whole.plan, runFolder: { value: inAFile, reason: "" } };
  await expect(collect(train(plan, toyOptions))).rejects.toThrow(/Cannot write .*: a part of its path is a file, not a folder/);
});

test("a picture that would lose most of itself, and a caption of thousands of letters, are refused by name, or left out when asked", async () => {
  const data = await writeToyDataset(join(toy.folder, "odd"), 3);
  await writePng(join(data, "panorama.png"), {
    widthPx: 800,
    heightPx: 20,
    channels: 3,
    data: new Uint8Array(800 * 20 * 3).fill(90),
  });
  await writeFile(join(data, "square-2.txt"), "hills ".repeat(2000));
  const plan = { ...(await toy.plan("odd", { steps: 1 })), datasetFolder: { value: data, reason: "" } };
  await expect(collect(train(plan, toyOptions))).rejects.toThrow(
    /panorama\.png is 800 x 20 px: 9\d % .*[^]*caption of .*square-2\.png has 11999 characters/,
  );
  const lenient = {
    ...plan,
    runFolder: { value: join(toy.folder, "runs", "lenient"), reason: "" },
    skipBroken: { value: true, reason: "" },
  };
  const events = await collect(train(lenient, toyOptions));
  expect(events.filter((event) => event.type === "warning" && event.message.startsWith("Left out:"))).toHaveLength(2);
  expect(events.at(-1)).toMatchObject({ type: "done" });
});

test("a caption that the text encoders cannot read whole is trained on, and told of", async () => {
  const data = await writeToyDataset(join(toy.folder, "long"), 3);
  await writeFile(join(data, "square-2.txt"), "a square of some colour or other");
  const plan = { ...(await toy.plan("long", { steps: 1 })), datasetFolder: { value: data, reason: "" } };
  const events = await collect(train(plan, toyOptions));
  expect(
    events.flatMap((event) => (event.type === "warning" && event.message.includes("longer") ? [event.message] : [])),
  ).toEqual([
    'The caption of square-2 is longer than the 14 tokens that are read; what is not seen: "some colour or other". ' +
      "Put what matters first, or give --max-caption-tokens up to 42.",
  ]);
});

test("two microsteps of one picture are one step of two", async () => {
  const plan = await toy.plan("accumulated", { batch: 1, accumulation: 2 });
  const events = await collect(train(plan, toyOptions));
  const losses = (list: readonly TrainEvent[]): number[] =>
    list.flatMap((event) => (event.type === "step" ? [event.loss] : []));
  losses(events).forEach((loss, i) => {
    expect(loss).toBeCloseTo(losses(whole.events)[i] ?? NaN, 4);
  });
  const open = (run: TrainPlan) =>
    openSafetensors(join(run.runFolder.value, "checkpoints", "step-000002", "optimizer.safetensors"));
  const [one, two] = [await open(plan), await open(whole.plan)];
  for (const name of [...two.tensors.keys()].filter((key) => key.endsWith(".up.m"))) {
    const [a, b] = [await readTensor(one, name), await readTensor(two, name)];
    const difference = Math.hypot(...a.map((value, i) => value - (b[i] ?? NaN)));
    expect(difference).toBeLessThan(1e-5 * Math.max(1e-2, Math.hypot(...b)));
  }
});

test("the second run on the same pictures takes every latent and caption from the cache", async () => {
  const before = await countFiles(join(toy.folder, "cache"));
  expect(before).toBeGreaterThan(0);
  await collect(train(await toy.plan("cached", { steps: 1, captionDropout: 0.5 }), toyOptions));
  expect(await countFiles(join(toy.folder, "cache"))).toBe(before);
});

async function countFiles(folder: string): Promise<number> {
  return (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(".safetensors")).length;
}

test("a run that computes activations again learns the same bytes", async () => {
  const plan = await toy.plan("recomputed", { recompute: true });
  await collect(train(plan, toyOptions));
  const adapterOf = (run: TrainPlan) =>
    readFile(join(run.runFolder.value, "checkpoints", "step-000004", "optimizer.safetensors"));
  expect((await adapterOf(plan)).equals(await adapterOf(whole.plan))).toBe(true);
});

test("a run goes on from an adapter file: its first loss is the base's with that adapter", async () => {
  const from = join(whole.plan.runFolder.value, "whole.safetensors");
  const events = await collect(train(await toy.plan("continued", { steps: 1, continueFrom: from }), toyOptions));
  const first = events.find((event) => event.type === "validation");
  const last = whole.events.findLast((event) => event.type === "validation");
  expect(first?.type === "validation" && last?.type === "validation" ? first.train / last.train : NaN).toBeCloseTo(1, 3);
  expect(last?.type === "validation" ? last.ratio : NaN).not.toBeCloseTo(1, 3);
});

test("a run from an adapter of a higher rank says how much of it a smaller one keeps", async () => {
  const from = join(whole.plan.runFolder.value, "whole.safetensors");
  const events = await collect(
    train(await toy.plan("other-rank", { rank: 2, alpha: 2, steps: 1, continueFrom: from }), toyOptions),
  );
  const warnings = events.flatMap((event) => (event.type === "warning" ? [event.message] : []));
  expect(warnings.filter((message) => message.startsWith("whole.safetensors holds rank 4. As a LoRA of rank 2"))).toHaveLength(
    1,
  );
});

test("a base weight that is not a number stops the run before its first step, and nothing is written", async () => {
  const folder = join(toy.folder, "nan-base");
  await cp(toy.baseFolder, folder, { recursive: true });
  await spoil(join(folder, "unet", "diffusion_pytorch_model.safetensors"), "conv_out.bias");
  const base = await openBase(folder, { hashCacheFile: undefined });
  const plan = await toy.plan("nan", { base: folder });
  const spoilt = { ...plan, baseHash: { value: base.hashes.all, reason: "" } };
  await expect(collect(train(spoilt, toyOptions))).rejects.toThrow(
    /conv_out\.bias holds NaN at position 0, which is no weight\.$/,
  );
  expect(await readdir(join(toy.folder, "runs"))).not.toContain("nan");
});

test("a loss that is no number ends the run with the pictures' names; from the last good checkpoint it goes on to the same bytes", async () => {
  const plan = { ...whole.plan, runFolder: { value: join(toy.folder, "runs", "diverged"), reason: "" } };
  const engine = await toyOptions.createEngine();
  const { tensors } = await openSafetensors(
    join(whole.plan.runFolder.value, "checkpoints", "step-000002", "optimizer.safetensors"),
  );
  const [weight] = [...tensors.values()].filter(({ name }) => name.endsWith(".up"));
  const events: TrainEvent[] = [];
  for await (const event of train(plan, { ...toyOptions, createEngine: () => Promise.resolve(engine) })) {
    events.push(event);
    // What a learning rate that is too high does in the end.
    if (event.type === "step" && event.step === 3 && weight)
      await engine.write(weight.name, new Float32Array(weight.byteLength / 4).fill(NaN));
  }
  const last = events.at(-1);
  const checkpoint = join(plan.runFolder.value, "checkpoints", "step-000002");
  expect(last).toMatchObject({ type: "failed", step: 4, checkpoint });
  if (last?.type !== "failed") return;
  expect(last.pictures).not.toEqual([]);
  expect(last.message).toContain(last.pictures.join(", "));
  expect(last.fix).toMatch(/lower learning rate/);
  expect(await readdir(join(plan.runFolder.value, "checkpoints"))).toEqual(["step-000002"]);
  expect(await readdir(plan.runFolder.value)).not.toContain("whole.safetensors");
  await collect(resumeTraining(plan.runFolder.value, toyOptions));
  expect(await bytesOf(plan)).toEqual(await bytesOf(whole.plan));
});

test("text encoders are trained when they have a rate", async () => {
  const plan = await toy.plan("with-text", {
    steps: 1,
    textEncoderLearningRate: 1e-4,
    previewPrompts: ["square 1"],
    previewSteps: 1,
  });
  const events = await collect(train(plan, toyOptions));
  expect(events.filter(({ type }) => type === "sample")).toHaveLength(1);
  const { tensors } = await openSafetensors(join(plan.runFolder.value, "with-text.safetensors"));
  expect([...tensors.keys()]).toContain("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight");
});

test("captions of two chunks are trained on, text encoders frozen or trained alike, and a change in the second chunk counts", async () => {
  const data = await writeToyDataset(join(toy.folder, "two-chunks"), 3);
  for (const i of [0, 1, 2]) await writeFile(join(data, `square-${i}.txt`), `a square, number ${i}`);
  const firstLosses = async (name: string, choices: Partial<UserChoices>) => {
    const made = await toy.plan(name, { steps: 1, maxCaptionTokens: 28, ...choices });
    const plan = { ...made, datasetFolder: { value: data, reason: "" } };
    const events = await collect(train(plan, toyOptions));
    expect(events.at(-1)).toMatchObject({ type: "done" });
    expect(events.filter((event) => event.type === "warning" && event.message.includes("longer"))).toEqual([]);
    return { plan, loss: events.flatMap((event) => (event.type === "validation" ? [event.train] : []))[0] ?? NaN };
  };
  const previews = { previewPrompts: ["a square, number 1"], previewSteps: 1 };
  const frozen = await firstLosses("frozen", {});
  const trained = await firstLosses("trained", { ...previews, textEncoderLearningRate: 1e-4 });
  // Before the first step both are the base: cached embeddings and encoders in the graph must be the same text.
  expect(trained.loss / frozen.loss).toBeCloseTo(1, 5);
  expect(await (await readRun(trained.plan, "step-000001")).largestUp("text_encoder_2")).toBeGreaterThan(0);
  for (const i of [0, 1, 2]) await writeFile(join(data, `square-${i}.txt`), `a square, number 9`);
  expect((await firstLosses("other-end", {})).loss / frozen.loss).not.toBeCloseTo(1, 5);
});

/** The metadata of a run's result, and the parameters of its last checkpoint. */
async function readRun(plan: TrainPlan, last: string) {
  const { metadata } = await openSafetensors(join(plan.runFolder.value, `${plan.name.value}.safetensors`));
  const file = await openSafetensors(join(plan.runFolder.value, "checkpoints", last, "optimizer.safetensors"));
  /** The largest number in the `up` matrices of a component. */
  const largestUp = async (component: string): Promise<number> => {
    const names = [...file.tensors.keys()].filter((name) => name.startsWith(`adapter.${component}.`) && name.endsWith(".up"));
    const tensors = await Promise.all(names.map((name) => readTensor(file, name)));
    return Math.max(...tensors.flatMap((data) => [...data].map(Math.abs)));
  };
  return { metadata, largestUp };
}

test("each text encoder is trained at its own rate, and the file tells both", async () => {
  const rates = { learningRate: 1e-3, textEncoderLearningRate: 1e-4, textEncoder2LearningRate: 3e-4 };
  const plan = await toy.plan("two-rates", { steps: 1, ...rates });
  await collect(train(plan, toyOptions));
  const { metadata, largestUp } = await readRun(plan, "step-000001");
  // AdamW's first step moves every weight by the rate, and `up` starts at zero.
  expect((await largestUp("unet")) / 1e-3).toBeCloseTo(1, 1);
  expect((await largestUp("text_encoder")) / 1e-4).toBeCloseTo(1, 1);
  expect((await largestUp("text_encoder_2")) / 3e-4).toBeCloseTo(1, 1);
  expect(metadata.ss_text_encoder_lr).toBe("[0.0001, 0.0003]");
});

test("a text encoder with a rate of 0 gets no adapter while the other is trained", async () => {
  const plan = await toy.plan("second-only", { steps: 1, textEncoderLearningRate: 0, textEncoder2LearningRate: 1e-4 });
  await collect(train(plan, toyOptions));
  const { tensors, metadata } = await openSafetensors(join(plan.runFolder.value, "second-only.safetensors"));
  const components = new Set([...tensors.keys()].map((name) => name.split("_").slice(0, 2).join("_")));
  expect([...components].sort()).toEqual(["lora_te2", "lora_unet"]);
  expect(metadata.ss_text_encoder_lr).toBe("[0, 0.0001]");
});

test("only the newest two checkpoints keep the optimizer's state, and an older one is not gone on from", async () => {
  const plan = await toy.plan("thinned", { checkpointEvery: 1, validateEvery: 0 });
  await collect(train(plan, toyOptions));
  const checkpoints = join(plan.runFolder.value, "checkpoints");
  const adapterAlone = ["adapter.safetensors", "state.json"];
  const complete = ["adapter.safetensors", "optimizer.safetensors", "state.json"];
  const found = await Promise.all(
    [1, 2, 3, 4].map(async (step) => (await readdir(join(checkpoints, `step-00000${step}`))).sort()),
  );
  expect(found).toEqual([adapterAlone, adapterAlone, complete, complete]);

  const last = await fileOf(plan, "checkpoints", "step-000004", "optimizer.safetensors");
  await rm(join(checkpoints, "step-000004"), { recursive: true });
  expect(stepsOf(await collect(resumeTraining(plan.runFolder.value, toyOptions)))).toEqual([4]);
  expect(last.equals(await fileOf(plan, "checkpoints", "step-000004", "optimizer.safetensors"))).toBe(true);

  for (const step of ["step-000003", "step-000004"]) await rm(join(checkpoints, step), { recursive: true });
  await expect(collect(resumeTraining(plan.runFolder.value, toyOptions))).rejects.toMatchObject({
    message: expect.stringMatching(/cannot go on from .*step-000002: it holds the adapter, but not/) as string,
    fix: expect.stringMatching(/--continue-from .*adapter\.safetensors$/) as string,
  });
});

test("a base of the SD 1.5 kind is trained, with its preview sheet", async () => {
  const other = await createToy("sd15");
  const plan = await other.plan("sd15", { steps: 2, previewPrompts: ["square 0"], previewSteps: 1, previewEvery: 0 });
  const events = await collect(train(plan, toyOptions));
  expect(events.at(-1)).toMatchObject({ type: "done", step: 2 });
  expect(await readdir(join(plan.runFolder.value, "samples"))).toEqual(["step-000002.png"]);
  const plain = await readRun(plan, "step-000002");
  expect(plain.metadata).toMatchObject({ ss_clip_skip: "1", ss_max_token_length: "None", "modelspec.encoder_layer": "1" });
  await rm(other.folder, { recursive: true });
});

test("clip skip 2 takes the layer before the last, and the file tells of it and of the captions' length", async () => {
  const other = await createToy("sd15");
  const skipping = await other.plan("skipping", { steps: 2, clipSkip: 2, maxCaptionTokens: 28, textEncoderLearningRate: 1e-4 });
  await collect(train(skipping, toyOptions));
  const { metadata, largestUp } = await readRun(skipping, "step-000002");
  expect(metadata).toMatchObject({ ss_clip_skip: "2", ss_max_token_length: "28", "modelspec.encoder_layer": "2" });
  // Nothing that is read lies behind the toy's second and last layer.
  expect(await largestUp("text_encoder.text_model.encoder.layers.0")).toBeGreaterThan(0);
  expect(await largestUp("text_encoder.text_model.encoder.layers.1")).toBe(0);
  await rm(other.folder, { recursive: true });
});

/** Makes one number of a tensor NaN. */
async function spoil(path: string, name: string): Promise<void> {
  const file = await openSafetensors(path);
  const tensors = await Promise.all(
    [...file.tensors.values()].map(
      async ({ name: key, shape }) => ({ name: key, dtype: "F32", shape, data: await readTensor(file, key) }) as const,
    ),
  );
  for (const tensor of tensors) if (tensor.name === name) tensor.data[0] = NaN;
  await writeSafetensors(path, tensors);
}
