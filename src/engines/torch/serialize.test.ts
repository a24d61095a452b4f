import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { grad } from "../../autodiff/grad.ts";
import { attention, layerNorm, matmul, mul, reduceSum, silu } from "../../graph/build.ts";
import { Graph } from "../../graph/graph.ts";
import { inferRules } from "../../graph/infer.ts";
import { serialize } from "./serialize.ts";

test("the worker has an entry for every operator that it is given, and none besides", () => {
  const source = readFileSync(new URL("./worker/ops.py", import.meta.url), "utf8");
  const table = /^OPS: .* = \{\n([\s\S]*?)^\}/m.exec(source)?.[1] ?? "";
  const names = [...table.matchAll(/^ {4}"(\w+)":/gm)].map(([, name]) => name);
  // Inputs and constants are there before a step; AdamW that does more than to update its buffers is taken apart.
  const others = new Set(["Input", "Constant", "AdamW"]);
  expect(names.sort()).toEqual(Object.keys(inferRules).filter((op) => !others.has(op)).sort()); // prettier-ignore
});

test("nodes come in order with what dies after each; feeds, buffers and results stay", () => {
  const graph = new Graph();
  const x = graph.feed("x", [2, 4]);
  const h = graph.scope("layer", () => silu(matmul(x, graph.buffer("w", [4, 4]))));
  graph.fetches.set("sum", reduceSum(mul(h, 2)));
  graph.updates.set("w", graph.buffer("w", [4, 4]));
  const { program, constants } = serialize(graph, "step");
  expect(program).toEqual({
    name: "step",
    nodes: [
      ["MatMul", [0, 1], { transA: false, transB: false }, [2], [], "layer"],
      ["Silu", [2], {}, [3], [2], "layer"],
      ["Mul", [3, 6], {}, [5], [3], ""],
      ["ReduceSum", [5], { axes: [0, 1], keepDims: false }, [7], [5], ""],
    ],
    types: [
      ["float32", [2, 4]],
      ["float32", [4, 4]],
      ["float32", [2, 4]],
      ["float32", [2, 4]],
      ["float32", []],
      ["float32", [2, 4]],
      null,
      ["float32", []],
    ],
    numbers: { 6: 2 },
    feeds: { x: 0 },
    buffers: { w: 1 },
    fetches: { sum: 7 },
    updates: { w: 1 },
    results: [7, 1],
    optimizer: [],
  });
  expect(constants).toEqual([{ name: "4", shape: [], data: Float32Array.of(2) }]);
});

test("a gradient takes what its forward kept, which dies with it", () => {
  const graph = new Graph();
  const x = graph.feed("x", [1, 2, 4, 8]);
  const scale = graph.buffer("scale", [8]);
  const normed = layerNorm(x, scale, scale, 1e-5);
  const loss = reduceSum(attention(normed, normed, normed, 0.5));
  const [dx] = grad(loss, [x]);
  if (!dx) throw new Error("no gradient");
  graph.fetches.set("dx", dx).set("loss", loss);
  const { program } = serialize(graph, "step");
  const find = (op: string) => program.nodes.filter(([name]) => name === op);
  expect(program.nodes.filter(([op]) => /^(LayerNorm|Attention)/.test(op)).map(([op]) => op)).toEqual([
    ...["LayerNorm", "Attention", "AttentionGrad", "LayerNormGrad"],
  ]);
  const kept = find("Attention")[0]?.[3].at(-1) ?? -1;
  expect(program.types[kept]).toBeNull();
  const [, inputs, , , dying] = find("AttentionGrad")[0] ?? [];
  expect(inputs?.at(-1)).toBe(kept);
  expect(dying).toContain(kept);
});

test("what a forward keeps dies at once when no gradient takes it, and a gradient without its forward brings one", () => {
  const graph = new Graph();
  const [x, y] = [graph.feed("x", [1, 1, 2, 4]), graph.feed("y", [1, 1, 2, 4])];
  graph.fetches.set("x", attention(x, x, x, 0.5)).set("scaled", attention(y, y, y, 0.25));
  const [dy] = grad(reduceSum(attention(y, y, y, 0.5)), [y]);
  if (!dy) throw new Error("no gradient");
  graph.fetches.set("dy", dy);
  const { program } = serialize(graph, "step");
  const nodes = program.nodes.filter(([op]) => op.startsWith("Attention"));
  expect(nodes.map(([op, , attrs]) => [op, attrs])).toEqual([
    ["Attention", { scale: 0.5 }],
    ["Attention", { scale: 0.25 }],
    // The forward of the gradient has no reader in the graph.
    ["Attention", { scale: 0.5 }],
    ["AttentionGrad", { scale: 0.5 }],
  ]);
  const [own, scaled, brought, gradient] = nodes;
  for (const node of [own, scaled]) expect(node?.[4]).toContain(node?.[3][1]);
  expect(brought?.[4]).toEqual([brought?.[3][0]]);
  expect(gradient?.[1].at(-1)).toBe(brought?.[3][1]);
  expect(gradient?.[4]).toContain(brought?.[3][1]);
});

test("optimizer steps are apart, with the clipping as their factor", () => {
  const graph = new Graph();
  const buffers = ["w", "w.m", "w.v"].map((name) => graph.buffer(name, [3]));
  const [w, m, v] = buffers as [(typeof buffers)[0], (typeof buffers)[0], (typeof buffers)[0]];
  const scalars = ["rate", "c1", "c2", "clip"].map((name) => graph.feed(name, []));
  const [rate, c1, c2, clip] = scalars as [typeof w, typeof w, typeof w, typeof w];
  const settings = { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0 };
  const gradient = graph.feed("g", [3]);
  const outputs = graph.emit("AdamW", [w, m, v, mul(gradient, clip), rate, c1, c2], settings);
  graph.updates.set("w", outputs[0]).set("w.m", outputs[1]).set("w.v", outputs[2]);
  const { program } = serialize(graph, "apply");
  const { feeds } = program;
  expect(program.nodes).toEqual([]);
  expect(program.updates).toEqual({});
  expect(program.fetches).toEqual({});
  expect(program.optimizer).toEqual([
    {
      ...{ weights: ["w"], m: ["w.m"], v: ["w.v"], grads: [feeds.g], ...settings },
      ...{ gradScale: feeds.clip, learningRate: feeds.rate, correction1: feeds.c1, correction2: feeds.c2 },
    },
  ]);
});
