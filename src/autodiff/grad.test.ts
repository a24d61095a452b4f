/** What the walk builds; that its gradients are right is test/operators.test.ts's to show. */
import { expect, test } from "vitest";
import { createRandom } from "../../test/operator-examples.ts";
import { evaluate } from "../../test/reference.ts";
import {
  add,
  attention,
  cast,
  constant,
  gather,
  matmul,
  max,
  mean,
  mul,
  normalize,
  reduceSum,
  reshape,
  split,
  square,
  sub,
  transpose, // prettier-ignore
} from "../graph/build.ts";
import { mergeCommonSubexpressions } from "../graph/cse.ts";
import { removeDeadCode } from "../graph/dead-code.ts";
import { Graph, sizeOf, type Value } from "../graph/graph.ts";
import { optimise } from "../graph/passes.ts";
import { printGraph } from "../graph/print.ts";
import { verify } from "../graph/verify.ts";
import { grad } from "./grad.ts";

/** x Wᵀ and, where it is adapted, + scale up(down(x)). */
function linear(x: Value, name: string, rank?: number): Value {
  const { graph } = x;
  return graph.scope(name, () => {
    const plain = matmul(x, graph.buffer(`${name}.weight`, [8, 8]), { transB: true });
    if (rank === undefined) return plain;
    const down = graph.buffer(`${name}.down`, [rank, 8]);
    const up = graph.buffer(`${name}.up`, [8, rank]);
    return add(plain, matmul(mul(matmul(x, down, { transB: true }), 0.5), up, { transB: true }));
  });
}

function heads(x: Value): Value {
  return transpose(reshape(x, [2, 4, 2, 4]), [0, 2, 1, 3]);
}

/** x + to_out(attention(to_q(x), to_k(x), to_v(x))), to_q adapted with rank 2, and its mean squared error. */
function attentionBlock(): { graph: Graph; loss: Value } {
  const graph = new Graph();
  const x = graph.feed("x", [2, 4, 8]);
  const y = graph.block("attn", () => {
    const [q, k, v] = [linear(x, "to_q", 2), linear(x, "to_k"), linear(x, "to_v")];
    const merged = reshape(transpose(attention(heads(q), heads(k), heads(v), 0.5), [0, 2, 1, 3]), [2, 4, 8]);
    return add(x, linear(merged, "to_out"));
  });
  const loss = graph.scope("loss", () => mean(square(sub(y, graph.feed("target", [2, 4, 8])))));
  graph.fetches.set("loss", loss);
  return { graph, loss };
}

test("an attention block with a LoRA on to_q goes back through v, the softmax and q, and no further than the adapter", () => {
  const { graph, loss } = attentionBlock();
  const [down, up] = grad(loss, [graph.buffer("to_q.down", [2, 8]), graph.buffer("to_q.up", [8, 2])]);
  if (!down || !up) throw new Error("two gradients needed");
  graph.fetches.set("grad down", down).set("grad up", up);
  verify(graph);
  expect(printGraph(removeDeadCode(mergeCommonSubexpressions(graph)))).toMatchInlineSnapshot(`
    "inputs:
      x : f32[2, 4, 8] (feed)
      to_q.weight : f32[8, 8]
      to_q.down : f32[2, 8]
      to_q.up : f32[8, 2]
      to_k.weight : f32[8, 8]
      to_v.weight : f32[8, 8]
      to_out.weight : f32[8, 8]
      target : f32[2, 4, 8] (feed)

    forward:
      # attn.to_q
      %1 = MatMul(x, to_q.weight) {transB} : f32[2, 4, 8]
      %2 = MatMul(x, to_q.down) {transB} : f32[2, 4, 2]
      %3 = Mul(%2, 0.5) : f32[2, 4, 2]
      %4 = MatMul(%3, to_q.up) {transB} : f32[2, 4, 8]
      %5 = Add(%1, %4) : f32[2, 4, 8]
      # attn.to_k
      %6 = MatMul(x, to_k.weight) {transB} : f32[2, 4, 8]
      # attn.to_v
      %7 = MatMul(x, to_v.weight) {transB} : f32[2, 4, 8]
      # attn
      %8 = Reshape(%5) : f32[2, 4, 2, 4]
      %9 = Transpose(%8) {perm: [0, 2, 1, 3]} : f32[2, 2, 4, 4]
      %10 = Reshape(%6) : f32[2, 4, 2, 4]
      %11 = Transpose(%10) {perm: [0, 2, 1, 3]} : f32[2, 2, 4, 4]
      %12 = Reshape(%7) : f32[2, 4, 2, 4]
      %13 = Transpose(%12) {perm: [0, 2, 1, 3]} : f32[2, 2, 4, 4]
      %14 = Attention(%9, %11, %13) {scale: 0.5} : f32[2, 2, 4, 4]
      %15 = Transpose(%14) {perm: [0, 2, 1, 3]} : f32[2, 4, 2, 4]
      %16 = Reshape(%15) : f32[2, 4, 8]
      # attn.to_out
      %17 = MatMul(%16, to_out.weight) {transB} : f32[2, 4, 8]
      # attn
      %18 = Add(x, %17) : f32[2, 4, 8]
      # loss
      %19 = Sub(%18, target) : f32[2, 4, 8]
      %20 = Mul(%19, %19) : f32[2, 4, 8]
      %21 = ReduceSum(%20) {axes: [0, 1, 2]} : f32[]
      %22 = Mul(%21, 0.015625) : f32[]

    backward:
      # loss
      %23 = Mul(1, 0.015625) : f32[]
      %24 = Reshape(%23) : f32[1, 1, 1]
      %25 = Expand(%24) : f32[2, 4, 8]
      %26 = Mul(%25, 2) : f32[2, 4, 8]
      %27 = Mul(%26, %19) : f32[2, 4, 8]
      # attn.to_out
      %28 = MatMul(%27, to_out.weight) : f32[2, 4, 8]
      # attn
      %29 = Reshape(%28) : f32[2, 4, 2, 4]
      %30 = Transpose(%29) {perm: [0, 2, 1, 3]} : f32[2, 2, 4, 4]
      %31, %32, %33 = AttentionGrad(%30, %9, %11, %13) {scale: 0.5} : f32[2, 2, 4, 4], f32[2, 2, 4, 4], f32[2, 2, 4, 4]
      %34 = Transpose(%31) {perm: [0, 2, 1, 3]} : f32[2, 4, 2, 4]
      %35 = Reshape(%34) : f32[2, 4, 8]
      # attn.to_q
      %36 = MatMul(%35, to_q.up) : f32[2, 4, 2]
      %37 = Reshape(%3) : f32[8, 2]
      %38 = Reshape(%35) : f32[8, 8]
      %39 = MatMul(%38, %37) {transA} : f32[8, 2]
      %40 = Mul(%36, 0.5) : f32[2, 4, 2]
      %41 = Reshape(x) : f32[8, 8]
      %42 = Reshape(%40) : f32[8, 2]
      %43 = MatMul(%42, %41) {transA} : f32[2, 8]

    fetches:
      loss = %22
      grad down = %43
      grad up = %39"
  `);
});

test("the same block as an engine without composites runs it", () => {
  const { graph, loss } = attentionBlock();
  const [down, up] = grad(loss, [graph.buffer("to_q.down", [2, 8]), graph.buffer("to_q.up", [8, 2])]);
  if (!down || !up) throw new Error("two gradients needed");
  graph.fetches.set("grad down", down).set("grad up", up);
  const simpler = optimise(graph, { keep: new Set() });
  verify(simpler);
  expect(printGraph(simpler)).toMatchInlineSnapshot(`
    "inputs:
      x : f32[2, 4, 8] (feed)
      to_q.weight : f32[8, 8]
      to_q.down : f32[2, 8]
      to_q.up : f32[8, 2]
      to_k.weight : f32[8, 8]
      to_v.weight : f32[8, 8]
      to_out.weight : f32[8, 8]
      target : f32[2, 4, 8] (feed)

    forward:
      # attn.to_q
      %1 = MatMul(x, to_q.weight) {transB} : f32[2, 4, 8]
      %2 = MatMul(x, to_q.down) {transB} : f32[2, 4, 2]
      %3 = Mul(%2, 0.5) : f32[2, 4, 2]
      %4 = MatMul(%3, to_q.up) {transB} : f32[2, 4, 8]
      %5 = Add(%1, %4) : f32[2, 4, 8]
      # attn.to_k
      %6 = MatMul(x, to_k.weight) {transB} : f32[2, 4, 8]
      # attn.to_v
      %7 = MatMul(x, to_v.weight) {transB} : f32[2, 4, 8]
      # attn
      %8 = Reshape(%5) : f32[2, 4, 2, 4]
      %9 = Transpose(%8) {perm: [0, 2, 1, 3]} : f32[2, 2, 4, 4]
      %10 = Reshape(%6) : f32[2, 4, 2, 4]
      %11 = Transpose(%10) {perm: [0, 2, 1, 3]} : f32[2, 2, 4, 4]
      %12 = Reshape(%7) : f32[2, 4, 2, 4]
      %13 = Transpose(%12) {perm: [0, 2, 1, 3]} : f32[2, 2, 4, 4]
      %14 = Mul(%9, 0.5) : f32[2, 2, 4, 4]
      %15 = MatMul(%14, %11) {transB} : f32[2, 2, 4, 4]
      %16 = Softmax(%15) : f32[2, 2, 4, 4]
      %17 = MatMul(%16, %13) : f32[2, 2, 4, 4]
      %18 = Transpose(%17) {perm: [0, 2, 1, 3]} : f32[2, 4, 2, 4]
      %19 = Reshape(%18) : f32[2, 4, 8]
      # attn.to_out
      %20 = MatMul(%19, to_out.weight) {transB} : f32[2, 4, 8]
      # attn
      %21 = Add(x, %20) : f32[2, 4, 8]
      # loss
      %22 = Sub(%21, target) : f32[2, 4, 8]
      %23 = Mul(%22, %22) : f32[2, 4, 8]
      %24 = ReduceSum(%23) {axes: [0, 1, 2]} : f32[]
      %25 = Mul(%24, 0.015625) : f32[]

    backward:
      # loss
      %26 = Mul(0.03125, %22) : f32[2, 4, 8]
      # attn.to_out
      %27 = MatMul(%26, to_out.weight) : f32[2, 4, 8]
      # attn
      %28 = Reshape(%27) : f32[2, 4, 2, 4]
      %29 = Transpose(%28) {perm: [0, 2, 1, 3]} : f32[2, 2, 4, 4]
      %30 = Mul(%29, %17) : f32[2, 2, 4, 4]
      %31 = ReduceSum(%30) {axes: [3], keepDims} : f32[2, 2, 4, 1]
      %32 = MatMul(%29, %13) {transB} : f32[2, 2, 4, 4]
      %33 = Sub(%32, %31) : f32[2, 2, 4, 4]
      %34 = Mul(%16, %33) : f32[2, 2, 4, 4]
      %35 = MatMul(%34, %11) : f32[2, 2, 4, 4]
      %36 = Mul(%35, 0.5) : f32[2, 2, 4, 4]
      %37 = Transpose(%36) {perm: [0, 2, 1, 3]} : f32[2, 4, 2, 4]
      %38 = Reshape(%37) : f32[2, 4, 8]
      # attn.to_q
      %39 = MatMul(%38, to_q.up) : f32[2, 4, 2]
      %40 = Reshape(%3) : f32[8, 2]
      %41 = Reshape(%37) : f32[8, 8]
      %42 = MatMul(%41, %40) {transA} : f32[8, 2]
      %43 = Mul(%39, 0.5) : f32[2, 4, 2]
      %44 = Reshape(x) : f32[8, 8]
      %45 = Reshape(%43) : f32[8, 2]
      %46 = MatMul(%45, %44) {transA} : f32[2, 8]

    fetches:
      loss = %25
      grad down = %46
      grad up = %42"
  `);

  const random = createRandom(3);
  const inputs = Object.fromEntries(
    graph.inputs.map(({ attrs }) => [attrs.name, Array.from({ length: sizeOf(attrs.shape) }, () => random() - 0.5)]),
  );
  const [expected, actual] = [evaluate(graph, inputs).fetches, evaluate(simpler, inputs).fetches];
  for (const name of ["loss", "grad down", "grad up"]) {
    const wanted = expected[name]?.data ?? new Float64Array();
    expect(Math.hypot(...wanted)).toBeGreaterThan(1e-6);
    wanted.forEach((x, i) => expect(actual[name]?.data[i]).toBeCloseTo(x, 14));
  }
});

test("a value that the loss does not depend on has a gradient of zeros", () => {
  const graph = new Graph();
  const [x, other] = [graph.feed("x", [3]), graph.feed("other", [2, 2])];
  const [dx, dOther] = grad(reduceSum(x), [x, other]);
  if (!dx || !dOther) throw new Error("two gradients needed");
  graph.fetches.set("dx", dx).set("dOther", dOther);
  const { fetches } = evaluate(graph, { x: [1, 2, 3], other: [1, 2, 3, 4] });
  expect([...(fetches["dx"]?.data ?? [])]).toEqual([1, 1, 1]);
  expect([...(fetches["dOther"]?.data ?? [])]).toEqual([0, 0, 0, 0]);
});

test("frozen weights get no gradient work: every matrix product of the backward lies on the way to the trained value", () => {
  const { graph, loss } = attentionBlock();
  const forward = graph.nodes.filter((node) => node.op === "MatMul").length;
  grad(loss, [graph.buffer("to_q.up", [8, 2])]);
  // Two: back through to_out, and the gradient of `up` itself. Attention's own are in its composite.
  expect(graph.nodes.filter((node) => node.op === "MatMul").length - forward).toBe(2);
});

test("the gradients of the slices of one value become one concatenation", () => {
  const graph = new Graph();
  const x = graph.feed("x", [2, 6]);
  const parts = split(x, 1, 3);
  const loss = parts.map((part, i) => reduceSum(mul(part, graph.feed(`ct${i}`, [2, 2])))).reduce((a, b) => add(a, b));
  const [dx] = grad(loss, [x]);
  if (!dx) throw new Error("a gradient needed");
  graph.fetches.set("dx", dx);
  const simpler = optimise(graph, { keep: new Set() });
  expect(simpler.nodes.map((node) => node.op)).toEqual(["Input", "Input", "Input", "Concat"]);
  const { fetches } = evaluate(simpler, { ct0: [1, 2, 3, 4], ct1: [5, 6, 7, 8], ct2: [9, 10, 11, 12] });
  expect([...(fetches["dx"]?.data ?? [])]).toEqual([1, 2, 5, 6, 9, 10, 3, 4, 7, 8, 11, 12]);
});

test("a value used twice gets the sum of both gradients, its square only one product", () => {
  const graph = new Graph();
  const x = graph.feed("x", [2]);
  const [dx] = grad(reduceSum(add(square(x), mul(x, 3))), [x]);
  if (!dx) throw new Error("a gradient needed");
  graph.fetches.set("dx", dx);
  expect([...(evaluate(graph, { x: [5, -1] }).fetches["dx"]?.data ?? [])]).toEqual([13, 1]);
});

test("a path through an operator without a gradient is an error that names the operator and the place", () => {
  const graph = new Graph();
  const x = graph.feed("x", [2]);
  const loss = graph.scope("clip", () => reduceSum(max(x, 0)));
  expect(() => grad(loss, [x])).toThrow("grad: Max has no gradient\n  at clip");
});

test("a mask that is trained is an error, not a silent zero", () => {
  const graph = new Graph();
  const q = graph.feed("q", [1, 1, 2, 4]);
  const mask = graph.feed("mask", [1, 1, 2, 2]);
  const loss = graph.scope("attn", () => reduceSum(attention(q, q, q, 0.5, mask)));
  expect(() => grad(loss, [mask])).toThrow("grad: Attention has no gradient for input 3\n  at attn");
});

test("a gradient for the inverse deviation of a normalisation is an error", () => {
  const graph = new Graph();
  const x = graph.feed("x", [2, 4]);
  const [normalized, invStd] = normalize(x, 1e-5);
  expect(() => grad(reduceSum(add(normalized, invStd)), [x])).toThrow("grad: the second output of Normalize has no gradient");
});

test("indices that depend on a trained value pass nothing back", () => {
  const graph = new Graph();
  const [table, x] = [graph.feed("table", [3, 2]), graph.feed("x", [2])];
  const [dTable, dx] = grad(reduceSum(gather(table, cast(x, "int32"))), [table, x]);
  if (!dTable || !dx) throw new Error("two gradients needed");
  graph.fetches.set("dTable", dTable).set("dx", dx);
  const { fetches } = evaluate(graph, { table: [0, 0, 0, 0, 0, 0], x: [2, 0] });
  expect([...(fetches["dTable"]?.data ?? [])]).toEqual([1, 1, 0, 0, 1, 1]);
  expect([...(fetches["dx"]?.data ?? [])]).toEqual([0, 0]);
});

test("a loss that is not a scalar is refused", () => {
  const graph = new Graph();
  const x = graph.feed("x", [2]);
  expect(() => grad(x, [x])).toThrow("grad: the loss must be a scalar, got [2]");
  expect(() => grad(constant(graph, [1], []), [x])).not.toThrow();
});
