/** Shapes of all values of a lowered model, which ONNX Runtime is not told (see `valueInfo` in emit.ts). */
import type { NodeProto, TensorProto } from "onnx-buf";
import { type Shape, sizeOf } from "../../graph/graph.ts";

/** A value of a model. */
export interface ModelValue {
  readonly shape: Shape;
  readonly bytes: number;
  /** What a constant list of int64 holds, where shapes are made of it. */
  readonly list?: readonly number[];
}

/** Where a rule looks: a node's inputs and its attributes. */
interface Asked {
  readonly input: (i: number) => ModelValue;
  readonly count: number;
  readonly int: (name: string, otherwise: number) => number;
  readonly ints: (name: string) => readonly number[] | undefined;
}

/** The shape of each output that is not left out. */
type ShapeRule = (asked: Asked) => readonly Shape[];

const same: ShapeRule = ({ input }) => [input(0).shape];
const given: ShapeRule = ({ input }) => [listOf(input(1))];
const broadcast: ShapeRule = ({ input }) => [broadcastShapes(input(0).shape, input(1).shape)];

const reduce: ShapeRule = ({ input, int }) => {
  const { shape } = input(0);
  const axes = new Set(listOf(input(1)));
  const isKept = int("keepdims", 1) === 1;
  return [isKept ? shape.map((size, i) => (axes.has(i) ? 1 : size)) : shape.filter((_, i) => !axes.has(i))];
};

/** For two operands of rank 2 or more. */
const product: ShapeRule = ({ input, int }) => {
  const [a, b] = [input(0).shape, input(1).shape];
  const [rows, columns] = [int("transA", 0) ? a.at(-1) : a.at(-2), int("transB", 0) ? b.at(-2) : b.at(-1)];
  // transBatch moves the batch to the place before the last: [rows, batch, columns] is a batch of [rows, columns].
  const batchOf = (shape: Shape, isMoved: boolean): Shape => (isMoved ? shape.slice(1, -1) : shape.slice(0, -2));
  const rowsOfMoved = a[0];
  const isMovedA = int("transBatchA", 0) === 1;
  const batch = broadcastShapes(batchOf(a, isMovedA), batchOf(b, int("transBatchB", 0) === 1));
  return [[...batch, (isMovedA ? rowsOfMoved : rows) ?? 1, columns ?? 1]];
};

const convolve: ShapeRule = ({ input, ints }) => {
  const [[batch = 1, , ...sides], [channels = 1, , ...kernel]] = [input(0).shape, input(1).shape];
  const [strides, pads] = [ints("strides") ?? [1, 1], ints("pads") ?? [0, 0, 0, 0]];
  const side = (size: number, i: number): number => {
    const padded = size + (pads[i] ?? 0) + (pads[i + sides.length] ?? 0);
    return Math.floor((padded - (kernel[i] ?? 1)) / (strides[i] ?? 1)) + 1;
  };
  return [[batch, channels, ...sides.map(side)]];
};

const convolveTransposed: ShapeRule = ({ input, ints }) => {
  const [[batch = 1, , ...sides], [, channels = 1, ...kernel]] = [input(0).shape, input(1).shape];
  const [strides, pads, rest] = [ints("strides") ?? [1, 1], ints("pads") ?? [0, 0, 0, 0], ints("output_padding") ?? [0, 0]];
  const side = (size: number, i: number): number =>
    (size - 1) * (strides[i] ?? 1) + (rest[i] ?? 0) + (kernel[i] ?? 1) - (pads[i] ?? 0) - (pads[i + sides.length] ?? 0);
  return [[batch, channels, ...sides.map(side)]];
};

const slice: ShapeRule = ({ input, count }) => {
  const shape = [...input(0).shape];
  const [starts, ends, axes] = [listOf(input(1)), listOf(input(2)), listOf(input(3))];
  const steps = count > 4 ? listOf(input(4)) : axes.map(() => 1);
  axes.forEach((axis, i) => (shape[axis] = Math.ceil(((ends[i] ?? 0) - (starts[i] ?? 0)) / (steps[i] ?? 1))));
  return [shape];
};

const pad: ShapeRule = ({ input }) => {
  const pads = listOf(input(1));
  const { shape } = input(0);
  return [shape.map((size, i) => size + (pads[i] ?? 0) + (pads[i + shape.length] ?? 0))];
};

const concat: ShapeRule = ({ input, count, int }) => {
  const axis = int("axis", 0);
  const shapes = Array.from({ length: count }, (_, i) => input(i).shape);
  const whole = shapes.reduce((sum, shape) => sum + (shape[axis] ?? 0), 0);
  return [(shapes[0] ?? []).map((size, i) => (i === axis ? whole : size))];
};

/** The normalized values, and the reciprocal deviation of each row. */
const layerNorm: ShapeRule = ({ input }) => {
  const { shape } = input(0);
  return [shape, [...shape.slice(0, -1), 1]];
};

/** One rule for every operator that a graph is lowered to. */
const rules: Readonly<Record<string, ShapeRule>> = {
  ...Object.fromEntries(["Add", "Sub", "Mul", "Div", "Min", "Max"].map((op) => [op, broadcast])),
  ...Object.fromEntries(
    ["Neg", "Exp", "Log", "Sqrt", "Sin", "Cos", "Erf", "Tanh", "Sigmoid", "Gelu", "QuickGelu"].map((op) => [op, same]),
  ),
  ...Object.fromEntries(["Identity", "Cast", "Softmax", "ScatterElements"].map((op) => [op, same])),
  ...{ ReduceSum: reduce, ReduceMax: reduce, MatMul: product, FusedMatMul: product },
  ...{ Conv: convolve, ConvTranspose: convolveTransposed, Reshape: given, Expand: given },
  ...{ Slice: slice, Pad: pad, Concat: concat, LayerNormalization: layerNorm },
  Transpose: ({ input, ints }) => [(ints("perm") ?? []).map((axis) => input(0).shape[axis] ?? 1)],
  Gather: ({ input }) => [[...input(1).shape, ...input(0).shape.slice(1)]],
};

/**
 * The outputs of a node, in order; undefined for one that is left out.
 *
 * @param valueOf what is known of a name: inputs of the model, constants, and outputs of earlier nodes
 */
export function outputsOf(
  node: NodeProto,
  valueOf: (name: string) => ModelValue | undefined,
): readonly (ModelValue | undefined)[] {
  const rule = rules[node.opType];
  if (!rule) throw new Error(`internal: ort: no rule for the shape of ${node.opType}`);
  const input = (i: number): ModelValue => {
    const value = valueOf(node.input[i] ?? "");
    if (!value) throw new Error(`internal: ort: ${node.opType} reads ${node.input[i]}, of which no shape is known`);
    return value;
  };
  const attribute = (name: string) => node.attribute.find((candidate) => candidate.name === name);
  const int = (name: string, otherwise: number): number => Number(attribute(name)?.i ?? otherwise);
  const ints = (name: string): readonly number[] | undefined => attribute(name)?.ints.map(Number);
  const shapes = [...rule({ input, count: node.input.length, int, ints })];
  const list = node.opType === "Identity" ? input(0).list : undefined;
  return node.output.map((name) => {
    const shape = name === "" ? undefined : shapes.shift();
    if (!shape) return undefined;
    return { shape, bytes: bytesPerElement(node, input) * sizeOf(shape), ...(list && { list }) };
  });
}

/** Everything is four bytes wide, but for lists of int64 and their copies. */
function bytesPerElement({ opType }: NodeProto, input: (i: number) => ModelValue): number {
  return opType === "Identity" && input(0).list ? 8 : 4;
}

/** A constant of a model. */
export function constantValue({ dims, rawData, dataType }: TensorProto, int64: number): ModelValue {
  const shape = dims.map(Number);
  if (dataType !== int64) return { shape, bytes: rawData.byteLength };
  const copy = rawData.slice();
  return { shape, bytes: copy.byteLength, list: [...new BigInt64Array(copy.buffer)].map(Number) };
}

function listOf({ list }: ModelValue): readonly number[] {
  if (!list) throw new Error("internal: ort: a list of numbers is not constant");
  return list;
}

/** NumPy's rule: shapes are aligned at their ends, and a size of 1 stretches. */
function broadcastShapes(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const [left, right] = [a[a.length - rank + i] ?? 1, b[b.length - rank + i] ?? 1];
    return left === 1 ? right : left;
  });
}
