/**
 * How a graph is written: one function per operator, on values. Numbers become scalar constants.
 *
 * @example const loss = mean(square(sub(prediction, target)));
 */
import { type DType, type FloatDType, type Graph, type Shape, type Value, shapesEqual } from "./graph.ts";
import { broadcastShapes } from "./infer.ts";
import type { Padding } from "./ops.ts";

type Operand = Value | number;

/** A constant from numbers in row-major order. */
export function constant(graph: Graph, data: readonly number[], shape: Shape, dtype: DType = "float32"): Value {
  return graph.emit("Constant", [], { data, shape, dtype })[0];
}

function scalar(like: Value, value: number): Value {
  return constant(like.graph, [value], [], like.dtype);
}

function operands(a: Operand, b: Operand): readonly [Value, Value] {
  if (typeof a !== "number") return [a, typeof b === "number" ? scalar(a, b) : b];
  if (typeof b !== "number") return [scalar(b, a), b];
  throw new Error("build: at least one operand must be a value, got two numbers");
}

function binary(op: "Add" | "Sub" | "Mul" | "Div" | "Min" | "Max") {
  return (a: Operand, b: Operand): Value => {
    const pair = operands(a, b);
    return pair[0].graph.emit(op, pair, {})[0];
  };
}

export const add = binary("Add");
export const sub = binary("Sub");
export const mul = binary("Mul");
export const div = binary("Div");
export const min = binary("Min");
export const max = binary("Max");

type UnaryName =
  | "Neg" | "Exp" | "Log" | "Sqrt" | "Sin" | "Cos" | "Erf" | "Tanh" | "Sigmoid" // prettier-ignore
  | "Silu" | "Gelu" | "QuickGelu" | "Softmax"; // prettier-ignore

function unary(op: UnaryName) {
  return (x: Value): Value => x.graph.emit(op, [x], {})[0];
}

export const neg = unary("Neg");
export const exp = unary("Exp");
export const log = unary("Log");
export const sqrt = unary("Sqrt");
export const sin = unary("Sin");
export const cos = unary("Cos");
export const erf = unary("Erf");
export const tanh = unary("Tanh");
export const sigmoid = unary("Sigmoid");
export const silu = unary("Silu");
export const gelu = unary("Gelu");
export const quickGelu = unary("QuickGelu");
/** Over the last axis. */
export const softmax = unary("Softmax");

function unaryGrad(op: "SiluGrad" | "GeluGrad" | "QuickGeluGrad" | "SoftmaxGrad") {
  return (x: Value, ct: Value): Value => x.graph.emit(op, [x, ct], {})[0];
}

export const siluGrad = unaryGrad("SiluGrad");
export const geluGrad = unaryGrad("GeluGrad");
export const quickGeluGrad = unaryGrad("QuickGeluGrad");
/** From the softmax's output and its cotangent. */
export const softmaxGrad = unaryGrad("SoftmaxGrad");

export function square(x: Value): Value {
  return mul(x, x);
}

export function cast(x: Value, dtype: DType): Value {
  return x.dtype === dtype ? x : x.graph.emit("Cast", [x], { dtype })[0];
}

function allAxes(x: Value): readonly number[] {
  return x.shape.map((_, i) => i);
}

export function reduceSum(x: Value, axes: readonly number[] = allAxes(x), keepDims = false): Value {
  return axes.length === 0 ? x : x.graph.emit("ReduceSum", [x], { axes, keepDims })[0];
}

export function reduceMax(x: Value, axes: readonly number[] = allAxes(x), keepDims = false): Value {
  return axes.length === 0 ? x : x.graph.emit("ReduceMax", [x], { axes, keepDims })[0];
}

export function mean(x: Value, axes: readonly number[] = allAxes(x), keepDims = false): Value {
  const count = axes.reduce((product, axis) => product * (x.shape[axis] ?? 1), 1);
  return mul(reduceSum(x, axes, keepDims), 1 / count);
}

/** [.., M, K] x [.., K, N]; `transA`/`transB` swap the last two axes of that input first. */
export function matmul(a: Value, b: Value, { transA = false, transB = false } = {}): Value {
  return a.graph.emit("MatMul", [a, b], { transA, transB })[0];
}

interface ConvOptions {
  readonly stride?: number;
  /** One number for all four sides, or [top, left, bottom, right]. */
  readonly padding?: number | Padding;
}

function convAttrs({ stride = 1, padding = 0 }: ConvOptions): { stride: number; padding: Padding } {
  return { stride, padding: typeof padding === "number" ? [padding, padding, padding, padding] : padding };
}

/** x [B, C, H, W], w [O, C, kh, kw], bias [O] -> [B, O, H', W']. */
export function conv2d(x: Value, w: Value, bias?: Value, options: ConvOptions = {}): Value {
  return x.graph.emit("Conv2d", bias ? [x, w, bias] : [x, w], convAttrs(options))[0];
}

export function conv2dGradInput(ct: Value, w: Value, inputShape: Shape, options: ConvOptions): Value {
  return ct.graph.emit("Conv2dGradInput", [ct, w], { ...convAttrs(options), inputShape })[0];
}

export function conv2dGradWeight(x: Value, ct: Value, kernel: readonly [number, number], options: ConvOptions): Value {
  return x.graph.emit("Conv2dGradWeight", [x, ct], { ...convAttrs(options), kernel })[0];
}

export function reshape(x: Value, shape: Shape): Value {
  return shapesEqual(x.shape, shape) ? x : x.graph.emit("Reshape", [x], { shape })[0];
}

export function transpose(x: Value, perm: readonly number[]): Value {
  return perm.every((axis, i) => axis === i) ? x : x.graph.emit("Transpose", [x], { perm })[0];
}

export function expand(x: Value, shape: Shape): Value {
  return shapesEqual(x.shape, shape) ? x : x.graph.emit("Expand", [x], { shape })[0];
}

export function slice(x: Value, starts: readonly number[], ends: readonly number[]): Value {
  const whole = starts.every((start, i) => start === 0 && ends[i] === x.shape[i]);
  return whole ? x : x.graph.emit("Slice", [x], { starts, ends })[0];
}

/** The elements `start <= index < end` along one axis. */
export function sliceAxis(x: Value, axis: number, start: number, end: number): Value {
  return slice(
    x,
    x.shape.map((_, i) => (i === axis ? start : 0)),
    x.shape.map((size, i) => (i === axis ? end : size)),
  );
}

/** Cuts an axis into equal parts. */
export function split(x: Value, axis: number, parts: number): readonly Value[] {
  const size = (x.shape[axis] ?? 0) / parts;
  if (!Number.isInteger(size)) throw new Error(`split: axis ${axis} of [${x.shape.join(", ")}] does not divide into ${parts}`);
  return Array.from({ length: parts }, (_, i) => sliceAxis(x, axis, i * size, (i + 1) * size));
}

export function pad(x: Value, before: readonly number[], after: readonly number[]): Value {
  return [...before, ...after].every((amount) => amount === 0) ? x : x.graph.emit("Pad", [x], { before, after })[0];
}

export function concat(inputs: readonly [Value, ...Value[]], axis: number): Value {
  return inputs.length === 1 ? inputs[0] : inputs[0].graph.emit("Concat", inputs, { axis })[0];
}

export function upsampleNearest(x: Value, scale: number): Value {
  return x.graph.emit("UpsampleNearest", [x], { scale })[0];
}

/** Rows of `table` [R, ..] by int32 `indices`. */
export function gather(table: Value, indices: Value): Value {
  return table.graph.emit("Gather", [table, indices], {})[0];
}

export function scatterAdd(updates: Value, indices: Value, rows: number): Value {
  return updates.graph.emit("ScatterAdd", [updates, indices], { rows })[0];
}

export function normalize(x: Value, eps: number): readonly [normalized: Value, invStd: Value] {
  return x.graph.emit("Normalize", [x], { eps });
}

export function normalizeGrad(ct: Value, normalized: Value, invStd: Value): Value {
  return ct.graph.emit("NormalizeGrad", [ct, normalized, invStd], {})[0];
}

export function layerNorm(x: Value, scale: Value, bias: Value, eps: number): Value {
  return x.graph.emit("LayerNorm", [x, scale, bias], { eps })[0];
}

export function layerNormGrad(ct: Value, x: Value, scale: Value, eps: number): Value {
  return x.graph.emit("LayerNormGrad", [ct, x, scale], { eps })[0];
}

export function groupNorm(x: Value, scale: Value, bias: Value, groups: number, eps: number): Value {
  return x.graph.emit("GroupNorm", [x, scale, bias], { groups, eps })[0];
}

export function groupNormGrad(ct: Value, x: Value, scale: Value, groups: number, eps: number): Value {
  return x.graph.emit("GroupNormGrad", [ct, x, scale], { groups, eps })[0];
}

/** q [B, H, L, D], k and v [B, H, S, D], mask broadcast to [B, H, L, S] and added to the scores. */
export function attention(q: Value, k: Value, v: Value, scale: number, mask?: Value): Value {
  return q.graph.emit("Attention", mask ? [q, k, v, mask] : [q, k, v], { scale })[0];
}

export function attentionGrad(
  ct: Value,
  q: Value,
  k: Value,
  v: Value,
  scale: number,
  mask?: Value,
): readonly [dq: Value, dk: Value, dv: Value] {
  return q.graph.emit("AttentionGrad", mask ? [ct, q, k, v, mask] : [ct, q, k, v], { scale });
}

/** The numbers of a quantised buffer, in `dtype`. */
export function dequantise(x: Value, dtype: FloatDType): Value {
  return x.graph.emit("Dequantise", [x], { dtype })[0];
}

/** The mean of each over all workers, in one exchange. */
export function allReduceMean(values: readonly [Value, ...Value[]]): readonly [Value, ...Value[]] {
  return values[0].graph.emit("AllReduceMean", values, {});
}

/** Sums a broadcast value back to `shape`: the adjoint of broadcasting. */
export function sumTo(x: Value, shape: Shape): Value {
  if (shapesEqual(x.shape, shape)) return x;
  const lead = x.shape.length - shape.length;
  const axes = x.shape.flatMap((size, i) => (i < lead || (shape[i - lead] === 1 && size !== 1) ? [i] : []));
  return reshape(reduceSum(x, axes, true), shape);
}

/** Checks that `x` broadcasts to `shape` and does it. */
export function broadcastTo(x: Value, shape: Shape): Value {
  if (!shapesEqual(broadcastShapes(x.shape, shape), shape)) {
    throw new Error(`broadcastTo: [${x.shape.join(", ")}] does not broadcast to [${shape.join(", ")}]`);
  }
  return expand(x, shape);
}

/** Values of an elementwise zero, as a constant. */
export function zerosLike(x: Value): Value {
  return expand(
    constant(
      x.graph,
      [0],
      x.shape.map(() => 1),
      x.dtype,
    ),
    x.shape,
  );
}
