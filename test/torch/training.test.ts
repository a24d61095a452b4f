/** Training on PyTorch: the CPU engine's losses, narrower precisions beside them, and the same bytes after a worker that died. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openBase } from "../../src/checkpoints/open-base.ts";
import { readDataset } from "../../src/dataset/read.ts";
import type { Engine } from "../../src/engines/engine.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { UserError } from "../../src/errors.ts";
import type { FloatDType } from "../../src/graph/graph.ts";
import { planTraining, type TrainPlan } from "../../src/planner/plan.ts";
import { describeDataset } from "../../src/trainer/dataset-facts.ts";
import { resumeTraining, train } from "../../src/trainer/train.ts";
import { collect, createToy, type Toy } from "../toy-run.ts";
import { describeTorch, device, openTorch } from "./python.ts";

const root = path.join(import.meta.dirname, "../..");

function options(createEngine: () => Promise<Engine>) {
  return { createEngine, hashCacheFile: undefined };
}

async function bytesOf({ runFolder, name }: TrainPlan): Promise<readonly Buffer[]> {
  const files = [`${name.value}.safetensors`, "checkpoints/step-000004/optimizer.safetensors"];
  return Promise.all(files.map((file) => readFile(path.join(runFolder.value, file))));
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describeTorch("mini", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), "gesso-torch-mini-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** The losses of 20 steps on a bundled dataset. */
  async function trainMini(name: string, createEngine: () => Promise<Engine>): Promise<readonly number[]> {
    const base = await openBase("mini", { hashCacheFile: undefined });
    const dataset = await readDataset(path.join(root, "examples/character-fox"));
    const plan = planTraining(describeDataset(dataset), base, undefined, {
      ...{ name, type: "character", runFolder: path.join(folder, name), cacheFolder: path.join(folder, "cache") },
      ...{ createdAt: "2026-01-01T00:00:00.000Z", base: "mini", trigger: "fox", steps: 20, batch: 1, previewPrompts: [] },
      ...{ validateEvery: 0, checkpointEvery: 20, validationTimesteps: [500] },
    });
    const events = await collect(train(plan, options(createEngine)));
    expect(events.at(-1)?.type).toBe("done");
    return events.flatMap((event) => (event.type === "step" ? [event.loss] : []));
  }

  test("20 steps have the CPU engine's losses to 1e-4, and bfloat16's are near", async () => {
    const expected = await trainMini("ort", () => createOrtEngine({ threads: 1 }));
    expect(expected).toHaveLength(20);
    const worst = async (precision: FloatDType): Promise<number> => {
      const losses = await trainMini(precision, () => openTorch(precision));
      return Math.max(...losses.map((loss, i) => Math.abs(loss - (expected[i] ?? NaN)) / (expected[i] ?? NaN)));
    };
    const [full, narrow] = [await worst("float32"), await worst("bfloat16")];
    console.log(
      `mini, 20 steps: largest relative difference of a loss: float32 ${full.toExponential(1)}, bfloat16 ${narrow.toExponential(1)}`,
    );
    expect(full).toBeLessThan(1e-4);
    expect(narrow).toBeLessThan(2e-2);
  }, 900_000);
});

describeTorch("a run on PyTorch", () => {
  let toy: Toy;
  let plan: TrainPlan;
  beforeAll(async () => {
    toy = await createToy("sdxl");
    plan = await toy.plan("whole");
    const events = await collect(
      train(
        plan,
        options(() => openTorch()),
      ),
    );
    expect(events.at(-1)?.type).toBe("done");
  });
  afterAll(() => rm(toy.folder, { recursive: true }));

  test("whose worker is killed says so, leaves no process, and goes on to the same bytes", async () => {
    const killed = { ...plan, runFolder: { value: path.join(toy.folder, "runs", "killed"), reason: "" } };
    let pid = 0;
    const createEngine = async (): Promise<Engine> => {
      const engine = await openTorch();
      pid = engine.device.pid;
      return engine;
    };
    const run = collect(train(killed, options(createEngine)), (event) => {
      if (event.type === "step" && event.step === 3) process.kill(pid, "SIGKILL");
    });
    const error = await run.then(() => undefined, (reason: unknown) => reason); // prettier-ignore
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).message).toContain("The PyTorch worker was ended by SIGKILL");
    expect((error as UserError).fix).toContain("--resume");
    expect(isRunning(pid)).toBe(false);

    const events = await collect(resumeTraining(killed.runFolder.value, options(createEngine)));
    expect(events.flatMap((event) => (event.type === "step" ? [event.step] : []))).toEqual([3, 4]);
    expect(isRunning(pid)).toBe(false);
    expect(await bytesOf(killed)).toEqual(await bytesOf(plan));
  });

  test.skipIf(!device.startsWith("cuda"))(
    "whose steps are recorded as CUDA graphs gives the bytes of one that runs call by call",
    async () => {
      const plain = { ...plan, runFolder: { value: path.join(toy.folder, "runs", "plain"), reason: "" } };
      const events = await collect(
        train(
          plain,
          options(() => openTorch("float32", { capture: false })),
        ),
      );
      expect(events.filter(({ type }) => type === "warning")).toEqual([]);
      expect(await bytesOf(plain)).toEqual(await bytesOf(plan));
    },
  );

  test("that sums gradients over two microsteps has nearly the same losses and gradients in float16", async () => {
    const lossOf = async (name: string, precision: FloatDType): Promise<readonly number[]> => {
      const own = await toy.plan(name, { accumulation: 2, batch: 1 });
      const events = await collect(
        train(
          own,
          options(() => openTorch(precision)),
        ),
      );
      expect(events.at(-1)?.type).toBe("done");
      return events.flatMap((event) => (event.type === "step" ? [event.loss, event.gradNorm] : []));
    };
    const wide = await lossOf("summed", "float32");
    const narrow = await lossOf("summed16", "float16");
    expect(wide).toHaveLength(8);
    wide.forEach((number, i) => expect(Math.abs((narrow[i] ?? NaN) - number) / number).toBeLessThan(0.02));
  });
});
