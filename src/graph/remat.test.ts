import { describe, expect, test } from "vitest";
import { createRandom } from "../../test/operator-examples.ts";
import { evaluate, type ReferenceResults } from "../../test/reference.ts";
import { grad } from "../autodiff/grad.ts";
import { add, groupNorm, matmul, mean, mul, silu, square } from "./build.ts";
import { countCost } from "./cost.ts";
import { mergeCommonSubexpressions } from "./cse.ts";
import { removeDeadCode } from "./dead-code.ts";
import { decompose } from "./decompose.ts";
import { Graph, sizeOf, type Value } from "./graph.ts";
import { optimise } from "./passes.ts";
import { rematerialise } from "./remat.ts";
import { measureLiveness, scheduleForMemory } from "./schedule.ts";
import { verify } from "./verify.ts";

const width = 16;
const rowCount = 32;

/** x + four layers, each a product and a SiLU. */
function block(graph: Graph, x: Value, name: string): Value {
  return graph.block(name, () => {
    let h = x;
    for (let layer = 0; layer < 4; layer++) {
      h = graph.scope(`layer${layer}`, () =>
        silu(matmul(h, graph.buffer(`${name}.${layer}`, [width, width]), { transB: true })),
      );
    }
    return add(x, h);
  });
}

/** A chain of blocks, the first weight of every block trained. */
function chain(depth: number): Graph {
  const graph = new Graph();
  let x: Value = graph.feed("x", [rowCount, width]);
  for (let i = 0; i < depth; i++) x = block(graph, x, `block${i}`);
  const loss = graph.scope("loss", () => mean(square(x)));
  graph.fetches.set("loss", loss);
  const trained = Array.from({ length: depth }, (_, i) => graph.buffer(`block${i}.0`, [width, width]));
  grad(loss, trained).forEach((gradient, i) => graph.fetches.set(`grad ${i}`, gradient));
  return optimise(graph, { keep: new Set() });
}

function run(graph: Graph): ReferenceResults {
  const random = createRandom(11);
  return evaluate(
    graph,
    Object.fromEntries(
      graph.inputs.map(({ attrs }) => [attrs.name, Array.from({ length: sizeOf(attrs.shape) }, () => random() - 0.5)]),
    ),
  );
}

describe("rematerialise", () => {
  test("a chain of 12 blocks keeps one value a block instead of nine, and the inside of one block: 22 values, not 110", () => {
    const graph = chain(12);
    const less = scheduleForMemory(rematerialise(graph, { blocks: "all" }));
    verify(less);
    const activation = rowCount * width * 4;
    const [before, after] = [graph, less].map((each) => Math.round(measureLiveness(each).peakBytes / activation));
    expect({ before, after }).toEqual({ before: 110, after: 22 });
  });

  test("results are the same bit for bit", () => {
    const graph = chain(3);
    const less = rematerialise(graph, { blocks: "all" });
    expect(less.nodes.some((node) => node.recompute)).toBe(true);
    expect(run(less)).toEqual(run(graph));
  });

  test("common subexpressions are not merged back into their originals, but with each other", () => {
    const less = rematerialise(chain(3), { blocks: "all" });
    expect(removeDeadCode(mergeCommonSubexpressions(less)).nodes.length).toBe(less.nodes.length);
  });

  test("a copy is marked as backward work of its block and place", () => {
    const copies = rematerialise(chain(2), { blocks: "all" }).nodes.filter((node) => node.recompute);
    expect(new Set(copies.map((node) => node.phase))).toEqual(new Set(["backward"]));
    expect(new Set(copies.map((node) => node.block))).toEqual(new Set(["block0", "block1"]));
    expect(copies[0]?.scope).toBe("block1.layer0");
  });

  test("each block is recomputed once, after the backward of the block behind it", () => {
    const { nodes } = rematerialise(chain(3), { blocks: "all" });
    const seen = nodes.filter((node) => node.recompute).map((node) => node.block);
    expect(seen.filter((name, i) => name !== seen[i - 1])).toEqual(["block2", "block1", "block0"]);
    const lastOfBlock2 = nodes.findLastIndex((node) => node.block === "block2");
    expect(nodes.findIndex((node) => node.recompute && node.block === "block1")).toBeGreaterThan(lastOfBlock2);
  });

  test("it costs no more than one forward", () => {
    const graph = chain(6);
    const forward = countCost(graph).byPhase.get("forward")?.matmulFlops ?? 0;
    const extra = countCost(rematerialise(graph, { blocks: "all" })).matmulFlops - countCost(graph).matmulFlops;
    // The last product of a block is followed only by what its own gradient needs, so all four products run again.
    expect(extra).toBe(forward);
  });

  test("only the named blocks are recomputed", () => {
    const less = rematerialise(chain(3), { blocks: new Set(["block1"]) });
    expect(new Set(less.nodes.filter((node) => node.recompute).map((node) => node.block))).toEqual(new Set(["block1"]));
  });

  test("a block that the graph does not have is an error", () => {
    expect(() => rematerialise(chain(1), { blocks: new Set(["block7"]) })).toThrow(
      "rematerialise: the graph has no block named block7",
    );
  });

  test("a value that a later block reads is kept, not recomputed", () => {
    const graph = new Graph();
    const x = graph.feed("x", [rowCount, width]);
    const w = graph.buffer("w", [width, width]);
    const [skip, h] = graph.block("down", () => {
      const inner = silu(matmul(x, w));
      return [inner, silu(mul(inner, 2))] as const;
    });
    const y = graph.block("up", () => silu(mul(h, skip)));
    const loss = mean(square(y));
    graph.fetches.set("loss", loss);
    const [dw] = grad(loss, [w]);
    if (!dw) throw new Error("a gradient needed");
    graph.fetches.set("dw", dw);
    const plain = mergeCommonSubexpressions(decompose(graph, new Set()));
    const less = rematerialise(plain, { blocks: "all" });
    verify(less);
    const silus = (each: Graph): number => each.nodes.filter((node) => node.recompute && node.op === "MatMul").length;
    // `skip` itself stays; the product before it is inside and its gradient needs it.
    expect(silus(less)).toBe(1);
    const skipCopies = less.nodes.filter((node) => node.recompute && node.block === "down" && node.op === "Mul");
    expect(skipCopies.length).toBe(1);
    expect(run(less)).toEqual(run(plain));
  });

  test("a value that is fetched is there anyway: it is not recomputed", () => {
    const graph = chain(1);
    const inner = graph.nodes.find((node) => node.op === "Sigmoid" && node.scope === "block0.layer3");
    if (!inner) throw new Error("a SiLU needed");
    const copiesOfIt = (each: Graph): number =>
      each.nodes.filter((node) => node.recompute && node.op === "Sigmoid" && node.scope === "block0.layer3").length;
    expect(copiesOfIt(rematerialise(graph, { blocks: "all" }))).toBe(1);
    graph.fetches.set("inner", inner.outputs[0]);
    expect(copiesOfIt(rematerialise(graph, { blocks: "all" }))).toBe(0);
  });

  test("what forward and backward of a norm share is recomputed with its block", () => {
    const graph = new Graph();
    const x = graph.feed("x", [2, 4, 3, 3]);
    const gain = graph.buffer("gain", [4]);
    const y = graph.block("norm", () => silu(groupNorm(mul(x, gain.graph.buffer("w", [4, 1, 1])), gain, gain, 2, 1e-5)));
    const loss = mean(square(y));
    graph.fetches.set("loss", loss);
    const [dw] = grad(loss, [graph.buffer("w", [4, 1, 1])]);
    if (!dw) throw new Error("a gradient needed");
    graph.fetches.set("dw", dw);
    const plain = optimise(graph, { keep: new Set() });
    expect(plain.nodes.filter((node) => node.op === "Normalize").length).toBe(1);
    const less = optimise(graph, { keep: new Set(), remat: { blocks: "all" } });
    expect(less.nodes.filter((node) => node.op === "Normalize").map((node) => node.phase)).toEqual(["forward", "backward"]);
    expect(run(less)).toEqual(run(plain));
  });
});
