/**
 * Shape and dtype inference: one rule per operator. A rule throws when the inputs do not fit; the message says what was
 * needed, and the graph adds the operator, the shapes and the place.
 */
import { formatType, isQuantised, shapesEqual, sizeOf, type Shape, type TensorType, type Value } from "./graph.ts";
import type { OpName, Ops } from "./ops.ts";

type ConvAttrs = Ops["Conv2d"]["attrs"];
type InferRule<K extends OpName> = (inputs: Ops[K]["inputs"], attrs: Ops[K]["attrs"]) => readonly TensorType[];

/** The shape that NumPy broadcasting gives; throws when two sizes differ and neither is 1. */
export function broadcastShapes(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    need(x === y || x === 1 || y === 1, `sizes ${x} and ${y} do not broadcast`);
    return x === 1 ? y : x;
  });
}

function need(condition: boolean, message: string): void {
  if (!condition) throw new Error(message);
}

function like(x: TensorType, shape: Shape = x.shape): readonly TensorType[] {
  return [{ shape, dtype: x.dtype }];
}

const unary = ([x]: readonly [Value]): readonly TensorType[] => like(x);

const binary = ([a, b]: readonly [Value, Value]): readonly TensorType[] => {
  need(a.dtype === b.dtype, "dtypes differ");
  return like(a, broadcastShapes(a.shape, b.shape));
};

const sameShape = ([x, ct]: readonly [Value, Value]): readonly TensorType[] => {
  need(shapesEqual(x.shape, ct.shape), "shapes differ");
  return like(x);
};

const reduction = ([x]: readonly [Value], { axes, keepDims }: Ops["ReduceSum"]["attrs"]): readonly TensorType[] => {
  for (const axis of axes) need(axis in x.shape, `axis ${axis} is outside rank ${x.shape.length}`);
  need(new Set(axes).size === axes.length, `an axis is named twice: ${axes.join(", ")}`);
  if (keepDims)
    return like(
      x,
      x.shape.map((size, i) => (axes.includes(i) ? 1 : size)),
    );
  return like(
    x,
    x.shape.filter((_, i) => !axes.includes(i)),
  );
};

/** Size along one spatial axis after a convolution. */
export function convOutputSize(size: number, kernel: number, stride: number, padBefore: number, padAfter: number): number {
  return Math.floor((size + padBefore + padAfter - kernel) / stride) + 1;
}

function dims4(shape: Shape): readonly [number, number, number, number] {
  const [a, b, c, d] = shape;
  if (shape.length !== 4 || a === undefined || b === undefined || c === undefined || d === undefined) {
    throw new Error(`rank 4 needed, got rank ${shape.length}`);
  }
  return [a, b, c, d];
}

function convOutputShape(x: Shape, w: Shape, { stride, padding }: ConvAttrs): readonly [number, number, number, number] {
  const [batch, channels, height, width] = dims4(x);
  const [out, inner, kh, kw] = dims4(w);
  need(channels === inner, `the kernel takes ${inner} channels, the input has ${channels}`);
  need(Number.isInteger(stride) && stride > 0, `the stride must be a positive integer, got ${stride}`);
  const [top, left, bottom, right] = padding;
  const outHeight = convOutputSize(height, kh, stride, top, bottom);
  const outWidth = convOutputSize(width, kw, stride, left, right);
  need(outHeight > 0 && outWidth > 0, "the kernel is larger than the padded input");
  return [batch, out, outHeight, outWidth];
}

function matrixDims(shape: Shape, transposed: boolean): readonly [number, number] {
  const [rows, columns] = shape.slice(-2);
  if (rows === undefined || columns === undefined) throw new Error(`rank 2 or more needed, got [${shape.join(", ")}]`);
  return transposed ? [columns, rows] : [rows, columns];
}

function last(shape: Shape): number {
  const size = shape.at(-1);
  if (size === undefined) throw new Error("a scalar has no last axis");
  return size;
}

function needAffine(channels: number, scale: Value, bias?: Value): void {
  need(shapesEqual(scale.shape, [channels]), `scale must be [${channels}]`);
  if (bias) need(shapesEqual(bias.shape, [channels]), `bias must be [${channels}]`);
}

function needGroups(x: Value, groups: number): void {
  const channels = x.shape[1];
  need(channels !== undefined && channels % groups === 0, `${channels} channels do not divide into ${groups} groups`);
}

function needAttention(q: Value, k: Value, v: Value, mask: Value | undefined): void {
  const [batch, heads, queries, width] = dims4(q.shape);
  const keys = dims4(k.shape)[2];
  need(shapesEqual(k.shape, [batch, heads, keys, width]), "key does not fit query");
  need(shapesEqual(v.shape, k.shape), "value does not fit key");
  if (mask) {
    const full = broadcastShapes(mask.shape, [batch, heads, queries, keys]);
    need(shapesEqual(full, [batch, heads, queries, keys]), "mask does not broadcast to the scores");
  }
}

export const inferRules: { readonly [K in OpName]: InferRule<K> } = {
  Input: (_, { shape, dtype }) => {
    need(
      shape.every((size) => Number.isInteger(size) && size > 0),
      `sizes must be positive integers, got [${shape.join(", ")}]`,
    );
    return [{ shape, dtype }];
  },
  Constant: (_, { data, shape, dtype }) => {
    need(data.length === sizeOf(shape), `${data.length} numbers for ${formatType({ shape, dtype })}`);
    return [{ shape, dtype }];
  },

  Add: binary,
  Sub: binary,
  Mul: binary,
  Div: binary,
  Min: binary,
  Max: binary,
  Neg: unary,
  Exp: unary,
  Log: unary,
  Sqrt: unary,
  Sin: unary,
  Cos: unary,
  Erf: unary,
  Tanh: unary,
  Sigmoid: unary,
  Cast: ([x], { dtype }) => [{ shape: x.shape, dtype }],

  Silu: unary,
  SiluGrad: sameShape,
  Gelu: unary,
  GeluGrad: sameShape,
  QuickGelu: unary,
  QuickGeluGrad: sameShape,

  ReduceSum: reduction,
  ReduceMax: reduction,

  MatMul: ([a, b], { transA, transB }) => {
    need(a.dtype === b.dtype, "dtypes differ");
    const [m, k] = matrixDims(a.shape, transA);
    const [inner, n] = matrixDims(b.shape, transB);
    need(k === inner, "inner sizes differ");
    return like(a, [...broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2)), m, n]);
  },
  Conv2d: ([x, w, bias], attrs) => {
    need(x.dtype === w.dtype, "dtypes differ");
    const out = convOutputShape(x.shape, w.shape, attrs);
    if (bias) need(shapesEqual(bias.shape, [out[1]]), `bias must be [${out[1]}]`);
    return like(x, out);
  },
  Conv2dGradInput: ([ct, w], { inputShape, ...attrs }) => {
    const out = convOutputShape(inputShape, w.shape, attrs);
    need(shapesEqual(ct.shape, out), `the cotangent of an input [${inputShape.join(", ")}] must be [${out.join(", ")}]`);
    return like(ct, inputShape);
  },
  Conv2dGradWeight: ([x, ct], { kernel, ...attrs }) => {
    const weightShape = [dims4(ct.shape)[1], dims4(x.shape)[1], ...kernel];
    const out = convOutputShape(x.shape, weightShape, attrs);
    need(shapesEqual(ct.shape, out), `the cotangent must be [${out.join(", ")}]`);
    return like(x, weightShape);
  },

  Reshape: ([x], { shape }) => {
    need(
      sizeOf(shape) === sizeOf(x.shape) && shape.every((size) => size > 0),
      `[${shape.join(", ")}] has another number of elements`,
    );
    return like(x, shape);
  },
  Transpose: ([x], { perm }) => {
    need(
      [...perm].sort((a, b) => a - b).every((axis, i) => axis === i) && perm.length === x.shape.length,
      `bad order ${perm.join()}`,
    );
    return like(
      x,
      perm.map((axis) => x.shape[axis] ?? 1),
    );
  },
  Expand: ([x], { shape }) => {
    need(shapesEqual(broadcastShapes(x.shape, shape), shape), `does not broadcast to [${shape.join(", ")}]`);
    return like(x, shape);
  },
  Slice: ([x], { starts, ends }) => {
    need(starts.length === x.shape.length && ends.length === x.shape.length, "one start and end per axis needed");
    return like(
      x,
      x.shape.map((size, i) => {
        const start = starts[i] ?? 0;
        const end = ends[i] ?? size;
        need(start >= 0 && start < end && end <= size, `${start}..${end} is outside axis ${i} of size ${size}`);
        return end - start;
      }),
    );
  },
  Pad: ([x], { before, after }) => {
    need(before.length === x.shape.length && after.length === x.shape.length, "one amount per axis needed");
    return like(
      x,
      x.shape.map((size, i) => size + (before[i] ?? 0) + (after[i] ?? 0)),
    );
  },
  Concat: (inputs, { axis }) => {
    const [first] = inputs;
    if (!first) throw new Error("at least one input needed");
    need(axis in first.shape, `axis ${axis} is outside rank ${first.shape.length}`);
    for (const input of inputs) {
      need(input.dtype === first.dtype, "dtypes differ");
      need(input.shape.length === first.shape.length, "ranks differ");
      need(
        input.shape.every((size, i) => i === axis || size === first.shape[i]),
        `sizes differ outside axis ${axis}`,
      );
    }
    const total = inputs.reduce((sum, input) => sum + (input.shape[axis] ?? 0), 0);
    return like(
      first,
      first.shape.map((size, i) => (i === axis ? total : size)),
    );
  },
  UpsampleNearest: ([x], { scale }) => {
    const [batch, channels, height, width] = dims4(x.shape);
    return like(x, [batch, channels, height * scale, width * scale]);
  },

  Gather: ([table, indices]) => {
    need(indices.dtype === "int32", "indices must be int32");
    return like(table, [...indices.shape, ...table.shape.slice(1)]);
  },
  ScatterAdd: ([updates, indices], { rows }) => {
    need(indices.dtype === "int32", "indices must be int32");
    need(
      shapesEqual(updates.shape.slice(0, indices.shape.length), indices.shape),
      "updates do not start with the indices' shape",
    );
    return like(updates, [rows, ...updates.shape.slice(indices.shape.length)]);
  },

  Softmax: unary,
  SoftmaxGrad: sameShape,
  Normalize: ([x]) => {
    last(x.shape);
    return [...like(x), ...like(x, [...x.shape.slice(0, -1), 1])];
  },
  NormalizeGrad: ([ct, normalized, invStd]) => {
    need(shapesEqual(ct.shape, normalized.shape), "cotangent does not fit");
    need(shapesEqual(invStd.shape, [...ct.shape.slice(0, -1), 1]), "inverse deviation does not fit");
    return like(ct);
  },
  LayerNorm: ([x, scale, bias]) => {
    needAffine(last(x.shape), scale, bias);
    return like(x);
  },
  LayerNormGrad: ([ct, x, scale]) => {
    needAffine(last(x.shape), scale);
    need(shapesEqual(ct.shape, x.shape), "cotangent does not fit");
    return like(x);
  },
  GroupNorm: ([x, scale, bias], { groups }) => {
    needGroups(x, groups);
    needAffine(x.shape[1] ?? 0, scale, bias);
    return like(x);
  },
  GroupNormGrad: ([ct, x, scale], { groups }) => {
    needGroups(x, groups);
    needAffine(x.shape[1] ?? 0, scale);
    need(shapesEqual(ct.shape, x.shape), "cotangent does not fit");
    return like(x);
  },
  Attention: ([q, k, v, mask]) => {
    needAttention(q, k, v, mask);
    return like(q);
  },
  AttentionGrad: ([ct, q, k, v, mask]) => {
    needAttention(q, k, v, mask);
    need(shapesEqual(ct.shape, q.shape), "cotangent does not fit");
    return [...like(q), ...like(k), ...like(v)];
  },

  Dequantise: ([x], { dtype }) => {
    need(isQuantised(x.dtype), "int8 or nf4 needed");
    return [{ shape: x.shape, dtype }];
  },
  AllReduceMean: (inputs) => {
    for (const { dtype } of inputs) need(dtype === "float32", "means over workers are float32");
    return inputs.flatMap((input) => like(input));
  },

  AdamW: ([weight, m, v, grad, ...scalars]) => {
    for (const other of [m, v, grad]) need(shapesEqual(other.shape, weight.shape), "state does not fit the weight");
    for (const scalar of scalars) need(scalar.shape.length === 0, "rates and corrections must be scalars");
    return [...like(weight), ...like(m), ...like(v)];
  },
};
