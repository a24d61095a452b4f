/** The process in which sdxl-step.ts measures: a short run of the trainer, and what it took as a line of JSON. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { normal } from "../src/diffusion/philox.ts";
import { byteSizeOf, type Graph } from "../src/graph/graph.ts";
import { countCost } from "../src/graph/cost.ts";
import {
  describeDataset,
  type Engine,
  openBase,
  planTraining,
  readDataset,
  train,
  type TrainPlan,
  writePng,
} from "../src/index.ts";
import { createOrtEngine } from "../src/engines/ort/engine.ts";
import { peakResidentBytes } from "../src/engines/resident-memory.ts";
import { type ExecutableTimes, rank, sidePx, type SdxlStepMeasurement } from "./sdxl-step.ts";

const pictures = 3;

async function main(basePath: string, threads: number, steps: number): Promise<SdxlStepMeasurement> {
  const folder = await mkdtemp(path.join(tmpdir(), "gesso-sdxl-step-"));
  try {
    const opened = performance.now();
    const plan = await planRun(folder, basePath, steps);
    const openMs = performance.now() - opened;
    const watch = watchEngine(threads);
    const run = await carryOut(plan, watch.createEngine, steps);
    const probe = await createOrtEngine({ threads });
    const { flopsPerSecond } = await probe.measureProfile();
    await probe.dispose();
    return { openMs, ...watch.times(), ...run, matmulFlopsPerSecond: flopsPerSecond };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Pictures of noise with captions, and a plan over them that asks for little besides its steps. */
async function planRun(folder: string, basePath: string, steps: number): Promise<TrainPlan> {
  const data = path.join(folder, "data");
  await mkdir(data);
  for (let i = 0; i < pictures; i++) {
    const pixels = Uint8Array.from(normal({ seed: 3, purpose: "init", sample: i }, 3 * sidePx ** 2), (x) => 128 + 40 * x);
    await writePng(path.join(data, `${i}.png`), { widthPx: sidePx, heightPx: sidePx, channels: 3, data: pixels });
    await writeFile(path.join(data, `${i}.txt`), `picture ${i}`);
  }
  const base = await openBase(basePath);
  return planTraining(
    describeDataset(await readDataset(data)),
    base,
    { engine: "ort" },
    {
      name: "sdxl-step",
      type: "concept",
      base: basePath,
      runFolder: path.join(folder, "run"),
      cacheFolder: path.join(folder, "cache"),
      createdAt: "2026-01-01T00:00:00.000Z",
      resolutionPx: sidePx,
      rank,
      targets: "attention",
      batch: 1,
      // One more than is taken, so that the run is stopped before it measures at its end.
      steps: steps + 1,
      checkpointEvery: steps + 1,
      validateEvery: 0,
      validationTimesteps: [500],
      heldOutFraction: 0,
      previewPrompts: [],
    },
  );
}

async function carryOut(plan: TrainPlan, createEngine: () => Promise<Engine>, steps: number) {
  const controller = new AbortController();
  const memory: SdxlStepMeasurement["memory"][number][] = [];
  const [losses, stepMs]: [number[], number[]] = [[], []];
  let counts = { layers: 0, trainedParameters: 0 };
  const remember = (after: string): void => {
    memory.push({ after, residentBytes: process.memoryUsage.rss(), peakBytes: peakResidentBytes() });
  };
  for await (const event of train(plan, { createEngine, signal: controller.signal })) {
    process.stderr.write(`${new Date().toISOString()} ${JSON.stringify(event)}\n`);
    if (event.type === "failed") throw new Error(`sdxl-step: ${event.message}`);
    if (event.type === "progress" && event.done === event.total) remember(event.phase);
    if (event.type === "validation") remember("the base's loss");
    if (event.type === "start") counts = { layers: event.layers, trainedParameters: event.trainedParameters };
    if (event.type !== "step") continue;
    remember(`step ${event.step}`);
    losses.push(event.loss);
    stepMs.push(event.durationMs);
    if (event.step === steps) controller.abort();
  }
  remember("the run");
  return { ...counts, losses, stepMs, memory };
}

/** The CPU engine with a clock on all that takes long. */
function watchEngine(threads: number) {
  let loadMs = 0;
  let loadedBytes = 0;
  const executables: Record<string, { compileMs: number; runMs: number[]; flops: number }> = {};
  const wrap = (engine: Engine): Engine => ({
    ...delegate(engine),
    async allocate(buffer, source) {
      const start = performance.now();
      await engine.allocate(buffer, source);
      if (source.kind !== "file") return;
      loadMs += performance.now() - start;
      loadedBytes += byteSizeOf(buffer);
    },
    async compile(graph: Graph, options) {
      const start = performance.now();
      const executable = await engine.compile(graph, options);
      const times = { compileMs: performance.now() - start, runMs: [] as number[], flops: countCost(graph).flops };
      executables[options.name] = times;
      return {
        async run(feeds) {
          const began = performance.now();
          const result = await executable.run(feeds);
          times.runMs.push(performance.now() - began);
          return result;
        },
        dispose: () => executable.dispose(),
      };
    },
  });
  const times = (): { loadMs: number; loadedBytes: number; executables: Record<string, ExecutableTimes> } => ({
    loadMs,
    loadedBytes,
    executables,
  });
  return { createEngine: async () => wrap(await createOrtEngine({ threads })), times };
}

/** Everything of an engine as plain members: a class's methods are not copied by spreading it. */
function delegate(engine: Engine): Engine {
  return {
    composites: engine.composites,
    precision: engine.precision,
    overhead: engine.overhead,
    profile: engine.profile,
    allocate: (buffer, source) => engine.allocate(buffer, source),
    write: (name, data) => engine.write(name, data),
    read: (name) => engine.read(name),
    free: (name) => engine.free(name),
    compile: (graph, options) => engine.compile(graph, options),
    memory: () => engine.memory(),
    dispose: () => engine.dispose(),
  };
}

const [base = "", threads = "1", steps = "2"] = process.argv.slice(2);
console.log(JSON.stringify(await main(base, Number(threads), Number(steps))));
