import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { add, conv2d, conv2dGradInput, conv2dGradWeight, mul, reduceSum, sqrt, square } from "../../graph/build.ts";
import { convOutputSize } from "../../graph/infer.ts";
import { Graph, inputsOf, sizeOf, type Value } from "../../graph/graph.ts";
import type { Padding } from "../../graph/ops.ts";
import type { Engine } from "../engine.ts";
import { createOrtEngine } from "./engine.ts";
import { lowerGraph } from "./lower.ts";

/** The names of a model's nodes in the order in which ONNX Runtime ran them. */
async function runOrder(bytes: Uint8Array, feeds: Record<string, Tensor>): Promise<string[]> {
  const folder = await mkdtemp(path.join(os.tmpdir(), "gesso-ort-"));
  try {
    const session = await InferenceSession.create(bytes, {
      graphOptimizationLevel: "disabled",
      enableProfiling: true,
      profileFilePrefix: path.join(folder, "profile"),
    });
    await session.run(feeds);
    session.endProfiling();
    await session.release();
    const [file = ""] = await readdir(folder);
    const events = JSON.parse(await readFile(path.join(folder, file), "utf8")) as { cat: string; name: string; ts: number }[];
    const kernels = events.filter(({ cat, name }) => cat === "Node" && name.endsWith("_kernel_time"));
    return kernels.map(({ name }) => name.replace(/_kernel_time$/, "")).filter((name) => !name.startsWith("pin:"));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Repeatable whole numbers. */
function pick(seed: number, below: number): number {
  return Math.floor(Math.abs(Math.sin(seed * 12.9898) * 43758.5453)) % below;
}

describe("ONNX Runtime runs the nodes in the order of the graph", () => {
  /** Nodes that read earlier ones at random: many stay unread for long, many are read twice. */
  function randomGraph(seed: number, length: number): Graph {
    const graph = new Graph();
    const values: Value[] = [graph.feed("x", [2])];
    for (let i = 0; i < length; i++) {
      const near = values[values.length - 1 - pick(seed + 3 * i, Math.min(4, values.length))];
      const far = values[pick(seed + 3 * i + 1, values.length)];
      if (!near || !far) throw new Error("an index out of range");
      values.push(pick(seed + 3 * i + 2, 3) === 0 ? sqrt(square(far)) : add(mul(near, 0.5), far));
    }
    const read = new Set(graph.nodes.flatMap((node) => inputsOf(node)));
    values.filter((value) => !read.has(value)).forEach((value, i) => graph.fetches.set(`y${i}`, value));
    return graph;
  }

  for (const seed of [1, 2, 3, 4]) {
    test(`random graph ${seed}`, async () => {
      const { bytes } = lowerGraph(randomGraph(seed, 120));
      const order = await runOrder(bytes, { "feed:x": new Tensor("float32", Float32Array.of(0.1, 0.2), [2]) });
      expect(order.length).toBeGreaterThan(120);
      // Names are numbered as the nodes were lowered.
      const numbers = order.map((name) => Number(name.slice(1)));
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    });
  }

  test("a weight's gradient and its use come before the rest of the backward", async () => {
    const graph = new Graph();
    const x = graph.feed("x", [2]);
    const kept = mul(x, 2);
    let y = kept;
    for (let i = 0; i < 5; i++) y = mul(y, 3);
    const early = reduceSum(mul(y, kept));
    for (let i = 0; i < 5; i++) y = mul(y, 5);
    graph.fetches.set("late", y).set("early", early);
    const order = await runOrder(lowerGraph(graph).bytes, { "feed:x": new Tensor("float32", Float32Array.of(1, 2), [2]) });
    const numbers = order.map((name) => Number(name.slice(1)));
    expect(numbers).toHaveLength(13);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
  });
});

interface ConvCase {
  readonly title: string;
  readonly x: readonly [number, number, number, number];
  readonly out: number;
  readonly kernel: readonly [number, number];
  readonly stride: number;
  readonly padding: Padding;
}

const convCases: readonly ConvCase[] = [
  { title: "3x3", x: [2, 3, 5, 6], out: 4, kernel: [3, 3], stride: 1, padding: [1, 1, 1, 1] },
  { title: "3x3 to fewer channels", x: [2, 5, 4, 6], out: 2, kernel: [3, 3], stride: 1, padding: [1, 1, 1, 1] },
  { title: "1x1", x: [3, 4, 3, 2], out: 5, kernel: [1, 1], stride: 1, padding: [0, 0, 0, 0] },
  { title: "1x1 to fewer channels", x: [2, 4, 3, 2], out: 1, kernel: [1, 1], stride: 1, padding: [0, 0, 0, 0] },
  {
    title: "3x3 with stride 2 after padding below and right",
    x: [1, 2, 6, 8],
    out: 3,
    kernel: [3, 3],
    stride: 2,
    padding: [0, 0, 1, 1],
  },
  {
    title: "3x3 with stride 2 that leaves a row over",
    x: [2, 2, 6, 5],
    out: 3,
    kernel: [3, 3],
    stride: 2,
    padding: [1, 1, 1, 1],
  },
  { title: "2x3 without padding", x: [2, 3, 5, 4], out: 2, kernel: [2, 3], stride: 1, padding: [0, 0, 0, 0] },
  { title: "1x1 with padding", x: [1, 3, 2, 2], out: 2, kernel: [1, 1], stride: 1, padding: [1, 1, 1, 1] },
  { title: "3x3 with uneven padding", x: [2, 4, 4, 3], out: 2, kernel: [3, 3], stride: 1, padding: [2, 0, 1, 2] },
];

describe("the gradients of a convolution are its adjoints: <conv(x, w), ct> = <x, dx> = <w, dw>, and each is exact for one number", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createOrtEngine({ threads: 1 });
  });
  afterAll(() => engine.dispose());

  for (const { title, x: xShape, out, kernel, stride, padding } of convCases) {
    test(title, async () => {
      const [batch, channels, height, width] = xShape;
      const [top, left, bottom, right] = padding;
      const [kh, kw] = kernel;
      const yShape = [
        batch,
        out,
        convOutputSize(height, kh, stride, top, bottom),
        convOutputSize(width, kw, stride, left, right),
      ];
      const graph = new Graph();
      const [x, w, ct] = [graph.feed("x", xShape), graph.feed("w", [out, channels, kh, kw]), graph.feed("ct", yShape)];
      graph.fetches.set("y", conv2d(x, w, undefined, { stride, padding }));
      graph.fetches.set("dx", conv2dGradInput(ct, w, xShape, { stride, padding }));
      graph.fetches.set("dw", conv2dGradWeight(x, ct, kernel, { stride, padding }));
      const executable = await engine.compile(graph, { name: title });
      // Small whole numbers: every sum is exact, so equality may be asked for.
      const whole = (value: Value, seed: number): Float32Array =>
        Float32Array.from({ length: sizeOf(value.shape) }, (_, i) => pick(seed + i, 7) - 3);
      const dot = (a: ArrayLike<number> = [], b: ArrayLike<number> = []): number =>
        Array.from(a).reduce((sum, value, i) => sum + value * (b[i] ?? NaN), 0);
      for (const seed of [1, 1001, 2001]) {
        const [xs, ws, cts] = [whole(x, seed), whole(w, seed + 100), whole(ct, seed + 500)];
        const { y, dx, dw } = await executable.run({ x: xs.slice(), w: ws.slice(), ct: cts.slice() });
        expect(dot(dx, xs)).toBe(dot(y, cts));
        expect(dot(dw, ws)).toBe(dot(y, cts));
      }
      // One number of x: dx there is what y changes by, against ct.
      for (const i of [0, sizeOf(xShape) - 1]) {
        const unit = new Float32Array(sizeOf(xShape));
        unit[i] = 1;
        const [ws, cts] = [whole(w, 7), whole(ct, 9)];
        const { y, dx } = await executable.run({ x: unit, w: ws.slice(), ct: cts.slice() });
        expect(dx?.[i]).toBe(dot(y, cts));
      }
    });
  }
});
