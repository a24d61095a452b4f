/** Graphs that differ in sizes alone share a session, and give what they give when each is compiled by itself. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { grad } from "../../autodiff/grad.ts";
import { mean, mul, square } from "../../graph/build.ts";
import { Graph } from "../../graph/graph.ts";
import { optimise } from "../../graph/passes.ts";
import { conv } from "../../nn/layers.ts";
import { createParams } from "../../nn/params.ts";
import { downsample, resnetBlock, upsample } from "../../nn/resnet.ts";
import type { Executable } from "../engine.ts";
import { createOrtEngine, type OrtEngine } from "./engine.ts";
import { buildModel } from "./lower.ts";
import { SizedSession } from "./sized-session.ts";
import type { ThreadClient } from "./thread-client.ts";

type Size = readonly [batch: number, height: number, width: number];

/** Forward and backward of what a UNet is made of, on pictures of a size; its weights are always the same. */
function network([batch, height, width]: Size, factor = 1): Graph {
  const graph = new Graph();
  const params = createParams(graph, "net");
  const x = graph.feed("x", [batch, 8, height, width]);
  let h = resnetBlock(params.at("first"), x, undefined, { channels: 16, groups: 4, eps: 1e-5 });
  h = upsample(params.at("up"), downsample(params.at("down"), h, 1));
  const loss = mul(mean(square(conv(params.at("out"), h, 4, { kernel: 3, padding: 1 })), [0, 1, 2, 3]), factor);
  graph.fetches.set("loss", loss);
  const weights = graph.inputs.flatMap(({ attrs, outputs }) => (attrs.kind === "buffer" ? [outputs[0]] : []));
  grad(loss, weights).forEach((gradient, i) => graph.fetches.set(`gradient ${i}`, gradient));
  return optimise(graph, { keep: engine.composites });
}

/** The second and third have as many numbers, and 16 channels: shapes that are equal in one size are not in another. */
const sizes: readonly Size[] = [
  [2, 16, 16],
  [2, 8, 16],
  [2, 16, 8],
  [1, 12, 20],
];

function numbers(count: number, seed: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 1.7 * i));
}

const feedsOf = ([batch, height, width]: Size) => ({ x: numbers(batch * 8 * height * width, height) });

let engine: OrtEngine;
beforeAll(async () => {
  engine = await createOrtEngine({ threads: 1 });
  for (const { attrs } of network([1, 8, 8]).inputs) {
    if (attrs.kind !== "buffer") continue;
    const data = numbers(
      attrs.shape.reduce((product, side) => product * side, 1),
      attrs.name.length,
    );
    await engine.allocate({ name: attrs.name, shape: attrs.shape, dtype: "float32" }, { kind: "data", data });
  }
});
afterAll(() => engine.dispose());

describe("a session for several sizes", () => {
  test("gives the same bytes for each as one of its own, in any order, before and after others have come", async () => {
    const expected = new Map<Size, unknown>();
    for (const size of sizes) {
      const alone = await engine.compile(network(size), { name: "alone" });
      expected.set(size, await alone.run(feedsOf(size)));
      await alone.dispose();
    }
    const shared: [Size, Executable][] = [];
    for (const size of sizes) {
      shared.push([size, await engine.compile(network(size), { name: "step", keepsMemory: true, sizeOf: "step" })]);
      for (const [known, executable] of shared) expect(await executable.run(feedsOf(known))).toEqual(expected.get(known));
    }
    // Those that are left go on.
    await shared.shift()?.[1].dispose();
    for (const [known, executable] of shared) expect(await executable.run(feedsOf(known))).toEqual(expected.get(known));
    for (const [, executable] of shared) await executable.dispose();
    const again = await engine.compile(network(sizes[3] ?? [1, 1, 1]), { name: "step", sizeOf: "step" });
    expect(await again.run(feedsOf(sizes[3] ?? [1, 1, 1]))).toEqual(expected.get(sizes[3] ?? [1, 1, 1]));
    await again.dispose();
  });

  test("is compiled for the first size and again for the second, and for a third only where that tells more apart", async () => {
    const calls: string[] = [];
    const thread = { call: (name: string) => Promise.resolve(void calls.push(name)) } as unknown as ThreadClient;
    const build = (size: Size) => buildModel(network(size), { isSized: true });
    const session = new SizedSession(thread, 0, build([2, 16, 16]), { name: "step", keepsMemory: true });
    for (const size of [
      [2, 16, 16],
      [2, 20, 24],
      [2, 28, 36],
    ] as const) {
      await session.add({ built: build(size), feedShapes: {} });
    }
    expect(calls).toEqual(["compile", "addSize", "compile", "addSize", "addSize", "addSize"]);
  });

  test("a size that found no memory leaves the session to be compiled with the next", async () => {
    const calls: string[] = [];
    const answers = [() => Promise.reject(new Error("no memory"))];
    const call = (name: string): Promise<void> => {
      calls.push(name);
      return answers.pop()?.() ?? Promise.resolve();
    };
    const built = buildModel(network([2, 16, 16]), { isSized: true });
    const thread = { call } as unknown as ThreadClient;
    const session = new SizedSession(thread, 0, built, { name: "step", keepsMemory: true });
    await expect(session.add({ built, feedShapes: {} })).rejects.toThrow("no memory");
    await session.add({ built, feedShapes: {} });
    expect(calls).toEqual(["compile", "compile", "addSize"]);
  });

  test("takes no graph that differs in more than sizes", () => {
    const built = buildModel(network([2, 16, 16]), { isSized: true });
    const session = new SizedSession({} as ThreadClient, 0, built, { name: "step", keepsMemory: true });
    expect(session.fits(buildModel(network([2, 12, 16]), { isSized: true }))).toBe(true);
    const other = new Graph();
    other.fetches.set("loss", mean(square(other.feed("x", [2, 8, 16, 16])), [0, 1, 2, 3]));
    expect(session.fits(buildModel(other, { isSized: true }))).toBe(false);
  });

  test("a graph of another kind under the same name gets a session of its own", async () => {
    const graph = new Graph();
    graph.fetches.set("y", mul(graph.feed("x", [2]), 3));
    const [size] = sizes;
    if (!size) throw new Error("no size");
    const first = await engine.compile(network(size), { name: "step", sizeOf: "mixed" });
    const second = await engine.compile(graph, { name: "other", sizeOf: "mixed" });
    expect(await second.run({ x: Float32Array.of(1, 2) })).toEqual({ y: Float32Array.of(3, 6) });
    expect(Object.keys(await first.run(feedsOf(size)))).toContain("loss");
    await first.dispose();
    await second.dispose();
  });
});
