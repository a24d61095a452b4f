import { expect, test } from "vitest";
import { grad } from "../autodiff/grad.ts";
import { createRandom } from "../../test/operator-examples.ts";
import { evaluate } from "../../test/reference.ts";
import { add, attention, conv2d, groupNorm, layerNorm, matmul, mean, mul, reshape, silu, square, sub } from "./build.ts";
import { countCost } from "./cost.ts";
import { byteSizeOf, Graph, sizeOf } from "./graph.ts";
import { optimise } from "./passes.ts";
import { lowerPrecision } from "./precision.ts";
import { printGraph } from "./print.ts";
import { verify } from "./verify.ts";

const isBase = (name: string): boolean => name.startsWith("unet.");
const storage = (name: string) => (isBase(name) ? "bfloat16" : "float32");
const keep = { keep: new Set(["LayerNorm", "LayerNormGrad", "GroupNorm", "GroupNormGrad", "Attention", "AttentionGrad", "Silu", "SiluGrad", "AdamW"] as const) }; // prettier-ignore

/** A layer with an adapter, its loss and its step. */
function buildLinearStep(): Graph {
  const graph = new Graph();
  const x = graph.feed("x", [4, 8]);
  const [down, up] = [graph.buffer("down", [2, 8]), graph.buffer("up", [8, 2])];
  const plain = matmul(x, graph.buffer("unet.weight", [8, 8]), { transB: true });
  const y = add(plain, matmul(mul(matmul(x, down, { transB: true }), 0.5), up, { transB: true }));
  const loss = mean(square(sub(y, graph.feed("target", [4, 8]))));
  const [gradient] = grad(loss, [up]);
  if (!gradient) throw new Error("no gradient");
  graph.fetches.set("loss", loss);
  graph.marked({ phase: "update" }, () => graph.updates.set("up", sub(up, mul(gradient, 0.1))));
  return graph;
}

test("products are narrow; the loss, the update and the trained weight are float32; each value is cast once", () => {
  const lowered = optimise(lowerPrecision(buildLinearStep(), { compute: "bfloat16", storage }), keep);
  verify(lowered);
  expect(printGraph(lowered)).toMatchInlineSnapshot(`
    "inputs:
      x : f32[4, 8] (feed)
      down : f32[2, 8]
      up : f32[8, 2]
      unet.weight : bf16[8, 8]
      target : f32[4, 8] (feed)

    forward:
      %1 = Cast(x) : bf16[4, 8]
      %2 = MatMul(%1, unet.weight) {transB} : bf16[4, 8]
      %3 = Cast(down) : bf16[2, 8]
      %4 = MatMul(%1, %3) {transB} : bf16[4, 2]
      %5 = Mul(%4, 0.5) : bf16[4, 2]
      %6 = Cast(up) : bf16[8, 2]
      %7 = MatMul(%5, %6) {transB} : bf16[4, 8]
      %8 = Add(%2, %7) : bf16[4, 8]
      %9 = Cast(%8) : f32[4, 8]
      %10 = Sub(%9, target) : f32[4, 8]
      %11 = Mul(%10, %10) : f32[4, 8]
      %12 = ReduceSum(%11) {axes: [0, 1]} : f32[]
      %13 = Mul(%12, 0.03125) : f32[]

    backward:
      %14 = Mul(0.0625, %10) : f32[4, 8]
      %15 = Cast(%14) : bf16[4, 8]
      %16 = MatMul(%15, %5) {transA} : bf16[8, 2]

    update:
      %17 = Cast(%16) : f32[8, 2]
      %18 = Mul(%17, 0.1) : f32[8, 2]
      %19 = Sub(up, %18) : f32[8, 2]

    fetches:
      loss = %13

    updates:
      up <- %19"
  `);
});

/** One of each block that a UNet has. */
function buildBlocks(): Graph {
  const graph = new Graph();
  const weight = (name: string, ...shape: number[]) => graph.buffer(`unet.${name}`, shape);
  const x = graph.feed("x", [1, 8, 4, 4]);
  const normed = silu(groupNorm(x, weight("norm.weight", 8), weight("norm.bias", 8), 2, 1e-5));
  const pixels = add(conv2d(normed, weight("conv.weight", 8, 8, 3, 3), weight("conv.bias", 8), { padding: 1 }), x);
  const tokens = layerNorm(reshape(pixels, [1, 16, 8]), weight("ln.weight", 8), weight("ln.bias", 8), 1e-5);
  const q = reshape(matmul(tokens, graph.buffer("to_q", [8, 8])), [1, 2, 16, 4]);
  const y = attention(q, q, q, 0.5);
  const loss = mean(square(y));
  const [gradient] = grad(loss, [graph.buffer("to_q", [8, 8])]);
  if (!gradient) throw new Error("no gradient");
  graph.fetches.set("loss", loss).set("gradient", gradient);
  return graph;
}

test("a lowered graph calculates the same, but for rounding, fetches float32, and reads and writes fewer bytes", () => {
  const graph = optimise(buildBlocks(), keep);
  const lowered = optimise(lowerPrecision(graph, { compute: "bfloat16", storage }), keep);
  verify(lowered);
  const random = createRandom(1);
  const inputs = Object.fromEntries(
    graph.inputs.map(({ attrs }) => [attrs.name, Array.from({ length: sizeOf(attrs.shape) }, () => random() - 0.5)]),
  );
  const [wide, narrow] = [evaluate(graph, inputs).fetches, evaluate(lowered, inputs).fetches];
  for (const name of ["loss", "gradient"]) {
    expect(lowered.fetches.get(name)?.dtype).toBe("float32");
    // The reference evaluates in float64 whatever the type, so that only the graphs are compared.
    wide[name]?.data.forEach((value, i) => expect(narrow[name]?.data[i]).toBeCloseTo(value, 12));
  }
  expect(countCost(lowered).matmulFlops).toBe(countCost(graph).matmulFlops);
  const weightBytes = (g: Graph) => g.inputs.reduce((sum, { attrs }) => sum + (isBase(attrs.name) ? byteSizeOf(attrs) : 0), 0);
  expect(weightBytes(lowered)).toBe(weightBytes(graph) / 2);
  expect(countCost(lowered).bytes).toBeLessThan(countCost(graph).bytes);
  const types = new Map(lowered.nodes.map(({ op, outputs }) => [op, outputs[0].dtype]));
  for (const op of ["Conv2d", "MatMul", "Attention", "AttentionGrad"] as const) expect(types.get(op), op).toBe("bfloat16");
});

test("float32 leaves every node as it is, and narrow weights alone are widened where they are read", () => {
  const graph = optimise(buildBlocks(), keep);
  const same = lowerPrecision(graph, { compute: "float32", storage: () => "float32" });
  expect(printGraph(same)).toBe(printGraph(graph));
  const widened = lowerPrecision(graph, { compute: "float32", storage });
  verify(widened);
  const casts = widened.nodes.filter(({ op }) => op === "Cast");
  expect(casts.map(({ inputs }) => inputs[0]?.node.op)).toEqual(casts.map(() => "Input"));
  expect(casts).toHaveLength(widened.inputs.filter(({ attrs }) => isBase(attrs.name)).length);
});

test("constants take the type of what they meet", () => {
  const graph = new Graph();
  const x = matmul(graph.feed("x", [2, 2]), graph.buffer("unet.w", [2, 2]));
  graph.fetches.set("y", matmul(mul(x, 3), graph.buffer("unet.w", [2, 2])));
  const lowered = lowerPrecision(graph, { compute: "float16", storage: () => "float16" });
  verify(lowered);
  expect(lowered.nodes.filter(({ op }) => op === "Cast")).toHaveLength(2); // The feed, and the fetch.
});
