/**
 * Lowers a finished float32 graph to a narrower precision, by a rule for every operator, so that an engine computes what the graph says
 * and nothing else. Feeds, fetches, trained buffers and everything in the update stay float32; base weights may be stored narrow.
 */
import { cast, constant, dequantise } from "./build.ts";
import {
  type DType,
  type FloatDType,
  type Graph,
  isQuantised,
  type Node,
  type Shape,
  type Value,
  type WeightDType,
} from "./graph.ts";
import type { OpName } from "./ops.ts";
import { copyNode, rewrite } from "./rewrite.ts";

export interface PrecisionOptions {
  /** Of matrix products, convolutions, attention, and what lies between them. */
  readonly compute: FloatDType;
  /** What a buffer is stored in, by its name. */
  readonly storage: (name: string, shape: Shape) => WeightDType;
}

/**
 * - compute: in the narrow type; hardware multiplies fast there and adds up in float32.
 * - float32: where a narrow type loses too much: exponentials, statistics, many small additions, the optimizer.
 * - follow: narrow if all tensors that it reads are; float32 if any is float32. A constant, or a norm's scale and bias, takes the type of
 *   the others. Sums over axes and the statistics of norms are added up in float32 by every engine, whatever they read and give.
 * - own: as its attributes say.
 */
type PrecisionRule = "compute" | "float32" | "follow" | "own";

const rules: { readonly [K in OpName]: PrecisionRule } = {
  Input: "own",
  Constant: "own",

  Add: "follow",
  Sub: "follow",
  Mul: "follow",
  Div: "follow",
  Min: "follow",
  Max: "follow",
  Neg: "follow",
  Exp: "float32",
  Log: "float32",
  Sqrt: "float32",
  Sin: "float32",
  Cos: "float32",
  Erf: "float32",
  Tanh: "follow",
  Sigmoid: "follow",
  Cast: "own",

  Silu: "follow",
  SiluGrad: "follow",
  Gelu: "follow",
  GeluGrad: "follow",
  QuickGelu: "follow",
  QuickGeluGrad: "follow",

  ReduceSum: "follow",
  ReduceMax: "follow",

  MatMul: "compute",
  Conv2d: "compute",
  Conv2dGradInput: "compute",
  Conv2dGradWeight: "compute",

  Reshape: "follow",
  Transpose: "follow",
  Expand: "follow",
  Slice: "follow",
  Pad: "follow",
  Concat: "follow",
  UpsampleNearest: "follow",

  Gather: "follow",
  ScatterAdd: "float32",

  Softmax: "float32",
  SoftmaxGrad: "float32",
  Normalize: "float32",
  NormalizeGrad: "float32",
  LayerNorm: "follow",
  LayerNormGrad: "follow",
  GroupNorm: "follow",
  GroupNormGrad: "follow",
  Attention: "compute",
  AttentionGrad: "compute",

  Dequantise: "own",
  AllReduceMean: "float32",
  AdamW: "float32",
};

/** How many of an operator's first inputs "follow" looks at; the others are parameters and take that type. All where none is given. */
const leading: { readonly [K in OpName]?: number } = { LayerNorm: 1, LayerNormGrad: 2, GroupNorm: 1, GroupNormGrad: 2 };

/**
 * A copy of the graph with casts where a type changes, each value cast once. Narrow storage alone, with `compute` float32, is fine too.
 *
 * @example lowerPrecision(step, { compute: "bfloat16", storage: (name) => (isBaseWeight(name) ? "bfloat16" : "float32") });
 */
export function lowerPrecision(graph: Graph, { compute, storage }: PrecisionOptions): Graph {
  const casts = new Casts();
  const { graph: out, valueOf } = rewrite(graph, (node, inputs, into) => {
    if (node.op === "Input") {
      const { kind, name, shape, dtype } = node.attrs;
      return kind === "buffer" && dtype === "float32" ? [into.buffer(name, shape, storage(name, shape))] : undefined;
    }
    if (rules[node.op] === "own") return undefined;
    const dtype = chooseDtype(node, inputs, compute);
    const typed = inputs.map((input) => {
      if (isQuantised(input.dtype)) return dequantiseFor(node, input, dtype);
      return input.dtype === "int32" ? input : casts.cast(input, dtype);
    });
    return copyNode(node, typed, into);
  });
  for (const [name, old] of graph.fetches) out.fetches.set(name, restore(casts, valueOf(old), old.dtype));
  for (const [name, old] of graph.updates)
    out.updates.set(name, restore(casts, valueOf(old), storageOf(old, storage(name, old.shape))));
  return out;
}

/** Once for the forward and once for the backward, so that the wide numbers are not kept from the one to the other. */
function dequantiseFor(node: Node, weight: Value, dtype: FloatDType): Value {
  const isLater = node.phase === "backward";
  return weight.graph.marked({ recompute: isLater }, () => dequantise(weight, dtype));
}

function chooseDtype({ op, phase }: Node, inputs: readonly Value[], compute: FloatDType): FloatDType {
  // Gradients are scaled, clipped and summed in float32, like the weights that they are for.
  if (phase === "update" || rules[op] === "float32") return "float32";
  if (rules[op] === "compute") return compute;
  const floats = inputs.slice(0, leading[op]).filter((input) => input.dtype !== "int32");
  const bound = floats.filter((input) => !isConstant(input));
  return bound.length > 0 && bound.every((input) => input.dtype === compute) ? compute : "float32";
}

function storageOf({ dtype, node }: Value, stored: WeightDType): DType {
  if (dtype === "int32") return dtype;
  if (isQuantised(stored)) throw new Error(`precision: ${node.scope}: a buffer that is trained cannot be kept in ${stored}`);
  return stored;
}

/** In the marks of what made it. */
function restore(casts: Casts, value: Value, dtype: DType): Value {
  if (value.dtype === dtype || dtype === "int32" || isQuantised(dtype)) return value;
  return value.graph.marked({ ...value.node, recompute: false }, () => casts.cast(value, dtype));
}

const shapeOnly: ReadonlySet<OpName> = new Set(["Reshape", "Transpose", "Expand", "Slice", "Pad", "Concat"]);

function isShapeOnly(op: OpName): boolean {
  return shapeOnly.has(op);
}

/** A constant, or one that was only given another shape: it has no precision to keep. */
function isConstant({ node }: Value): boolean {
  if (node.op === "Constant") return true;
  return isShapeOnly(node.op) && (node.inputs as readonly Value[]).every(isConstant);
}

/** Every value in every type that was asked for, each made once. */
class Casts {
  readonly #made = new Map<Value, Map<DType, Value>>();

  cast(value: Value, dtype: FloatDType): Value {
    if (value.dtype === dtype) return value;
    const known = this.#made.get(value)?.get(dtype);
    if (known) return known;
    const { node, graph } = value;
    const made = node.op === "Constant" ? constant(graph, node.attrs.data, node.attrs.shape, dtype) : cast(value, dtype);
    const byType = this.#made.get(value) ?? new Map<DType, Value>();
    this.#made.set(value, byType.set(dtype, made));
    return made;
  }
}
