/** Example inputs of every operator: complete by type, so that an operator without an example does not compile. */
import { type DType, Graph, type Shape, sizeOf, type Value } from "../src/graph/graph.ts";
import type { OpName, Ops } from "../src/graph/ops.ts";

export interface ExampleInput {
  readonly shape: Shape;
  readonly dtype: DType;
  /** Numbers that float32 holds exactly, so that every engine sees the same. */
  readonly data: Float64Array;
  /** Whether the gradient for it is checked. */
  readonly isDifferentiated: boolean;
}

/** `Attrs` are the operator's. */
export interface Example<Attrs = unknown> {
  readonly title: string;
  readonly inputs: readonly ExampleInput[];
  readonly attrs: Attrs;
}

/** The example as a graph: its inputs as feeds "in0", "in1", .., its outputs as fetches "out0", .. */
export function buildExample(op: OpName, { inputs, attrs }: Example): { graph: Graph; outputs: readonly Value[] } {
  const graph = new Graph();
  const feeds = inputs.map(({ shape, dtype }, i) => graph.feed(`in${i}`, shape, dtype));
  const outputs = op === "Input" ? feeds : graph.emit(op, feeds, attrs as Ops[OpName]["attrs"]);
  outputs.forEach((output, i) => graph.fetches.set(`out${i}`, output));
  return { graph, outputs };
}

/** The example's numbers by feed name. */
export function exampleFeeds({ inputs }: Example): Record<string, Float64Array> {
  return Object.fromEntries(inputs.map(({ data }, i) => [`in${i}`, data]));
}

/** Repeatable numbers in 0..1 (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const random = createRandom(20261123);

function generate(shape: Shape, draw: () => number): Float64Array {
  return Float64Array.from({ length: sizeOf(shape) }, () => Math.fround(draw()));
}

/** Numbers in -2..2. */
function real(...shape: number[]): ExampleInput {
  return { shape, dtype: "float32", data: generate(shape, () => 4 * random() - 2), isDifferentiated: true };
}

/** Numbers in 0.5..2. */
function positive(...shape: number[]): ExampleInput {
  return { shape, dtype: "float32", data: generate(shape, () => 0.5 + 1.5 * random()), isDifferentiated: true };
}

/** Numbers in -2..2 whose gradient no rule gives. */
function fixed(...shape: number[]): ExampleInput {
  return { ...real(...shape), isDifferentiated: false };
}

function indices(below: number, ...shape: number[]): ExampleInput {
  return { shape, dtype: "int32", data: generate(shape, () => Math.floor(below * random())), isDifferentiated: false };
}

function example<Attrs>(title: string, inputs: readonly ExampleInput[], attrs: Attrs): Example<Attrs> {
  return { title, inputs, attrs };
}

type Examples<K extends OpName> = readonly Example<Ops[K]["attrs"]>[];

function unary(make: (...shape: number[]) => ExampleInput = real): Examples<"Add"> {
  return [example("a matrix", [make(3, 5)], {}), example("a scalar", [make()], {}), example("rank 4", [make(2, 3, 1, 7)], {})];
}

function unaryGrad(): Examples<"Add"> {
  return [example("rank 3", [real(2, 3, 5), real(2, 3, 5)], {})];
}

function binary(make: (...shape: number[]) => ExampleInput = real): Examples<"Add"> {
  return [
    example("equal shapes", [make(3, 5), make(3, 5)], {}),
    example("a row over a matrix", [make(3, 5), make(5)], {}),
    example("a column over rank 3", [make(3, 1), make(2, 3, 4)], {}),
    example("both broadcast", [make(2, 1, 4), make(3, 1)], {}),
    example("a scalar", [make(), make(2, 3)], {}),
  ];
}

function reductions(): Examples<"ReduceSum"> {
  return [
    example("the last axis", [real(3, 4, 5)], { axes: [2], keepDims: false }),
    example("a middle axis, kept", [real(3, 4, 5)], { axes: [1], keepDims: true }),
    example("two axes, not neighbours", [real(2, 3, 4, 5)], { axes: [0, 2], keepDims: false }),
    example("the last two of four, kept", [real(2, 3, 4, 5)], { axes: [2, 3], keepDims: true }),
    example("all axes", [real(3, 4)], { axes: [0, 1], keepDims: false }),
  ];
}

function matmuls(): Examples<"MatMul"> {
  const transposes = [false, true].flatMap((transA) => [false, true].map((transB) => ({ transA, transB })));
  return transposes.flatMap((attrs) => {
    const { transA, transB } = attrs;
    const a = (...lead: number[]): ExampleInput => real(...lead, ...(transA ? [5, 3] : [3, 5]));
    const b = (...lead: number[]): ExampleInput => real(...lead, ...(transB ? [4, 5] : [5, 4]));
    const name = `${transA ? "aᵀ" : "a"} ${transB ? "bᵀ" : "b"}`;
    return [
      example(`${name}, matrices`, [a(), b()], attrs),
      example(`${name}, a batch times one matrix`, [a(2), b()], attrs),
      example(`${name}, rank 4 times one matrix`, [a(2, 3), b()], attrs),
      example(`${name}, one matrix times a batch`, [a(), b(2)], attrs),
      example(`${name}, batch and heads`, [a(2, 3), b(2, 3)], attrs),
      example(`${name}, batches that broadcast`, [a(2, 1), b(3)], attrs),
    ];
  });
}

interface ConvExample {
  readonly title: string;
  readonly x: readonly [number, number, number, number];
  readonly w: readonly [number, number, number, number];
  readonly y: readonly [number, number];
  readonly attrs: Ops["Conv2d"]["attrs"];
}

const convs: readonly ConvExample[] = [
  { title: "kernel 1", x: [2, 3, 5, 4], w: [4, 3, 1, 1], y: [5, 4], attrs: { stride: 1, padding: [0, 0, 0, 0] } },
  {
    title: "kernel 3, padding 1, odd size",
    x: [2, 3, 5, 7],
    w: [4, 3, 3, 3],
    y: [5, 7],
    attrs: { stride: 1, padding: [1, 1, 1, 1] },
  },
  { title: "kernel 3, no padding", x: [1, 2, 5, 6], w: [3, 2, 3, 3], y: [3, 4], attrs: { stride: 1, padding: [0, 0, 0, 0] } },
  {
    title: "stride 2, padding 1, even size",
    x: [2, 3, 6, 8],
    w: [2, 3, 3, 3],
    y: [3, 4],
    attrs: { stride: 2, padding: [1, 1, 1, 1] },
  },
  {
    title: "stride 2, padding 1, odd size",
    x: [1, 3, 7, 5],
    w: [2, 3, 3, 3],
    y: [4, 3],
    attrs: { stride: 2, padding: [1, 1, 1, 1] },
  },
  // As the VAE's encoder pads: right and bottom only.
  {
    title: "stride 2, asymmetric padding",
    x: [2, 3, 6, 8],
    w: [2, 3, 3, 3],
    y: [3, 4],
    attrs: { stride: 2, padding: [0, 0, 1, 1] },
  },
  {
    title: "stride 2, asymmetric padding, odd size",
    x: [1, 2, 5, 7],
    w: [3, 2, 3, 3],
    y: [2, 3],
    attrs: { stride: 2, padding: [0, 0, 1, 1] },
  },
  { title: "kernel 1, stride 2", x: [1, 3, 5, 6], w: [2, 3, 1, 1], y: [3, 3], attrs: { stride: 2, padding: [0, 0, 0, 0] } },
  {
    title: "a kernel as large as its stride",
    x: [1, 3, 8, 8],
    w: [5, 3, 4, 4],
    y: [2, 2],
    attrs: { stride: 4, padding: [0, 0, 0, 0] },
  },
];

function convExamples<K extends "Conv2d" | "Conv2dGradInput" | "Conv2dGradWeight">(
  make: (conv: ConvExample, ct: ExampleInput) => Omit<Example<Ops[K]["attrs"]>, "title">,
): Examples<K> {
  return convs.map((conv) => ({ title: conv.title, ...make(conv, real(conv.x[0], conv.w[0], ...conv.y)) }));
}

function scales(): Examples<"Add"> {
  return [example("rank 3", [real(2, 3, 5), real(2, 3, 5)], {}), example("one wide row", [real(1, 70), real(1, 70)], {})];
}

const shapesOfAttention = [
  { title: "self-attention, two heads", q: [2, 2, 5, 4], k: [2, 2, 5, 4], mask: undefined },
  { title: "cross-attention, fewer keys", q: [2, 3, 6, 4], k: [2, 3, 3, 4], mask: undefined },
  { title: "a causal-like mask shared by batch and heads", q: [2, 2, 4, 3], k: [2, 2, 4, 3], mask: [1, 1, 4, 4] },
  { title: "a mask of the keys of each sample", q: [2, 2, 4, 3], k: [2, 2, 5, 3], mask: [2, 1, 1, 5] },
] as const;

function attentions(withCt: boolean): Examples<"Attention"> {
  return shapesOfAttention.map(({ title, q, k, mask }) => {
    const inputs = [real(...q), real(...k), real(...k), ...(mask ? [fixed(...mask)] : [])];
    return { title, inputs: withCt ? [real(...q), ...inputs] : inputs, attrs: { scale: 0.5 } };
  });
}

export const operatorExamples: { readonly [K in OpName]: Examples<K> } = {
  Input: [example("a feed", [real(2, 3)], { kind: "feed", name: "in0", shape: [2, 3], dtype: "float32" })],
  Constant: [
    example("a matrix", [], { data: [1, -2, 0.5, 4, 0, 6], shape: [2, 3], dtype: "float32" }),
    example("a scalar", [], { data: [2.5], shape: [], dtype: "float32" }),
  ],

  Add: binary(),
  Sub: binary(),
  Mul: binary(),
  Div: binary(positive),
  Min: binary(),
  Max: binary(),
  Neg: unary(),
  Exp: unary(),
  Log: unary(positive),
  Sqrt: unary(positive),
  Sin: unary(),
  Cos: unary(),
  Erf: unary(),
  Tanh: unary(),
  Sigmoid: unary(),
  Cast: [
    example("integers to floats", [indices(9, 2, 3)], { dtype: "float32" }),
    example("floats to integers", [fixed(2, 3)], { dtype: "int32" }),
  ],

  Silu: unary(),
  SiluGrad: unaryGrad(),
  Gelu: unary(),
  GeluGrad: unaryGrad(),
  QuickGelu: unary(),
  QuickGeluGrad: unaryGrad(),

  ReduceSum: reductions(),
  ReduceMax: reductions(),

  MatMul: matmuls(),
  Conv2d: [
    ...convExamples<"Conv2d">(({ x, w, attrs }) => ({ inputs: [real(...x), real(...w), real(w[0])], attrs })),
    example("no bias", [real(1, 2, 4, 4), real(3, 2, 3, 3)], { stride: 1, padding: [1, 1, 1, 1] }),
  ],
  Conv2dGradInput: convExamples<"Conv2dGradInput">(({ x, w, attrs }, ct) => ({
    inputs: [ct, real(...w)],
    attrs: { ...attrs, inputShape: x },
  })),
  Conv2dGradWeight: convExamples<"Conv2dGradWeight">(({ x, w, attrs }, ct) => ({
    inputs: [real(...x), ct],
    attrs: { ...attrs, kernel: [w[2], w[3]] },
  })),

  Reshape: [
    example("rank 2 to rank 3", [real(4, 6)], { shape: [2, 2, 6] }),
    example("one element to a scalar", [real(1, 1)], { shape: [] }),
  ],
  Transpose: [
    example("a matrix", [real(3, 5)], { perm: [1, 0] }),
    example("heads", [real(2, 3, 4, 5)], { perm: [0, 2, 1, 3] }),
    example("a cycle, not its own inverse", [real(2, 3, 4)], { perm: [2, 0, 1] }),
  ],
  Expand: [
    example("a row", [real(1, 4)], { shape: [3, 4] }),
    example("new leading axes", [real(4)], { shape: [2, 3, 4] }),
    example("a scalar", [real()], { shape: [2, 3] }),
    example("a middle axis", [real(2, 1, 3)], { shape: [2, 4, 3] }),
  ],
  Slice: [
    example("the last axis", [real(3, 6)], { starts: [0, 2], ends: [3, 5] }),
    example("several axes", [real(4, 5, 3)], { starts: [1, 0, 2], ends: [3, 4, 3] }),
  ],
  Pad: [
    example("after the last axis", [real(3, 4)], { before: [0, 0], after: [0, 2] }),
    example("both sides, two axes", [real(2, 3, 4)], { before: [0, 1, 2], after: [0, 2, 1] }),
  ],
  Concat: [
    example("two along the channels", [real(2, 3, 4), real(2, 2, 4)], { axis: 1 }),
    example("three along the last axis", [real(2, 3), real(2, 1), real(2, 2)], { axis: 1 }),
    example("one", [real(2, 3)], { axis: 0 }),
  ],
  UpsampleNearest: [
    example("twice", [real(2, 3, 3, 5)], { scale: 2 }),
    example("three times", [real(1, 1, 2, 2)], { scale: 3 }),
  ],

  Gather: [
    example("rows of a matrix", [real(7, 3), indices(7, 2, 4)], {}),
    example("rows that are matrices", [real(4, 2, 3), indices(4, 3)], {}),
    example("one row of scalars", [real(6), indices(6, 2)], {}),
  ],
  ScatterAdd: [
    example("rows hit more than once", [real(2, 4, 3), indices(3, 2, 4)], { rows: 3 }),
    example("rows that are never hit", [real(2, 3), indices(2, 2)], { rows: 9 }),
  ],

  Softmax: [example("rank 3", [real(2, 3, 5)], {}), example("one row", [real(1, 70)], {}), example("rank 1", [real(4)], {})],
  SoftmaxGrad: scales(),
  Normalize: [
    example("rank 3", [real(2, 3, 8)], { eps: 1e-5 }),
    example("an odd width and a large eps", [real(3, 7)], { eps: 0.1 }),
  ],
  NormalizeGrad: [example("rank 3", [real(2, 3, 8), real(2, 3, 8), positive(2, 3, 1)], {})],
  LayerNorm: [
    example("rank 3", [real(2, 3, 8), real(8), real(8)], { eps: 1e-5 }),
    example("an odd width", [real(3, 7), real(7), real(7)], { eps: 1e-6 }),
  ],
  LayerNormGrad: [example("rank 3", [real(2, 3, 8), real(2, 3, 8), real(8)], { eps: 1e-5 })],
  GroupNorm: [
    example("two groups", [real(2, 4, 3, 5), real(4), real(4)], { groups: 2, eps: 1e-5 }),
    example("one group", [real(1, 3, 2, 2), real(3), real(3)], { groups: 1, eps: 1e-6 }),
    example("a group a channel, rank 3", [real(2, 3, 5), real(3), real(3)], { groups: 3, eps: 1e-5 }),
  ],
  GroupNormGrad: [
    example("two groups", [real(2, 4, 3, 5), real(2, 4, 3, 5), real(4)], { groups: 2, eps: 1e-5 }),
    example("a group a channel", [real(2, 3, 5, 1), real(2, 3, 5, 1), real(3)], { groups: 3, eps: 1e-5 }),
  ],
  Attention: attentions(false),
  AttentionGrad: attentions(true),

  // Its input is no array of numbers: test/torch/quantised.test.ts has its own.
  Dequantise: [],
  AllReduceMean: [example("of one worker is what it was: two tensors and a scalar", [real(3, 4), real(5), real()], {})],
  AdamW: [
    example(
      "a matrix",
      [real(3, 4), real(3, 4), positive(3, 4), real(3, 4), positive(), positive(), positive()],
      { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 }, // prettier-ignore
    ),
    example(
      "no weight decay",
      [real(5), real(5), positive(5), real(5), positive(), positive(), positive()],
      { beta1: 0.9, beta2: 0.95, eps: 1e-6, weightDecay: 0 }, // prettier-ignore
    ),
  ],
};
