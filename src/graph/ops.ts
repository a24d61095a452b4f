/**
 * The operators: for each its inputs, attributes and outputs. This table is the grammar of the waist; every rule table
 * (infer, cost, vjp, decompose, one lowering per engine) is complete by type over its keys, so a new operator makes the
 * compiler list what is missing. Names and meanings are ONNX's where the operator is ONNX's.
 */
import type { DType, FloatDType, Shape, Value } from "./graph.ts";

type NoAttrs = Record<never, never>;
interface Unary {
  inputs: readonly [x: Value];
  attrs: NoAttrs;
  outputs: readonly [y: Value];
}
/** Elementwise on two values, broadcast as in NumPy. */
interface Binary {
  inputs: readonly [a: Value, b: Value];
  attrs: NoAttrs;
  outputs: readonly [y: Value];
}
/** An activation's gradient: from the primal input and the cotangent of the output. */
interface UnaryGrad {
  inputs: readonly [x: Value, ct: Value];
  attrs: NoAttrs;
  outputs: readonly [dx: Value];
}
interface Reduction {
  inputs: readonly [x: Value];
  attrs: { readonly axes: readonly number[]; readonly keepDims: boolean };
  outputs: readonly [y: Value];
}
/** Zero padding of a convolution, in pixels: [top, left, bottom, right]. */
export type Padding = readonly [number, number, number, number];
interface ConvAttrs {
  readonly stride: number;
  readonly padding: Padding;
}

export interface Ops {
  // Leaves.
  /** A value from outside: a feed changes every call, a buffer lives on the engine. */
  Input: {
    inputs: readonly [];
    attrs: { readonly kind: "feed" | "buffer"; readonly name: string; readonly shape: Shape; readonly dtype: DType };
    outputs: readonly [Value];
  };
  /** Numbers known when the graph is built, in row-major order. */
  Constant: {
    inputs: readonly [];
    attrs: { readonly data: readonly number[]; readonly shape: Shape; readonly dtype: DType };
    outputs: readonly [Value];
  };

  // Elementwise.
  Add: Binary;
  Sub: Binary;
  Mul: Binary;
  Div: Binary;
  Min: Binary;
  Max: Binary;
  Neg: Unary;
  Exp: Unary;
  Log: Unary;
  Sqrt: Unary;
  Sin: Unary;
  Cos: Unary;
  Erf: Unary;
  Tanh: Unary;
  Sigmoid: Unary;
  Cast: { inputs: readonly [x: Value]; attrs: { readonly dtype: DType }; outputs: readonly [y: Value] };

  // Activations, each with its gradient.
  Silu: Unary;
  SiluGrad: UnaryGrad;
  /** x Φ(x), the exact (erf) form. */
  Gelu: Unary;
  GeluGrad: UnaryGrad;
  /** x σ(1.702 x), as in CLIP. */
  QuickGelu: Unary;
  QuickGeluGrad: UnaryGrad;

  // Reductions.
  ReduceSum: Reduction;
  ReduceMax: Reduction;

  // Linear algebra.
  /** [.., M, K] x [.., K, N]; leading axes broadcast. `transA` and `transB` swap the last two axes of that input first. */
  MatMul: {
    inputs: readonly [a: Value, b: Value];
    attrs: { readonly transA: boolean; readonly transB: boolean };
    outputs: readonly [y: Value];
  };
  /** x [B, C, H, W], w [O, C, kh, kw], bias [O] -> [B, O, H', W']. */
  Conv2d: { inputs: readonly [x: Value, w: Value, bias?: Value]; attrs: ConvAttrs; outputs: readonly [y: Value] };
  /** The gradient of Conv2d for x. */
  Conv2dGradInput: {
    inputs: readonly [ct: Value, w: Value];
    attrs: ConvAttrs & { readonly inputShape: Shape };
    outputs: readonly [dx: Value];
  };
  /** The gradient of Conv2d for w. */
  Conv2dGradWeight: {
    inputs: readonly [x: Value, ct: Value];
    attrs: ConvAttrs & { readonly kernel: readonly [number, number] };
    outputs: readonly [dw: Value];
  };

  // Shape.
  Reshape: { inputs: readonly [x: Value]; attrs: { readonly shape: Shape }; outputs: readonly [y: Value] };
  Transpose: { inputs: readonly [x: Value]; attrs: { readonly perm: readonly number[] }; outputs: readonly [y: Value] };
  /** Broadcasts to a shape, as in NumPy. */
  Expand: { inputs: readonly [x: Value]; attrs: { readonly shape: Shape }; outputs: readonly [y: Value] };
  /** Elements `starts[i] <= index < ends[i]` of every axis i. */
  Slice: {
    inputs: readonly [x: Value];
    attrs: { readonly starts: readonly number[]; readonly ends: readonly number[] };
    outputs: readonly [y: Value];
  };
  /** Zeros around x: `before[i]` and `after[i]` along every axis i. */
  Pad: {
    inputs: readonly [x: Value];
    attrs: { readonly before: readonly number[]; readonly after: readonly number[] };
    outputs: readonly [y: Value];
  };
  Concat: { inputs: readonly Value[]; attrs: { readonly axis: number }; outputs: readonly [y: Value] };
  /** Every pixel of [B, C, H, W] becomes scale x scale pixels. */
  UpsampleNearest: { inputs: readonly [x: Value]; attrs: { readonly scale: number }; outputs: readonly [y: Value] };

  // Weights.
  /** The numbers that a quantised buffer stands for. */
  Dequantise: { inputs: readonly [x: Value]; attrs: { readonly dtype: FloatDType }; outputs: readonly [y: Value] };

  // Look-up.
  /** Rows of table [R, ..] by int32 indices [..] -> [...indices.shape, ...table.shape[1:]]. */
  Gather: { inputs: readonly [table: Value, indices: Value]; attrs: NoAttrs; outputs: readonly [y: Value] };
  /** The gradient of Gather: [rows, ..] of zeros with every update added at its row. */
  ScatterAdd: {
    inputs: readonly [updates: Value, indices: Value];
    attrs: { readonly rows: number };
    outputs: readonly [y: Value];
  };

  // Composites that engines run whole, each with its gradient.
  /** Over the last axis. */
  Softmax: Unary;
  SoftmaxGrad: { inputs: readonly [y: Value, ct: Value]; attrs: NoAttrs; outputs: readonly [dx: Value] };
  /** (x - mean) / sqrt(variance + eps) over the last axis, and 1 / sqrt(variance + eps) with that axis kept as 1. */
  Normalize: {
    inputs: readonly [x: Value];
    attrs: { readonly eps: number };
    outputs: readonly [normalized: Value, invStd: Value];
  };
  NormalizeGrad: {
    inputs: readonly [ct: Value, normalized: Value, invStd: Value];
    attrs: NoAttrs;
    outputs: readonly [dx: Value];
  };
  /** Ba et al. (2016) over the last axis: x [.., D], scale [D], bias [D]. */
  LayerNorm: {
    inputs: readonly [x: Value, scale: Value, bias: Value];
    attrs: { readonly eps: number };
    outputs: readonly [y: Value];
  };
  LayerNormGrad: {
    inputs: readonly [ct: Value, x: Value, scale: Value];
    attrs: { readonly eps: number };
    outputs: readonly [dx: Value];
  };
  /** Wu and He (2018): x [B, C, ..] normalised over each of `groups` groups of channels, scale [C], bias [C]. */
  GroupNorm: {
    inputs: readonly [x: Value, scale: Value, bias: Value];
    attrs: { readonly groups: number; readonly eps: number };
    outputs: readonly [y: Value];
  };
  GroupNormGrad: {
    inputs: readonly [ct: Value, x: Value, scale: Value];
    attrs: { readonly groups: number; readonly eps: number };
    outputs: readonly [dx: Value];
  };
  /** softmax(scale q kᵀ + mask) v: q [B, H, L, D], k and v [B, H, S, D], mask broadcast to [B, H, L, S] (added). */
  Attention: {
    inputs: readonly [q: Value, k: Value, v: Value, mask?: Value];
    attrs: { readonly scale: number };
    outputs: readonly [y: Value];
  };
  AttentionGrad: {
    inputs: readonly [ct: Value, q: Value, k: Value, v: Value, mask?: Value];
    attrs: { readonly scale: number };
    outputs: readonly [dq: Value, dk: Value, dv: Value];
  };

  // Several workers.
  /**
   * Each input's mean over all workers that run the graph at the same time on other feeds (data parallel training); itself where there is
   * one worker. All inputs go in one exchange.
   */
  AllReduceMean: { inputs: readonly [Value, ...Value[]]; attrs: NoAttrs; outputs: readonly [Value, ...Value[]] };

  // Optimizer.
  /**
   * One step of AdamW (Loshchilov and Hutter 2019, algorithm 2, as PyTorch has it). `learningRate`, `correction1` = 1 - beta1^t and
   * `correction2` = 1 - beta2^t are scalars, fed because they change every step.
   */
  AdamW: {
    inputs: readonly [
      weight: Value,
      m: Value,
      v: Value,
      grad: Value,
      learningRate: Value,
      correction1: Value,
      correction2: Value,
    ];
    attrs: { readonly beta1: number; readonly beta2: number; readonly eps: number; readonly weightDecay: number };
    outputs: readonly [weight: Value, m: Value, v: Value];
  };
}

export type OpName = keyof Ops;
