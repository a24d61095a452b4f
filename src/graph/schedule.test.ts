import { describe, expect, test } from "vitest";
import { add, constant, exp, matmul, mul, neg, normalize, reduceSum, reshape } from "./build.ts";
import { Graph, type Node, type Value } from "./graph.ts";
import { measureLiveness, scheduleForMemory } from "./schedule.ts";
import { verify } from "./verify.ts";

/** Bytes of a [100] float32. */
const unit = 400;

function curveOf(graph: Graph, options = {}): readonly number[] {
  return measureLiveness(graph, graph.nodes, options).curve.map((bytes) => bytes / unit);
}

describe("measureLiveness", () => {
  test("a value lives from its node to its last reader; feeds, buffers and constants do not count", () => {
    const graph = new Graph();
    const x = graph.feed("x", [100]);
    const w = graph.buffer("w", [100]);
    const a = mul(x, w);
    const b = exp(a);
    const c = neg(b);
    graph.fetches.set("y", add(a, c));
    // x, w; a; a b; a b c; a c y
    expect(curveOf(graph)).toEqual([0, 0, 1, 2, 3, 3]);
    const { peakBytes, peakNode } = measureLiveness(graph);
    expect(peakBytes).toBe(3 * unit);
    expect(peakNode?.op).toBe("Neg");
  });

  test("fetches and updates live to the end", () => {
    const graph = new Graph();
    const w = graph.buffer("w", [100]);
    graph.updates.set("w", exp(w));
    graph.fetches.set("y", neg(w));
    graph.fetches.set("z", exp(neg(neg(w))));
    expect(curveOf(graph).slice(1)).toEqual([1, 2, 3, 4, 4]);
  });

  test("a value that nothing reads lives during its node only", () => {
    const graph = new Graph();
    const x = graph.feed("x", [1, 100]);
    const [normalized] = normalize(x, 1e-5);
    graph.fetches.set("y", neg(normalized));
    exp(x);
    expect(curveOf(graph)).toEqual([0, 1.01, 2, 2]);
  });

  test("a view takes no memory and keeps what it views alive", () => {
    const graph = new Graph();
    const a = exp(graph.feed("x", [100]));
    const view = reshape(reshape(a, [10, 10]), [5, 20]);
    const b = neg(a);
    const c = neg(b);
    graph.fetches.set("y", add(c, reshape(view, [100])));
    expect(curveOf(graph)).toEqual([0, 1, 1, 1, 2, 3, 2, 3]);
    // Where reshapes are copies, they count.
    expect(curveOf(graph, { aliasing: new Set() })[2]).toBe(2);
  });

  test("a fetched view keeps its source to the end, a view of an input takes nothing", () => {
    const graph = new Graph();
    const x = graph.feed("x", [100]);
    graph.fetches.set("view", reshape(exp(x), [10, 10]));
    graph.fetches.set("input view", reshape(x, [10, 10]));
    graph.fetches.set("y", neg(x));
    expect(curveOf(graph)).toEqual([0, 1, 1, 1, 2]);
  });

  test("an operator that writes over a dying input of its size takes nothing", () => {
    const graph = new Graph();
    const a = exp(graph.feed("x", [100]));
    const b = neg(a);
    graph.fetches.set("sum", reduceSum(b));
    expect(curveOf(graph, { inPlace: new Set(["Neg", "ReduceSum"]) })).toEqual([0, 1, 1, 1.01]);
    expect(curveOf(graph)).toEqual([0, 1, 2, 1.01]);
  });

  test("a value read twice by one node is freed once", () => {
    const graph = new Graph();
    const a = exp(graph.feed("x", [100]));
    graph.fetches.set("y", exp(mul(a, a)));
    expect(curveOf(graph)).toEqual([0, 1, 2, 2]);
  });

  test("it follows another order of the same nodes", () => {
    const graph = new Graph();
    const x = graph.feed("x", [100]);
    const sums = [1, 2, 3].map((factor) => reduceSum(mul(x, factor)));
    graph.fetches.set("y", sums.reduce((a, b) => add(a, b))); // prettier-ignore
    const isBig = (node: Node): boolean => node.op === "Mul";
    const late = [...graph.nodes.filter((n) => n.op === "Input" || n.op === "Constant" || isBig(n))];
    const order = [...late, ...graph.nodes.filter((node) => !late.includes(node))];
    expect(measureLiveness(graph).peakBytes / unit).toBeLessThan(1.1);
    expect(measureLiveness(graph, order).peakBytes / unit).toBeGreaterThan(3);
  });
});

describe("scheduleForMemory", () => {
  /** Activations first, then all that reads them: the worst order. */
  function wasteful(): { graph: Graph; sums: readonly Value[] } {
    const graph = new Graph();
    const x = graph.feed("x", [100]);
    const big = [1, 2, 3, 4, 5].map((factor) => exp(mul(x, factor)));
    const sums = big.map((value) => reduceSum(value));
    sums.forEach((value, i) => graph.fetches.set(`sum ${i}`, value));
    return { graph, sums };
  }

  test("what frees memory runs as soon as it can: five big values in turn take the memory of one and its source", () => {
    const { graph } = wasteful();
    const better = scheduleForMemory(graph);
    verify(better);
    expect(measureLiveness(graph).peakBytes / unit).toBeGreaterThan(5);
    expect(measureLiveness(better).peakBytes / unit).toBeLessThan(2.1);
    expect(better.nodes.length).toBe(graph.nodes.length);
  });

  test("what only takes memory runs just before it is read", () => {
    const graph = new Graph();
    const x = graph.feed("x", [100]);
    const early = [1, 2, 3].map((factor) => mul(x, factor));
    let h: Value = constant(graph, [1], []);
    for (const value of early) h = add(h, reduceSum(matmul(reshape(value, [10, 10]), reshape(x, [10, 10]))));
    graph.fetches.set("y", h);
    expect(measureLiveness(graph).peakBytes / unit).toBeGreaterThan(3);
    expect(measureLiveness(scheduleForMemory(graph)).peakBytes / unit).toBeLessThan(2.1);
  });

  test("a graph in a good order stays as it is", () => {
    const graph = new Graph();
    let h = graph.feed("x", [100]);
    for (let i = 0; i < 5; i++) h = exp(h);
    graph.fetches.set("y", h);
    expect(scheduleForMemory(graph)).toBe(graph);
  });
});
