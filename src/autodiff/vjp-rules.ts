/**
 * The gradient of every operator: for each input a function from the output's cotangent to the input's. They are functions so that
 * only the gradients that are needed get built. Operators without a gradient are listed, never implied by absence.
 */
import {
  attentionGrad,
  cast,
  conv2dGradInput,
  conv2dGradWeight,
  cos,
  div,
  exp,
  expand,
  geluGrad,
  groupNormGrad,
  layerNormGrad,
  matmul,
  mul,
  neg,
  normalize,
  normalizeGrad,
  pad,
  quickGeluGrad,
  reduceSum,
  reshape,
  scatterAdd,
  gather,
  siluGrad,
  sin,
  slice,
  sliceAxis,
  softmaxGrad,
  sub,
  sumTo,
  transpose,
  square,
} from "../graph/build.ts";
import { sizeOf, type NodeOf, type Value } from "../graph/graph.ts";
import type { OpName } from "../graph/ops.ts";

/** One entry per input; undefined where nothing is passed back (indices: a step has derivative zero). */
export type VjpRule<K extends OpName> = (ct: Value, node: NodeOf<K>) => readonly Pullback[];
type Pullback = (() => Value) | "nondifferentiable" | undefined;

/**
 * y = A B, where A is a or aᵀ and B is b or bᵀ: dA = dy Bᵀ and dB = Aᵀ dy; an input that was transposed gets the transpose of that.
 * Its shape is the input's but for leading axes that were broadcast, which are summed.
 */
function matmulVjp(ct: Value, { inputs: [a, b], attrs: { transA, transB } }: NodeOf<"MatMul">): readonly (() => Value)[] {
  const da = () =>
    transA
      ? matmul(b, ct, { transA: transB, transB: true }) // dAᵀ = B dyᵀ
      : matmul(ct, b, { transB: !transB }); // dA = dy Bᵀ
  const db = () => {
    const [left, dy] = isSharedByRows(a, b, transA) ? [rows(a), rows(ct)] : [a, ct];
    return transB
      ? matmul(dy, left, { transA: true, transB: transA }) // dBᵀ = dyᵀ A
      : matmul(left, dy, { transA: !transA }); // dB = Aᵀ dy
  };
  return [() => sumTo(da(), a.shape), () => sumTo(db(), b.shape)];
}

/** One matrix b for a whole batch: its gradient is one product over all rows, not a batch of products and their sum. */
function isSharedByRows(a: Value, b: Value, transA: boolean): boolean {
  return !transA && a.shape.length > 2 && b.shape.length === 2;
}

/** [.., K] -> [product of the rest, K] */
function rows(x: Value): Value {
  const width = x.shape.at(-1) ?? 1;
  return reshape(x, [sizeOf(x.shape) / width, width]);
}

function once<T extends object>(build: () => T): () => T {
  let built: T | undefined;
  return () => (built ??= build());
}

function expandReduced(ct: Value, { inputs: [x], attrs: { axes } }: NodeOf<"ReduceSum">): Value {
  const kept = x.shape.map((size, i) => (axes.includes(i) ? 1 : size));
  return expand(reshape(ct, kept), x.shape);
}

/** Sum over everything but the last axis. */
function sumToLast(x: Value): Value {
  return reduceSum(
    x,
    x.shape.slice(0, -1).map((_, i) => i),
  );
}

/** Sum over everything but axis 1 of [B, C, ..]. */
function sumToChannels(x: Value): Value {
  return reduceSum(
    x,
    x.shape.flatMap((_, i) => (i === 1 ? [] : [i])),
  );
}

function groupNormalized(x: Value, groups: number, eps: number): Value {
  const rowCount = (x.shape[0] ?? 1) * groups;
  return reshape(normalize(reshape(x, [rowCount, sizeOf(x.shape) / rowCount]), eps)[0], x.shape);
}

export const vjpRules: { readonly [K in OpName]: VjpRule<K> | "nondifferentiable" } = {
  Input: () => [],
  Constant: () => [],

  Add: (ct, { inputs: [a, b] }) => [() => sumTo(ct, a.shape), () => sumTo(ct, b.shape)],
  Sub: (ct, { inputs: [a, b] }) => [() => sumTo(ct, a.shape), () => neg(sumTo(ct, b.shape))],
  Mul: (ct, { inputs: [a, b] }) => {
    // Once for both places.
    if (a === b) return [() => mul(mul(ct, 2), a)];
    return [() => sumTo(mul(ct, b), a.shape), () => sumTo(mul(ct, a), b.shape)];
  },
  Div: (ct, { inputs: [a, b], outputs: [y] }) => [
    () => sumTo(div(ct, b), a.shape),
    () => neg(sumTo(mul(ct, div(y, b)), b.shape)),
  ],
  // Used to clip norms, which no gradient passes through; a tie would make them ambiguous.
  Min: "nondifferentiable",
  Max: "nondifferentiable",
  Neg: (ct) => [() => neg(ct)],
  Exp: (ct, { outputs: [y] }) => [() => mul(ct, y)],
  Log: (ct, { inputs: [x] }) => [() => div(ct, x)],
  Sqrt: (ct, { outputs: [y] }) => [() => div(mul(ct, 0.5), y)],
  Sin: (ct, { inputs: [x] }) => [() => mul(ct, cos(x))],
  Cos: (ct, { inputs: [x] }) => [() => neg(mul(ct, sin(x)))],
  Erf: (ct, { inputs: [x] }) => [() => mul(ct, mul(exp(neg(square(x))), 2 / Math.sqrt(Math.PI)))],
  Tanh: (ct, { outputs: [y] }) => [() => mul(ct, sub(1, square(y)))],
  Sigmoid: (ct, { outputs: [y] }) => [() => mul(ct, mul(y, sub(1, y)))],
  Cast: (ct, { inputs: [x] }) => [() => cast(ct, x.dtype)],

  Silu: (ct, { inputs: [x] }) => [() => siluGrad(x, ct)],
  SiluGrad: "nondifferentiable",
  Gelu: (ct, { inputs: [x] }) => [() => geluGrad(x, ct)],
  GeluGrad: "nondifferentiable",
  QuickGelu: (ct, { inputs: [x] }) => [() => quickGeluGrad(x, ct)],
  QuickGeluGrad: "nondifferentiable",

  ReduceSum: (ct, node) => [() => expandReduced(ct, node)],
  // Only the shift of a softmax, whose gradient is zero in total.
  ReduceMax: "nondifferentiable",

  MatMul: matmulVjp,
  Conv2d: (ct, { inputs: [x, w, bias], attrs }) => [
    () => conv2dGradInput(ct, w, x.shape, attrs),
    () => conv2dGradWeight(x, ct, [w.shape[2] ?? 1, w.shape[3] ?? 1], attrs),
    bias && (() => sumToChannels(ct)),
  ],
  Conv2dGradInput: "nondifferentiable",
  Conv2dGradWeight: "nondifferentiable",

  Reshape: (ct, { inputs: [x] }) => [() => reshape(ct, x.shape)],
  Transpose: (ct, { attrs: { perm } }) => [
    () =>
      transpose(
        ct,
        perm.map((_, i) => perm.indexOf(i)),
      ),
  ],
  Expand: (ct, { inputs: [x] }) => [() => sumTo(ct, x.shape)],
  Slice: (ct, { inputs: [x], attrs: { starts, ends } }) => [
    () =>
      pad(
        ct,
        starts,
        x.shape.map((size, i) => size - (ends[i] ?? size)),
      ),
  ],
  Pad: (ct, { inputs: [x], attrs: { before } }) => [
    () =>
      slice(
        ct,
        before,
        x.shape.map((size, i) => size + (before[i] ?? 0)),
      ),
  ],
  Concat: (ct, { inputs, attrs: { axis } }) => {
    let end = 0;
    return inputs.map((input) => {
      const start = end;
      end += input.shape[axis] ?? 0;
      const stop = end;
      return () => sliceAxis(ct, axis, start, stop);
    });
  },
  UpsampleNearest: (ct, { inputs: [x], attrs: { scale } }) => [
    () => {
      const [batch = 1, channels = 1, height = 1, width = 1] = x.shape;
      return reduceSum(reshape(ct, [batch, channels, height, scale, width, scale]), [3, 5]);
    },
  ],

  Gather: (ct, { inputs: [table, indices] }) => [() => scatterAdd(ct, indices, table.shape[0] ?? 1), undefined],
  ScatterAdd: (ct, { inputs: [, indices] }) => [() => gather(ct, indices), undefined],

  Softmax: (ct, { outputs: [y] }) => [() => softmaxGrad(y, ct)],
  SoftmaxGrad: "nondifferentiable",
  // invStd is only ever read by a gradient, so only `normalized` carries a cotangent.
  Normalize: (ct, { outputs: [normalized, invStd] }) => [() => normalizeGrad(ct, normalized, invStd)],
  NormalizeGrad: "nondifferentiable",
  LayerNorm: (ct, { inputs: [x, scale], attrs: { eps } }) => [
    () => layerNormGrad(ct, x, scale, eps),
    () => sumToLast(mul(ct, normalize(x, eps)[0])),
    () => sumToLast(ct),
  ],
  LayerNormGrad: "nondifferentiable",
  GroupNorm: (ct, { inputs: [x, scale], attrs: { groups, eps } }) => [
    () => groupNormGrad(ct, x, scale, groups, eps),
    () => sumToChannels(mul(ct, groupNormalized(x, groups, eps))),
    () => sumToChannels(ct),
  ],
  GroupNormGrad: "nondifferentiable",
  Attention: (ct, { inputs: [q, k, v, mask], attrs: { scale } }) => {
    const all = once(() => attentionGrad(ct, q, k, v, scale, mask));
    return [() => all()[0], () => all()[1], () => all()[2], "nondifferentiable"];
  },
  AttentionGrad: "nondifferentiable",

  // Only what is frozen is quantised.
  Dequantise: "nondifferentiable",
  // Gradients are averaged, not differentiated again.
  AllReduceMean: "nondifferentiable",
  AdamW: "nondifferentiable",
};
