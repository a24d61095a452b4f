import { expect, test } from "vitest";
import { add, exp, matmul } from "./build.ts";
import { Graph, type Node } from "./graph.ts";
import { verify } from "./verify.ts";

function small(): Graph {
  const graph = new Graph();
  const x = graph.feed("x", [2, 3]);
  const w = graph.buffer("w", [3, 4]);
  const y = graph.block("layer", () => exp(matmul(x, w)));
  graph.fetches.set("y", y);
  return graph;
}

/** What a faulty pass might leave: the node with another field. */
function tamper(graph: Graph, op: Node["op"], change: Record<string, unknown>): void {
  const node = graph.nodes.find((each) => each.op === op);
  Object.assign(node ?? {}, change);
}

test("a graph as it was built passes", () => {
  expect(() => verify(small())).not.toThrow();
});

test("an input that is made later is found, with the node and the place", () => {
  const graph = small();
  graph.nodes.reverse();
  expect(() => verify(graph)).toThrow("verify: %3 = Exp: its input %2 (MatMul) is not made before it\n  at layer");
});

test("an input of another graph is found", () => {
  const graph = small();
  tamper(graph, "Exp", { inputs: [small().feed("x", [2, 3])] });
  expect(() => verify(graph)).toThrow("verify: %3 = Exp: its input %0 belongs to another graph\n  at layer");
});

test("an output that is not what the operator gives is found", () => {
  const graph = small();
  tamper(graph, "MatMul", { attrs: { transA: false, transB: true } });
  expect(() => verify(graph)).toThrow("verify: %2 = MatMul: inner sizes differ");
  const other = small();
  Object.assign(other.nodes[2]?.outputs[0] ?? {}, { shape: [2, 5] });
  expect(() => verify(other)).toThrow("verify: %2 = MatMul: output 0 is f32[2, 5], needed f32[2, 4]");
});

test("wrong marks are found", () => {
  const graph = small();
  tamper(graph, "Exp", { block: "lay" });
  expect(() => verify(graph)).toThrow("verify: %3 = Exp: its block lay is not around it");
  const other = small();
  tamper(other, "Exp", { recompute: true });
  expect(() => verify(other)).toThrow("a recomputed node belongs to the backward, not to forward");
});

test("a fetch of another graph's value is found", () => {
  const graph = small();
  graph.fetches.set("stray", small().feed("x", [2, 3]));
  expect(() => verify(graph)).toThrow("verify: fetch stray is no value of this graph");
});

test("an update needs a buffer of its type", () => {
  const graph = small();
  const w = graph.buffer("w", [3, 4]);
  graph.updates.set("w", add(w, 1));
  expect(() => verify(graph)).not.toThrow();
  graph.updates.set("w2", add(w, 1));
  expect(() => verify(graph)).toThrow("verify: update w2: the graph has no buffer of this name");
  graph.updates.delete("w2");
  graph.updates.set("w", graph.feed("x", [2, 3]));
  expect(() => verify(graph)).toThrow("update w is f32[2, 3], its buffer is f32[3, 4]");
});
