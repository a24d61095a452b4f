/** AdamW and the clipping of gradients against torch.optim.AdamW and torch.nn.utils.clip_grad_norm_. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Engine } from "../../src/engines/engine.ts";
import { openSafetensors, readTensor } from "../../src/formats/safetensors.ts";
import { add, mul, reduceSum } from "../../src/graph/build.ts";
import { Graph, sizeOf, type Shape } from "../../src/graph/graph.ts";
import { appendStep, buildApplyStep, stateNames, type OptimizerSettings, type Parameter } from "../../src/trainer/optimize.ts";
import { openFixtureEngine } from "./fixture.ts";

interface AdamwCase extends Omit<OptimizerSettings, "maxGradNorm"> {
  readonly learningRate: number;
  readonly steps: number;
  readonly clip: { readonly maxGradNorm: number; readonly norm: number };
}

/** Largest difference, relative to the largest number: float32 rounds each step of ours and of torch's in its own order. */
const TOLERANCE = 1e-6;

const folder = path.join(import.meta.dirname, "fixtures/adamw");

let engine: Engine;
let stored: AdamwCase;
let tensors: ReadonlyMap<string, Float32Array>;
beforeAll(async () => {
  engine = await openFixtureEngine();
  stored = JSON.parse(await readFile(path.join(folder, "case.json"), "utf8")) as AdamwCase;
  const opened = await openSafetensors(path.join(folder, "case.safetensors"));
  const names = [...opened.tensors.keys()];
  tensors = new Map(await Promise.all(names.map(async (name) => [name, await readTensor(opened, name)] as const)));
});
afterAll(() => engine.dispose());

function tensor(name: string): Float32Array {
  const found = tensors.get(name);
  if (!found) throw new Error(`the fixture has no tensor ${name}`);
  return found;
}

function expectClose(actual: ArrayLike<number>, expected: Float32Array): void {
  expect(actual).toHaveLength(expected.length);
  const scale = Math.max(...expected.map(Math.abs));
  const difference = Math.max(...expected.map((x, i) => Math.abs(x - (actual[i] ?? NaN))));
  expect(difference / scale).toBeLessThan(TOLERANCE);
}

async function allocate(name: string, shape: Shape, data?: Float32Array): Promise<void> {
  await engine.allocate({ name, shape, dtype: "float32" }, data ? { kind: "data", data: data.slice() } : { kind: "zeros" });
}

/** A step whose gradients are the feeds `gradient.<name>`: the loss is each parameter times its feed, summed. */
function buildGivenStep(parameters: readonly Parameter[], settings: OptimizerSettings): Graph {
  const graph = new Graph();
  const parts = parameters.map(({ name, shape }) =>
    reduceSum(mul(graph.buffer(name, shape), graph.feed(`gradient.${name}`, shape))),
  );
  const loss = parts.reduce((sum, part) => add(sum, part));
  appendStep(loss, [{ name: "all", parameters }], settings);
  return graph;
}

function settingsOf({ beta1, beta2, eps, weightDecay }: AdamwCase, maxGradNorm: number): OptimizerSettings {
  return { beta1, beta2, eps, weightDecay, maxGradNorm };
}

/** The rate and AdamW's corrections at a step, the first being 1. */
function rateFeeds({ beta1, beta2 }: AdamwCase, learningRate: number, step: number): Record<string, Float32Array> {
  const scalars = { "learningRate.all": learningRate, correction1: 1 - beta1 ** step, correction2: 1 - beta2 ** step };
  return Object.fromEntries(Object.entries(scalars).map(([name, value]) => [name, Float32Array.of(value)]));
}

describe("AdamW", () => {
  test("weights after each of five steps, and both moments after the last, are torch's", async () => {
    const weight = { name: "weight", shape: [4, 3] };
    const { m, v } = stateNames("weight");
    await allocate("weight", weight.shape, tensor("start"));
    await allocate(m, weight.shape);
    await allocate(v, weight.shape);
    const step = await engine.compile(buildGivenStep([weight], settingsOf(stored, Infinity)), { name: "adamw" });
    expect(stored.steps).toBe(5);
    for (let i = 0; i < stored.steps; i++) {
      const part = [i * 12, (i + 1) * 12] as const;
      const gradient = tensor("gradients").slice(...part);
      await step.run({ "gradient.weight": gradient, ...rateFeeds(stored, stored.learningRate, i + 1) });
      expectClose(await engine.read("weight"), tensor("weights").slice(...part));
    }
    expectClose(await engine.read(m), tensor("m"));
    expectClose(await engine.read(v), tensor("v"));
    await step.dispose();
  });
});

describe("clipping", () => {
  // With beta1 and beta2 zero, the first moment of a step is the clipped gradient itself.
  const bare = { beta1: 0, beta2: 0, eps: 1e-8, weightDecay: 0 };
  const parameters = [
    { name: "a", shape: [4, 3] },
    { name: "b", shape: [6] },
  ];
  const momentOf = (name: string): Promise<ArrayLike<number>> => engine.read(stateNames(name).m);
  beforeAll(async () => {
    for (const { name, shape } of parameters) {
      for (const buffer of [name, ...Object.values(stateNames(name))]) await allocate(buffer, shape);
    }
  });

  test("the norm of all gradients together, and the gradients scaled down to it, are torch's", async () => {
    const graph = buildGivenStep(parameters, { ...bare, maxGradNorm: stored.clip.maxGradNorm });
    const step = await engine.compile(graph, { name: "clip" });
    const gradients = { "gradient.a": tensor("clip.a").slice(), "gradient.b": tensor("clip.b").slice() };
    const { gradNorm } = await step.run({ ...gradients, ...rateFeeds({ ...stored, ...bare }, 0, 1) });
    expectClose(gradNorm ?? [], Float32Array.of(stored.clip.norm));
    expectClose(await momentOf("a"), tensor("clip.a.clipped"));
    expectClose(await momentOf("b"), tensor("clip.b.clipped"));
    await step.dispose();
  });

  test("accumulated gradients are clipped alike, and the accumulators are zero afterwards", async () => {
    for (const { name } of parameters) await engine.write(stateNames(name).grad, tensor(`clip.${name}`).slice());
    const settings = { ...bare, maxGradNorm: stored.clip.maxGradNorm };
    const step = await engine.compile(buildApplyStep([{ name: "all", parameters }], settings), { name: "apply" });
    const { gradNorm } = await step.run(rateFeeds({ ...stored, ...bare }, 0, 1));
    expectClose(gradNorm ?? [], Float32Array.of(stored.clip.norm));
    for (const { name, shape } of parameters) {
      expectClose(await momentOf(name), tensor(`clip.${name}.clipped`));
      expect(await engine.read(stateNames(name).grad)).toEqual(new Float32Array(sizeOf(shape)));
    }
    await step.dispose();
  });

  test("gradients whose norm is below the limit are left as they are", async () => {
    const graph = buildGivenStep(parameters, { ...bare, maxGradNorm: 2 * stored.clip.norm });
    const step = await engine.compile(graph, { name: "no clip" });
    const gradients = { "gradient.a": tensor("clip.a").slice(), "gradient.b": tensor("clip.b").slice() };
    await step.run({ ...gradients, ...rateFeeds({ ...stored, ...bare }, 0, 1) });
    expect(await momentOf("a")).toEqual(tensor("clip.a"));
    await step.dispose();
  });
});
