/** Lowers a graph to an ONNX model: one rule per operator, and the order of the nodes kept. */
import { decompose, decomposeRules, type Composite } from "../../graph/decompose.ts";
import { removeDeadCode } from "../../graph/dead-code.ts";
import { sizeOf, type Graph, type NodeOf, type Value } from "../../graph/graph.ts";
import type { OpName } from "../../graph/ops.ts";
import { lowerConvGradInput, lowerConvGradWeight } from "./lower-conv.ts";
import { ModelBuilder, type OnnxName } from "./emit.ts";
import { type AdamWStep, takeOutAdamW } from "../take-out-adamw.ts";

/** Returns the names of the node's outputs. `inputs` are the names of its inputs, in its order. */
export type LowerRule<K extends OpName> = (
  model: ModelBuilder,
  inputs: readonly OnnxName[],
  node: NodeOf<K>,
) => OnnxName | readonly OnnxName[];

/** Input `i` of a node; the operator's grammar says that it is there. */
function nth(inputs: readonly OnnxName[], i: number): OnnxName {
  const name = inputs[i];
  if (name === undefined) throw new Error(`internal: ort: input ${i} of ${inputs.length} asked for`);
  return name;
}

const direct =
  (op: string) =>
  (model: ModelBuilder, inputs: readonly OnnxName[]): OnnxName =>
    model.node(op, inputs);

const reduction =
  (op: string) =>
  (model: ModelBuilder, inputs: readonly OnnxName[], { attrs }: NodeOf<"ReduceSum" | "ReduceMax">): OnnxName =>
    model.node(op, [nth(inputs, 0), model.int64s(attrs.axes)], { keepdims: attrs.keepDims ? 1 : 0 });

function computedDtype({ dtype, node }: Value): "float32" | "int32" {
  if (dtype === "float32" || dtype === "int32") return dtype;
  throw new Error(`ort: the CPU engine computes in float32 and int32, and ${node.op} gives ${dtype}\n  at ${node.scope}`);
}

/** ScatterElements, not ScatterND: it adds in one thread, in the order of the indices, so the same bytes come out every time. */
function scatterAdd(model: ModelBuilder, inputs: readonly OnnxName[], node: NodeOf<"ScatterAdd">): OnnxName {
  const [updates, indices] = node.inputs;
  const rank = indices.shape.length;
  const count = sizeOf(indices.shape);
  const width = sizeOf(updates.shape.slice(rank));
  const flat = model.node("Reshape", [nth(inputs, 0), model.shape([count, width])]);
  const column = model.node("Reshape", [nth(inputs, 1), model.shape([count, 1])]);
  const rows = model.node("Expand", [column, model.shape([count, width])]);
  const zeros = model.node("Expand", [model.constant([0], []), model.shape([node.attrs.rows, width])]);
  const sum = model.node("ScatterElements", [zeros, rows, flat], { axis: 0, reduction: "add" });
  return model.node("Reshape", [sum, model.shape(node.outputs[0].shape)]);
}

const lowerRules: { readonly [K in OpName]: LowerRule<K> | "decomposed" } = {
  // The names under which `lowerGraph` declares them.
  Input: (_, __, { attrs }) => inputName(attrs.kind, attrs.name),
  Constant: (model, _, { attrs, outputs }) => model.constant(attrs.data, attrs.shape, computedDtype(outputs[0])),

  Add: direct("Add"),
  Sub: direct("Sub"),
  Mul: direct("Mul"),
  Div: direct("Div"),
  Min: direct("Min"),
  Max: direct("Max"),
  Neg: direct("Neg"),
  Exp: direct("Exp"),
  Log: direct("Log"),
  Sqrt: direct("Sqrt"),
  Sin: direct("Sin"),
  Cos: direct("Cos"),
  Erf: direct("Erf"),
  Tanh: direct("Tanh"),
  Sigmoid: direct("Sigmoid"),
  Cast: (model, inputs, { outputs }) => model.node("Cast", inputs, { to: computedDtype(outputs[0]) === "int32" ? 6 : 1 }),

  Silu: (model, inputs) => model.node("com.microsoft:QuickGelu", inputs, { alpha: { float: 1 } }),
  SiluGrad: "decomposed",
  Gelu: direct("Gelu"),
  GeluGrad: "decomposed",
  QuickGelu: (model, inputs) => model.node("com.microsoft:QuickGelu", inputs, { alpha: { float: 1.702 } }),
  QuickGeluGrad: "decomposed",

  ReduceSum: reduction("ReduceSum"),
  ReduceMax: reduction("ReduceMax"),

  MatMul: (model, inputs, { attrs: { transA, transB } }) =>
    transA || transB
      ? model.node("com.microsoft:FusedMatMul", inputs, { transA: Number(transA), transB: Number(transB) })
      : model.node("MatMul", inputs),
  Conv2d: (model, inputs, { attrs: { stride, padding } }) =>
    model.node("Conv", inputs, { strides: [stride, stride], pads: padding }),
  Conv2dGradInput: lowerConvGradInput,
  Conv2dGradWeight: lowerConvGradWeight,

  Reshape: (model, inputs, { attrs }) => model.node("Reshape", [nth(inputs, 0), model.shape(attrs.shape)]),
  Transpose: (model, inputs, { attrs }) => model.node("Transpose", inputs, { perm: attrs.perm }),
  Expand: (model, inputs, { attrs }) => model.node("Expand", [nth(inputs, 0), model.shape(attrs.shape)]),
  Slice: (model, inputs, { attrs: { starts, ends }, inputs: [x] }) => {
    const axes = x.shape.flatMap((size, i) => (starts[i] === 0 && ends[i] === size ? [] : [i]));
    const of = (list: readonly number[]): OnnxName => model.places(axes.map((axis) => list[axis] ?? 0));
    return axes.length === 0
      ? model.node("Identity", inputs)
      : model.node("Slice", [nth(inputs, 0), of(starts), of(ends), model.int64s(axes)]);
  },
  Pad: (model, inputs, { attrs: { before, after } }) =>
    model.node("Pad", [nth(inputs, 0), model.int64s([...before, ...after])]),
  Concat: (model, inputs, { attrs }) => model.node("Concat", inputs, { axis: attrs.axis }),
  UpsampleNearest: (model, inputs, { attrs: { scale }, inputs: [x] }) => {
    const [batch = 1, channels = 1, height = 1, width = 1] = x.shape;
    const spread = model.node("Reshape", [nth(inputs, 0), model.shape([batch, channels, height, 1, width, 1])]);
    const grown = model.node("Expand", [spread, model.shape([batch, channels, height, scale, width, scale])]);
    return model.node("Reshape", [grown, model.shape([batch, channels, height * scale, width * scale])]);
  },

  Gather: (model, inputs) => model.node("Gather", inputs, { axis: 0 }),
  ScatterAdd: scatterAdd,

  Softmax: (model, inputs) => model.node("Softmax", inputs, { axis: -1 }),
  SoftmaxGrad: "decomposed",
  Normalize: (model, inputs, { attrs: { eps }, inputs: [x] }) => {
    const width = x.shape.at(-1) ?? 1;
    const outputs = [model.newName(), "", model.newName()];
    const ones = model.constant(new Float32Array(width).fill(1), [width]);
    model.nodeWithOutputs("LayerNormalization", [nth(inputs, 0), ones], { axis: -1, epsilon: { float: eps } }, outputs);
    return [nth(outputs, 0), nth(outputs, 2)];
  },
  NormalizeGrad: "decomposed",
  LayerNorm: (model, inputs, { attrs: { eps } }) =>
    model.node("LayerNormalization", inputs, { axis: -1, epsilon: { float: eps } }),
  LayerNormGrad: "decomposed",
  GroupNorm: "decomposed",
  GroupNormGrad: "decomposed",
  Attention: "decomposed",
  AttentionGrad: "decomposed",

  // Its input has a type that the engine refuses.
  Dequantise: "decomposed",
  // There is one worker.
  AllReduceMean: (model, inputs) => inputs.map((input) => model.node("Identity", [input])),
  // Where `takeOutAdamW` leaves it.
  AdamW: "decomposed",
};

/** The composites that have a kernel of their own. */
const withKernel: ReadonlySet<Composite> = new Set(
  (Object.keys(decomposeRules) as Composite[]).filter((op) => lowerRules[op] !== "decomposed"),
);

/** The composites that this engine runs whole; the others are taken apart, by `optimise` or when a graph is compiled. */
export const kept: ReadonlySet<Composite> = new Set([...withKernel, "AdamW"]);

function inputName(kind: "feed" | "buffer", name: string): OnnxName {
  return `${kind}:${name}`;
}

/** A graph as ONNX Runtime takes it. Inputs are called "feed:name" and "buffer:name", outputs "fetch:name" and "update:name". */
export interface LoweredModel {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The graph's feeds that are read. */
  readonly feeds: readonly string[];
  readonly buffers: readonly string[];
  readonly fetches: readonly string[];
  readonly updates: readonly string[];
  /** Done after the run, in place. */
  readonly optimizerSteps: readonly AdamWStep[];
}

/** The graph that this engine runs, node for node and in its order. What was prepared already stays as it is. */
function prepareGraph(graph: Graph): Graph {
  return removeDeadCode(decompose(graph, kept));
}

/**
 * Composites without a kernel are taken apart and dead code goes; nothing is merged and the order is kept, so what was recomputed on
 * purpose stays so. A caller that wants a better graph runs `optimise` before.
 *
 * @throws Error where a value has a dtype that the engine does not compute in, with the place in the model
 */
export function lowerGraph(graph: Graph): LoweredModel {
  const { model, ...names } = buildModel(graph);
  return { bytes: model.toBytes(), ...names };
}

/** A model that is not yet written out. */
export interface BuiltModel extends Omit<LoweredModel, "bytes"> {
  readonly model: ModelBuilder;
}

/** @param options.isSized see `ModelBuilder` */
export function buildModel(graph: Graph, options: { readonly isSized?: boolean } = {}): BuiltModel {
  const { graph: withoutSteps, steps } = takeOutAdamW(prepareGraph(graph));
  const prepared = removeDeadCode(decompose(withoutSteps, withKernel));
  const model = new ModelBuilder(options);
  const names = new Map<Value, OnnxName>();
  const outputs = nameOutputs(prepared);
  const inputs = prepared.nodes.filter((node) => node.op === "Input");
  for (const {
    attrs,
    outputs: [value],
  } of inputs)
    model.input(inputName(attrs.kind, attrs.name), value);
  for (const node of prepared.nodes) lowerNode(model, node, names);
  for (const [name, value] of outputs) {
    model.output(name, value, nameOf(names, value));
  }
  const namesOf = (kind: "feed" | "buffer"): string[] =>
    inputs.flatMap(({ attrs }) => (attrs.kind === kind ? [attrs.name] : []));
  return {
    model,
    feeds: namesOf("feed"),
    buffers: namesOf("buffer"),
    fetches: [...prepared.fetches.keys()],
    updates: [...prepared.updates.keys()],
    optimizerSteps: steps,
  };
}

function nameOutputs(graph: Graph): readonly (readonly [OnnxName, Value])[] {
  return [
    ...[...graph.fetches].map(([name, value]) => [`fetch:${name}`, value] as const),
    ...[...graph.updates].map(([name, value]) => [`update:${name}`, value] as const),
  ];
}

function nameOf(names: ReadonlyMap<Value, OnnxName>, value: Value): OnnxName {
  const name = names.get(value);
  if (name === undefined) throw new Error(`internal: ort: %${value.id} (${value.node.op}) is used before it is made`);
  return name;
}

function lowerNode(model: ModelBuilder, node: NodeOf<OpName>, names: Map<Value, OnnxName>): void {
  const rule = lowerRules[node.op] as LowerRule<OpName> | "decomposed";
  if (rule === "decomposed") throw new Error(`internal: ort: ${node.op} was not taken apart`);
  for (const output of node.outputs as readonly Value[]) computedDtype(output);
  const inputs = (node.inputs as readonly (Value | undefined)[]).flatMap((input) => (input ? [nameOf(names, input)] : []));
  const lowered = rule(model, inputs, node);
  const outputs = typeof lowered === "string" ? [lowered] : lowered;
  (node.outputs as readonly Value[]).forEach((value, i) => names.set(value, nth(outputs, i)));
}
