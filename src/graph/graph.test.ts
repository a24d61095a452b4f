import { expect, test } from "vitest";
import { add, concat, conv2d, conv2dGradInput, matmul, mul, reduceSum, reshape, slice } from "./build.ts";
import { Graph, inputsOf } from "./graph.ts";

test("operators that do not fit are errors with the shapes and the place in the model", () => {
  const graph = new Graph();
  const x = graph.feed("x", [2, 64, 320]);
  const w = graph.buffer("w", [640, 320]);
  const build = (): unknown => graph.scope("attn1", () => graph.scope("to_q", () => matmul(x, w)));
  expect(build).toThrow("MatMul: inner sizes differ: f32[2, 64, 320] x f32[640, 320]\n  at attn1.to_q");
});

test("shapes that an operator cannot take are refused", () => {
  const graph = new Graph();
  const x = graph.feed("x", [1, 2, 4, 4]);
  expect(() => add(x, graph.feed("a", [3]))).toThrow("sizes 4 and 3 do not broadcast");
  expect(() => reshape(x, [5, 7])).toThrow("[5, 7] has another number of elements");
  expect(() => slice(x, [0, 0, 0, 0], [1, 2, 4, 5])).toThrow("0..5 is outside axis 3 of size 4");
  expect(() => concat([x, graph.feed("b", [1, 2, 3, 3])], 1)).toThrow("sizes differ outside axis 1");
  expect(() => concat([x, x], 4)).toThrow("axis 4 is outside rank 4");
  expect(() => reduceSum(x, [1, 1])).toThrow("an axis is named twice: 1, 1");
  expect(() => conv2d(x, graph.feed("w", [3, 5, 1, 1]))).toThrow("the kernel takes 5 channels, the input has 2");
  expect(() => conv2d(x, graph.feed("w2", [3, 2, 5, 5]))).toThrow("the kernel is larger than the padded input");
  expect(() => conv2dGradInput(x, graph.feed("w3", [2, 3, 3, 3]), [1, 3, 4, 4], {})).toThrow("must be [1, 2, 2, 2]");
  expect(() => graph.feed("empty", [2, 0])).toThrow("sizes must be positive integers, got [2, 0]");
});

test("values of two graphs do not mix", () => {
  expect(() => add(new Graph().feed("x", [2]), new Graph().feed("x", [2]))).toThrow("Add: an input belongs to another graph");
});

test("an operator made like another has its types on the same ones, and its own on others", () => {
  const from = new Graph();
  const product = matmul(from.feed("x", [2, 3]), from.feed("w", [3, 5])).node;
  const graph = new Graph();
  const [x, w, wide] = [graph.feed("x", [2, 3]), graph.feed("w", [3, 5]), graph.feed("wide", [3, 7])];
  const [y] = graph.scope("here", () => graph.emitLike(product, [x, w]));
  expect(y).toMatchObject({
    graph,
    shape: [2, 5],
    dtype: "float32",
    node: { op: "MatMul", attrs: product.attrs, scope: "here" },
  });
  expect(graph.emitLike(product, [x, wide])[0]?.shape).toEqual([2, 7]);
  expect(() => graph.emitLike(product, [w, x])).toThrow("MatMul: inner sizes differ");
  expect(() => graph.emitLike(product, inputsOf(product))).toThrow("MatMul: an input belongs to another graph");
  expect(graph.valueCount).toBe(5);
});

test("asking for a buffer again gives the same value, of the same type only", () => {
  const graph = new Graph();
  const w = graph.buffer("w", [2]);
  expect(graph.buffer("w", [2])).toBe(w);
  expect(() => graph.buffer("w", [3])).toThrow("input w: asked for as buffer f32[3], but it is a buffer f32[2]");
  expect(() => graph.feed("w", [2])).toThrow("input w: asked for as feed f32[2], but it is a buffer f32[2]");
});

test("nodes carry the marks of where they were built", () => {
  const graph = new Graph();
  const x = graph.feed("x", [2]);
  const y = graph.scope("down", () => graph.block("0", () => graph.scope("conv", () => mul(x, 2))));
  expect(y.node).toMatchObject({ scope: "down.0.conv", block: "down.0", phase: "forward", recompute: false });
  const z = graph.marked({ ...y.node, phase: "backward" }, () => mul(x, 3));
  expect(z.node).toMatchObject({ scope: "down.0.conv", block: "down.0", phase: "backward" });
  const outside = graph.block("b", () => graph.marked({ block: undefined }, () => mul(x, 4)));
  expect(outside.node.block).toBeUndefined();
});
