/** Runs whose engine finds no memory in the middle: what they say, and that they can be gone on with. */
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { collect, createToy, type Toy, toyOptions } from "../../test/toy-run.ts";
import type { Engine } from "../engines/engine.ts";
import { torchFacts } from "../engines/torch/engine.ts";
import { explainEnd, explainFailure } from "../engines/torch/failures.ts";
import { UserError } from "../errors.ts";
import type { TrainPlan } from "../planner/plan.ts";
import type { TrainOptions } from "./prepare.ts";
import { resumeTraining, train } from "./train.ts";

let toy: Toy;
beforeAll(async () => {
  toy = await createToy("sdxl");
});
afterAll(() => rm(toy.folder, { recursive: true }));

const noMemory = explainFailure(
  { kind: "memory", message: "CUDA out of memory. Tried to allocate 2.00 GiB.\nmore", trace: "a trace" },
  "python",
);

/** The CPU engine, with a failure once so many graphs of the kind `step` have run. */
function failingAfter(steps: number, error: Error): TrainOptions {
  return {
    ...toyOptions,
    async createEngine(): Promise<Engine> {
      const engine = await toyOptions.createEngine();
      let done = 0;
      const compile: Engine["compile"] = async (graph, options) => {
        const executable = await engine.compile(graph, options);
        const isStep = [...graph.updates.keys()].some((name) => name.startsWith("adapter."));
        if (!isStep) return executable;
        return { ...executable, run: (...args) => (done++ < steps ? executable.run(...args) : Promise.reject(error)) };
      };
      return new Proxy(engine, {
        get: (target, name) => {
          if (name === "compile") return compile;
          // What the toy takes would be lost beside the CPU engine's own.
          if (name === "overhead") return torchFacts("cuda:0", "float32").overhead;
          const value: unknown = Reflect.get(target, name);
          return typeof value === "function" ? (value.bind(target) as unknown) : value;
        },
      });
    },
  };
}

async function failureOf(plan: TrainPlan, options: TrainOptions): Promise<UserError> {
  const error = await collect(train(plan, options)).then(() => undefined, (reason: unknown) => reason); // prettier-ignore
  expect(error).toBeInstanceOf(UserError);
  return error as UserError;
}

/** The settings that are named, with what each saves in MB. */
function savingsIn(fix: string | undefined): ReadonlyMap<string, number> {
  return new Map(
    [...(fix ?? "").matchAll(/(--[\w -]+?) saves ([\d.]+) ([kM])B/g)].map(([, option = "", count, unit]) => [
      option,
      Number(count) / (unit === "k" ? 1000 : 1),
    ]),
  );
}

test("a run without memory says which settings take less and by how much, and goes on from its checkpoint", async () => {
  const plan = await toy.plan("short", { batch: 8 });
  const error = await failureOf(plan, failingAfter(3, noMemory));
  expect(error.message).toBe("PyTorch found no memory: CUDA out of memory. Tried to allocate 2.00 GiB.");
  expect(error.fix).toContain(`gesso train --resume ${plan.runFolder.value}`);
  expect(error.fix).toContain("checkpoints/step-000002/adapter.safetensors");
  expect(error.fix).not.toContain("\n");
  const savings = savingsIn(error.fix);
  expect([...savings.keys()]).toEqual(expect.arrayContaining(["--recompute", "--batch 1 --accumulate 8"]));
  for (const megabytes of savings.values()) expect(megabytes).toBeGreaterThan(0);
  // What the CPU engine cannot do is not advised.
  expect([...savings.keys()].some((option) => option.includes("precision"))).toBe(false);
  const events = await collect(resumeTraining(plan.runFolder.value, toyOptions));
  expect(events.flatMap((event) => (event.type === "step" ? [event.step] : []))).toEqual([3, 4]);
});

test("on a GPU narrower types are among them, and without a checkpoint nothing is said of going on", async () => {
  const plan = await toy.plan("card", { batch: 1, recompute: true });
  const onCard = { ...plan, engine: { value: "torch", reason: "" }, device: { value: "cuda:0", reason: "" } } as const;
  const { fix } = await failureOf(onCard, failingAfter(0, noMemory));
  const narrower = ["--base-precision int8", "--base-precision nf4", "--precision bfloat16"];
  expect([...savingsIn(fix).keys()]).toEqual(expect.arrayContaining(narrower));
  expect(fix).not.toContain("--resume");
});

test("a worker that the system killed gets the same advice; other failures keep their own", async () => {
  const killed = explainEnd([{ rank: 0, code: null, signal: "SIGKILL", said: "" }], [""], 1, "python");
  const { message, fix } = await failureOf(await toy.plan("killed", { batch: 8 }), failingAfter(3, killed));
  expect(message).toContain("was ended by SIGKILL");
  expect(savingsIn(fix).size).toBeGreaterThan(0);
  const other = new UserError("The GPU failed.", { fix: "Look at the card." });
  expect(await failureOf(await toy.plan("other"), failingAfter(3, other))).toBe(other);
});
