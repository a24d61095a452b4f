import { describe, expect, test } from "vitest";
import { add, constant, div, expand, matmul, mul, neg, pad, reduceSum, reshape, sub, transpose } from "./build.ts";
import { countCost } from "./cost.ts";
import { mergeCommonSubexpressions } from "./cse.ts";
import { removeDeadCode } from "./dead-code.ts";
import { Graph, type Value } from "./graph.ts";
import { optimise } from "./passes.ts";
import { printGraph } from "./print.ts";
import { verify } from "./verify.ts";

/** The printed nodes of an optimised graph of one fetch. */
function optimised(build: (graph: Graph) => Value): string {
  const graph = new Graph();
  graph.fetches.set("y", build(graph));
  const result = optimise(graph, { keep: new Set() });
  verify(result);
  const lines = printGraph(result).split("\n");
  return lines.filter((line) => /^ {2}(%|y =)/.test(line)).map((line) => line.trim()).join("; "); // prettier-ignore
}

describe("mergeCommonSubexpressions", () => {
  test("equal nodes become one, also where a sum or product has its operands the other way round", () => {
    const graph = new Graph();
    const [a, b] = [graph.feed("a", [2]), graph.feed("b", [2])];
    graph.fetches.set("y", mul(add(a, b), add(b, a)));
    graph.fetches.set("z", sub(sub(a, b), sub(b, a)));
    const ops = mergeCommonSubexpressions(graph).nodes.map((node) => node.op);
    expect(ops).toEqual(["Input", "Input", "Add", "Mul", "Sub", "Sub", "Sub"]);
  });

  test("what read a node that is gone reads its equal, and what nothing reads goes in the same copy", () => {
    const graph = new Graph();
    const x = graph.feed("x", [2]);
    mul(x, 3);
    graph.fetches.set("y", add(neg(add(x, 1)), neg(add(x, 1))));
    const merged = mergeCommonSubexpressions(graph);
    expect(verify(merged)).toBeUndefined();
    expect(merged.nodes.map((node) => node.op)).toEqual(["Input", "Constant", "Add", "Neg", "Add"]);
    expect(mergeCommonSubexpressions(merged)).toBe(merged);
  });

  test("constants that JSON writes alike stay apart", () => {
    const graph = new Graph();
    const values = [Infinity, -Infinity, NaN, 0, -0].map((number) => constant(graph, [number], []));
    values.forEach((value, i) => graph.fetches.set(`c${i}`, value));
    expect(mergeCommonSubexpressions(graph).nodes.length).toBe(5);
  });
});

describe("removeDeadCode", () => {
  test("nodes and inputs that nothing reads go", () => {
    const graph = new Graph();
    const x = graph.feed("x", [2]);
    mul(graph.feed("unused", [2]), x);
    graph.fetches.set("y", neg(x));
    const live = removeDeadCode(graph);
    expect(live.nodes.map((node) => node.op)).toEqual(["Input", "Neg"]);
    expect(live.inputs.map(({ attrs }) => attrs.name)).toEqual(["x"]);
  });

  test("a graph of which all is needed is given back as it is", () => {
    const graph = new Graph();
    graph.fetches.set("y", neg(graph.feed("x", [2])));
    expect(removeDeadCode(graph)).toBe(graph);
  });

  test("a buffer that is only written stays, so that its type is known", () => {
    const graph = new Graph();
    graph.buffer("w", [2]);
    graph.updates.set("w", neg(graph.feed("x", [2])));
    const live = removeDeadCode(graph);
    expect(() => verify(live)).not.toThrow();
    expect(live.inputs.map(({ attrs }) => attrs.name)).toEqual(["w", "x"]);
  });
});

describe("simplification", () => {
  test("a broadcast that the next operator does anyway is left to it", () => {
    expect(optimised((g) => mul(expand(g.feed("a", [1, 3]), [2, 3]), g.feed("x", [2, 3])))).toBe(
      "%1 = Mul(a, x) : f32[2, 3]; y = %1",
    );
  });

  test("a broadcast that the result needs stays", () => {
    expect(optimised((g) => mul(expand(g.feed("a", [1, 3]), [2, 3]), 2))).toBe(
      "%1 = Expand(a) : f32[2, 3]; %2 = Mul(%1, 2) : f32[2, 3]; y = %2",
    );
  });

  test("factors that are numbers become one, and 1 and 0 none", () => {
    expect(optimised((g) => mul(mul(mul(g.feed("x", [2]), 2), 3), 1))).toBe("%1 = Mul(x, 6) : f32[2]; y = %1");
    expect(optimised((g) => div(add(sub(g.feed("x", [2]), 0), 0), 1))).toBe("y = x");
    expect(optimised((g) => mul(mul(0.5, g.feed("x", [2])), 2))).toBe("y = x");
  });

  test("adding 0 to a smaller value keeps its broadcast", () => {
    expect(optimised((g) => add(g.feed("x", [1]), constant(g, [0, 0], [2])))).toBe(
      "%1 = Constant() {data: [0, 0]} : f32[2]; %2 = Add(x, %1) : f32[2]; y = %2",
    );
    expect(optimised((g) => add(g.feed("x", []), constant(g, [0], [1])))).toBe("%1 = Add(x, 0) : f32[1]; y = %1");
  });

  test("adding a negative is subtracting", () => {
    expect(optimised((g) => add(g.feed("x", [2]), neg(g.feed("z", [2]))))).toBe("%1 = Sub(x, z) : f32[2]; y = %1");
  });

  test("a chain of reshapes or transposes is one, or none", () => {
    expect(optimised((g) => reshape(reshape(g.feed("x", [4, 6]), [24]), [6, 4]))).toBe("%1 = Reshape(x) : f32[6, 4]; y = %1");
    expect(optimised((g) => reshape(reshape(g.feed("x", [4, 6]), [24]), [4, 6]))).toBe("y = x");
    expect(optimised((g) => transpose(transpose(g.feed("x", [2, 3, 4]), [1, 2, 0]), [2, 0, 1]))).toBe("y = x");
    expect(optimised((g) => transpose(transpose(g.feed("x", [2, 3, 4]), [1, 2, 0]), [1, 2, 0]))).toBe(
      "%1 = Transpose(x) {perm: [2, 0, 1]} : f32[4, 2, 3]; y = %1",
    );
  });

  test("a matrix product transposes its inputs itself", () => {
    expect(
      optimised((g) =>
        matmul(transpose(g.feed("a", [5, 3]), [1, 0]), transpose(g.feed("b", [5, 4]), [1, 0]), { transB: true }),
      ),
    ).toBe("%1 = MatMul(a, b) {transA} : f32[3, 4]; y = %1");
  });

  test("neighbouring slices' gradients are concatenated, those with a gap or on two axes are not", () => {
    const gradient = (x: Value, before: number, after: number): Value => pad(x, [0, before], [0, after]);
    expect(optimised((g) => add(gradient(g.feed("a", [2, 2]), 0, 4), gradient(g.feed("b", [2, 3]), 2, 1)))).toBe(
      "%1 = Concat(a, b) {axis: 1} : f32[2, 5]; %2 = Pad(%1) {before: [0, 0], after: [0, 1]} : f32[2, 6]; y = %2",
    );
    expect(optimised((g) => add(gradient(g.feed("a", [2, 2]), 0, 4), gradient(g.feed("b", [2, 3]), 3, 0)))).toContain("Add(");
    expect(optimised((g) => add(gradient(g.feed("a", [2, 2]), 0, 4), pad(g.feed("b", [1, 4]), [1, 2], [0, 0])))).toContain(
      "Add(",
    );
    const corners = (g: Graph): Value =>
      add(pad(g.feed("a", [2, 2]), [0, 0], [2, 2]), pad(g.feed("b", [2, 2]), [2, 2], [0, 0]));
    expect(optimised(corners)).toContain("Add(");
    expect(optimised((g) => add(gradient(g.feed("a", [2, 2]), 0, 4), gradient(g.feed("b", [2, 2]), 0, 4)))).toContain("Add(");
  });
});

describe("countCost", () => {
  test("a matrix product counts a multiply-add as two, and its bytes once", () => {
    const graph = new Graph();
    const y = matmul(graph.feed("x", [2, 3, 5]), graph.buffer("w", [4, 5]), { transB: true });
    graph.fetches.set("y", y);
    const cost = countCost(graph);
    expect(cost.matmulFlops).toBe(2 * (2 * 3) * 4 * 5);
    expect(cost.flops).toBe(cost.matmulFlops);
    expect(cost.bytes).toBe(4 * (2 * 3 * 5 + 4 * 5 + 2 * 3 * 4));
  });

  test("sums by operator, place and phase add up to the whole, a value read twice is read once, a view costs nothing", () => {
    const graph = new Graph();
    const x = graph.feed("x", [10]);
    const y = graph.scope("a", () => reshape(mul(x, x), [2, 5]));
    graph.marked({ phase: "update" }, () => graph.fetches.set("y", reduceSum(y)));
    const cost = countCost(graph);
    expect([cost.flops, cost.matmulFlops, cost.bytes, cost.nodes]).toEqual([20, 0, 4 * (10 + 10 + 10 + 1), 4]);
    expect(cost.byOp.get("Mul")).toEqual({ flops: 10, matmulFlops: 0, bytes: 80, nodes: 1 });
    expect(cost.byOp.get("Reshape")).toEqual({ flops: 0, matmulFlops: 0, bytes: 0, nodes: 1 });
    expect(cost.byScope.get("a")?.flops).toBe(10);
    expect(cost.byPhase.get("update")?.flops).toBe(10);
    for (const table of [cost.byOp, cost.byScope, cost.byPhase]) {
      expect([...table.values()].reduce((sum, { flops }) => sum + flops, 0)).toBe(cost.flops);
    }
  });
});
