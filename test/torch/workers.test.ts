/** Several workers on one machine: the losses of one with all their pictures, and what becomes of a run when one of them dies. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Engine } from "../../src/engines/engine.ts";
import { UserError } from "../../src/errors.ts";
import { allReduceMean, mul, reduceSum } from "../../src/graph/build.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { TrainPlan } from "../../src/planner/plan.ts";
import type { TrainEvent } from "../../src/trainer/events.ts";
import { resumeTraining, train } from "../../src/trainer/train.ts";
import { collect, createToy, type Toy } from "../toy-run.ts";
import { describeTorch, openTorch, python } from "./python.ts";

const workers = 2;

/** Processes that run the worker's program for this test's own program, by what Linux says of them. */
async function childrenOf(pid: number): Promise<readonly number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text.trim().split(/\s+/).filter((word) => word !== "").map(Number); // prettier-ignore
}

async function workersOf(pid: number): Promise<readonly number[]> {
  const found: number[] = [];
  for (const child of await childrenOf(pid)) {
    const command = await readFile(`/proc/${child}/cmdline`, "utf8").catch(() => "");
    if (command.includes("worker/main.py")) found.push(child);
  }
  return found;
}

async function areGone(pids: readonly number[]): Promise<boolean> {
  for (let i = 0; i < 200; i++) {
    const alive = pids.filter((pid) => {
      try {
        process.kill(pid, 0);
        return true;
      } catch {
        return false;
      }
    });
    if (alive.length === 0) return true;
    await sleep(100);
  }
  return false;
}

function stepsOf(events: readonly TrainEvent[]) {
  return events.flatMap((event) => (event.type === "step" ? [event] : []));
}

describeTorch("two workers", () => {
  let toy: Toy;
  beforeAll(async () => {
    toy = await createToy("sdxl");
  });
  afterAll(() => rm(toy.folder, { recursive: true }));

  /** Rates as of a plan for one worker with all the pictures, so that only who computes differs. */
  async function planFor(name: string, gpus: number, choices: Parameters<Toy["plan"]>[1]): Promise<TrainPlan> {
    const plan = await toy.plan(name, { learningRate: 1e-3, ...choices });
    return { ...plan, gpus: { value: gpus, reason: "" } };
  }

  function run(plan: TrainPlan, gpus: number): Promise<TrainEvent[]> {
    return collect(train(plan, { createEngine: () => openTorch("float32", { workers: gpus }), hashCacheFile: undefined }));
  }

  test("average what they feed, and the first one tells", async () => {
    const engine = await openTorch("float32", { workers });
    try {
      const graph = new Graph();
      const x = graph.feed("x", [2]);
      const [mean, sum] = allReduceMean([mul(x, graph.buffer("w", [2])), reduceSum(x)]);
      if (!mean || !sum) throw new Error("no means");
      graph.fetches.set("mean", mean).set("sum", sum).set("own", x);
      graph.updates.set("w", mean);
      await engine.allocate({ name: "w", shape: [2], dtype: "float32" }, { kind: "data", data: Float32Array.of(1, 2) });
      const executable = await engine.compile(graph, { name: "mean", isShared: true });
      const fetched = await executable.run({ x: Float32Array.of(1, 2) }, [{ x: Float32Array.of(3, 6) }]);
      expect(fetched).toEqual({ mean: Float32Array.of(2, 8), sum: Float32Array.of(6), own: Float32Array.of(1, 2) });
      expect(await engine.read("w")).toEqual(Float32Array.of(2, 8));
      await expect(executable.run({ x: Float32Array.of(1, 2) })).rejects.toThrow("mean needs feeds for 2 workers, got 1");
      await executable.dispose();
    } finally {
      await engine.dispose();
    }
  });

  test("with a batch of 1 have the losses and gradients of one with a batch of 2, and leave the same adapter", async () => {
    const one = await planFor("one", 1, { batch: 2 });
    const two = await planFor("two", workers, { batch: 1 });
    const expected = stepsOf(await run(one, 1));
    const actual = stepsOf(await run(two, workers));
    expect(expected).toHaveLength(4);
    const worst = expected.map(({ loss, gradNorm }, i) => {
      const [ownLoss = NaN, ownNorm = NaN] = [actual[i]?.loss, actual[i]?.gradNorm];
      return Math.max(Math.abs(ownLoss - loss) / loss, Math.abs(ownNorm - gradNorm) / gradNorm);
    });
    console.log(`two workers, 4 steps: largest relative difference ${Math.max(...worst).toExponential(1)}`);
    expect(Math.max(...worst)).toBeLessThan(1e-5);
  });

  test("that sum up microsteps have the losses of one with all of them", async () => {
    const one = await planFor("summed-one", 1, { batch: 1, accumulation: 4 });
    const two = await planFor("summed-two", workers, { batch: 1, accumulation: 2 });
    const expected = stepsOf(await run(one, 1)).flatMap(({ loss, gradNorm }) => [loss, gradNorm]);
    const actual = stepsOf(await run(two, workers)).flatMap(({ loss, gradNorm }) => [loss, gradNorm]);
    expect(expected).toHaveLength(8);
    expected.forEach((number, i) => expect(Math.abs((actual[i] ?? NaN) - number) / number).toBeLessThan(1e-5));
  });

  test.each([0, 1])("end a run cleanly when worker %i is killed, and it goes on to the same bytes", async (victim) => {
    const whole = await planFor(`whole${victim}`, workers, { batch: 1 });
    const killed = await planFor(`killed${victim}`, workers, { batch: 1 });
    await run(whole, workers);
    let pids: readonly number[] = [];
    const createEngine = async (): Promise<Engine> => {
      const engine = await openTorch("float32", { workers });
      pids = await workersOf(process.pid);
      return engine;
    };
    const failing = collect(train(killed, { createEngine, hashCacheFile: undefined }), (event) => {
      // The first one tells its own number; children are listed in the order in which they were started.
      if (event.type === "step" && event.step === 3) process.kill(pids[victim] ?? 0, "SIGKILL");
    });
    const error = await failing.then(() => undefined, (reason: unknown) => reason); // prettier-ignore
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).message).toBe(
      `PyTorch worker ${victim} was ended by SIGKILL, which is what a system does that runs out of memory.`,
    );
    expect(pids).toHaveLength(workers);
    expect(await areGone(pids)).toBe(true);
    const events = await collect(resumeTraining(killed.runFolder.value, { createEngine, hashCacheFile: undefined }));
    expect(stepsOf(events).map(({ step }) => step)).toEqual([3, 4]);
    const bytesOf = (plan: TrainPlan): Promise<Buffer> =>
      readFile(path.join(plan.runFolder.value, "checkpoints/step-000004/optimizer.safetensors"));
    expect(await bytesOf(killed)).toEqual(await bytesOf(whole));
  });

  test("are gone when the program that started them is killed", async () => {
    const script = path.join(import.meta.dirname, "start-child.ts");
    const args = ["--import", "tsx", script, python ?? "", String(workers)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    const pids = await workersOf(child.pid ?? 0);
    expect(pids).toHaveLength(workers);
    child.kill("SIGKILL");
    expect(await areGone(pids)).toBe(true);
  });

  test("tell of a failure that only the second one had", async () => {
    const engine = await openTorch("float32", { workers });
    const graph = new Graph();
    // Indices are not checked on the way: the second worker's lies outside.
    const { gather } = await import("../../src/graph/build.ts");
    graph.fetches.set("y", gather(graph.buffer("table", [2, 2]), graph.feed("row", [1], "int32")));
    await engine.allocate({ name: "table", shape: [2, 2], dtype: "float32" }, { kind: "zeros" });
    const executable = await engine.compile(graph, { name: "look-up", isShared: true });
    await executable.run({ row: Int32Array.of(0) }, [{ row: Int32Array.of(7) }]);
    // The first one has its rows; that the second one has gone shows at the latest in the next call.
    const next = executable.run({ row: Int32Array.of(0) }, [{ row: Int32Array.of(0) }]);
    await expect(next.then(() => sleep(3000)).then(() => engine.memory())).rejects.toThrow(
      "look-up: Gather: index out of range",
    );
    await engine.dispose();
  });
});

describeTorch("torchrun", () => {
  test("starts the workers of two machines (here two of its own on one), which average as others do", async () => {
    const at = 29_000 + (process.pid % 2000);
    const common = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", String(at)];
    const { workerScript } = await import("../../src/engines/torch/launch.ts");
    const there = ["-m", "torch.distributed.run", ...common, "--node-rank", "1", workerScript];
    const other = spawn(python ?? "", there, { stdio: ["ignore", "ignore", "pipe"] });
    const ended = once(other, "exit");
    const engine = await openTorch("float32", { workers, torchrun: [...common, "--node-rank", "0"].join(" ") });
    const graph = new Graph();
    graph.fetches.set("mean", allReduceMean([graph.feed("x", [2])])[0]);
    const executable = await engine.compile(graph, { name: "mean", isShared: true });
    const { mean } = await executable.run({ x: Float32Array.of(1, 2) }, [{ x: Float32Array.of(3, 6) }]);
    expect(mean).toEqual(Float32Array.of(2, 4));
    await engine.dispose();
    expect((await ended)[0]).toBe(0);
  });
});
