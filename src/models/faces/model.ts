/**
 * BlazeFace (Bazarevsky et al. 2019) as a graph, from the operators of its TensorFlow Lite file. Its depthwise convolutions are each followed by a
 * 1 x 1 convolution with nothing between, so the two are one ordinary convolution, exactly: no operator of its own is needed.
 */
import { add, constant, conv2d, matmul, max, pad, reduceMax, reshape, transpose } from "../../graph/build.ts";
import { Graph, sizeOf, type Value } from "../../graph/graph.ts";
import type { Padding } from "../../graph/ops.ts";
import type { TfliteNetwork, TfliteOperator, TfliteTensor } from "../../formats/tflite.ts";

/** A graph with one feed, `picture` [1, 3, H, W] in -1..1, and what its buffers hold. */
export interface FaceNetwork {
  readonly graph: Graph;
  readonly weights: ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>;
  /** Side of the square that it looks at, in pixels. */
  readonly sidePx: number;
}

/** A depthwise convolution that waits for the 1 x 1 convolution after it. */
interface Depthwise {
  readonly x: Value;
  readonly operator: TfliteOperator;
}

type Known = { readonly value: Value } | { readonly depthwise: Depthwise } | { readonly data: TfliteTensor };

/**
 * Fetches: `boxes` [1, N, 16] and `scores` [1, N, 1], as `findBoxes` reads them.
 *
 * @param times larger, by a whole number, than the square that the network was trained on: being all convolutions, it finds faces of the
 *   same pixels there, which are a smaller part of it
 * @throws Error where the file is not built as this expects
 */
export function buildFaceNetwork(network: TfliteNetwork, times = 1): FaceNetwork {
  const { tensors, operators, inputs, outputs } = network;
  const graph = new Graph();
  const weights = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  const known = new Map<number, Known>();
  const tensorOf = (id: number): TfliteTensor => {
    const found = known.get(id);
    const tensor = found && "data" in found ? found.data : tensors[id];
    if (!tensor) throw new Error(`face network: there is no tensor ${id}`);
    return tensor;
  };
  const valueOf = (id: number): Value => {
    const found = known.get(id);
    if (!found || !("value" in found)) throw new Error(`face network: tensor ${id} is read before it is computed`);
    return found.value;
  };
  const buffer = (name: string, shape: readonly number[], data: Float32Array): Value => {
    weights.set(name, { shape, data });
    return graph.buffer(name, shape);
  };
  const sidePx = (tensorOf(inputs[0] ?? -1).shape[1] ?? 0) * times;
  known.set(inputs[0] ?? -1, { value: graph.feed("picture", [1, 3, sidePx, sidePx]) });
  for (const [i, operator] of operators.entries()) {
    const [x = -1, w = -1, b = -1] = operator.inputs;
    const [y = -1] = operator.outputs;
    const compute = (): Known => {
      switch (operator.kind) {
        case "dequantize":
          return { data: tensorOf(x) };
        case "depthwise conv":
          return { depthwise: { x: valueOf(x), operator } };
        case "conv": {
          const from = known.get(x);
          const before = from && "depthwise" in from ? from.depthwise : undefined;
          const joined = before
            ? joinConvolutions(before, operator, tensorOf)
            : { x: valueOf(x), operator, ...convolution(tensorOf(w), tensorOf(b)) };
          const kernel = buffer(`conv${i}.weight`, joined.shape, joined.weight);
          const bias = buffer(`conv${i}.bias`, [joined.bias.length], joined.bias);
          const padding = paddingOf(joined.x.shape, joined.operator, joined.shape[2] ?? 1);
          return { value: conv2d(joined.x, kernel, bias, { stride: joined.operator.stride, padding }) };
        }
        case "relu":
          return { value: max(valueOf(x), 0) };
        case "add":
          return { value: add(valueOf(x), valueOf(w)) };
        case "pad":
          return { value: padded(valueOf(x), tensorOf(w)) };
        case "max pool":
          return { value: maxPool(valueOf(x), operator) };
        case "resize bilinear":
          return { value: doubled(valueOf(x), operator) };
        case "reshape":
          return { value: rows(valueOf(x), tensorOf(y).shape.at(-1) ?? 0) };
      }
    };
    known.set(y, compute());
  }
  for (const output of outputs) graph.fetches.set(tensorOf(output).shape.at(-1) === 1 ? "scores" : "boxes", valueOf(output));
  return { graph, weights, sidePx };
}

interface Convolution {
  /** [O, C, kh, kw] */
  readonly shape: readonly number[];
  readonly weight: Float32Array;
  readonly bias: Float32Array;
}

function floats({ data, shape }: TfliteTensor): Float32Array {
  if (!(data instanceof Float32Array)) throw new Error(`face network: weights of shape ${shape.join("x")} are missing`);
  return data;
}

/** [O, kh, kw, C] as the file has it, to [O, C, kh, kw]. */
function convolution(w: TfliteTensor, b: TfliteTensor): Convolution {
  const [o = 0, kh = 0, kw = 0, c = 0] = w.shape;
  const from = floats(w);
  const weight = new Float32Array(from.length);
  for (let out = 0; out < o; out++)
    for (let at = 0; at < kh * kw; at++)
      for (let i = 0; i < c; i++) weight[(out * c + i) * kh * kw + at] = from[(out * kh * kw + at) * c + i] ?? 0;
  return { shape: [o, c, kh, kw], weight, bias: floats(b) };
}

/** P (D x + d) + p = (P D) x + (P d + p), for a 1 x 1 convolution P after a depthwise D. */
function joinConvolutions(
  { x, operator }: Depthwise,
  after: TfliteOperator,
  tensorOf: (id: number) => TfliteTensor,
): Convolution & Depthwise {
  const [, dw = -1, db = -1] = operator.inputs;
  const [, pw = -1, pb = -1] = after.inputs;
  const [, kh = 0, kw = 0, c = 0] = tensorOf(dw).shape;
  const [depth, depthBias] = [floats(tensorOf(dw)), floats(tensorOf(db))];
  const point = convolution(tensorOf(pw), tensorOf(pb));
  const [o = 0, , ph = 0, pwide = 0] = point.shape;
  if (ph * pwide !== 1 || after.stride !== 1) throw new Error("face network: a depthwise convolution needs a 1 x 1 one after it");
  const weight = new Float32Array(o * c * kh * kw);
  const bias = Float32Array.from(point.bias);
  for (let out = 0; out < o; out++) {
    for (let i = 0; i < c; i++) {
      const factor = point.weight[out * c + i] ?? 0;
      bias[out] = (bias[out] ?? 0) + factor * (depthBias[i] ?? 0);
      for (let at = 0; at < kh * kw; at++) weight[(out * c + i) * kh * kw + at] = factor * (depth[at * c + i] ?? 0);
    }
  }
  return { x, operator, shape: [o, c, kh, kw], weight, bias };
}

/** TensorFlow's "same": as much as the last window needs, the odd pixel at the end. */
function paddingOf([, , height = 0, width = 0]: readonly number[], { padding, stride }: TfliteOperator, kernel: number): Padding {
  if (padding === "valid") return [0, 0, 0, 0];
  const total = (side: number): number => Math.max(0, (Math.ceil(side / stride) - 1) * stride + kernel - side);
  const [tall, wide] = [total(height), total(width)];
  return [tall >> 1, wide >> 1, tall - (tall >> 1), wide - (wide >> 1)];
}

/** [1, C, H, W] to [1, H W C / size, size]. */
function rows(x: Value, size: number): Value {
  return reshape(transpose(x, [0, 2, 3, 1]), [1, sizeOf(x.shape) / size, size]);
}

/** @param amounts [4, 2] for batch, height, width, channels */
function padded(x: Value, amounts: TfliteTensor): Value {
  const order = [0, 3, 1, 2];
  const data = amounts.data ?? new Int32Array();
  return pad(
    x,
    order.map((axis) => data[2 * axis] ?? 0),
    order.map((axis) => data[2 * axis + 1] ?? 0),
  );
}

function maxPool(x: Value, { stride, filter }: TfliteOperator): Value {
  const [b = 0, c = 0, h = 0, w = 0] = x.shape;
  if (stride !== filter || h % stride !== 0 || w % stride !== 0)
    throw new Error(`face network: pooling of ${filter} by ${stride} is not understood`);
  return reduceMax(reshape(x, [b, c, h / stride, stride, w / stride, stride]), [3, 5]);
}

/** Twice the size by bilinear interpolation, as a product with a matrix along each side. */
function doubled(x: Value, { alignsCorners, halfPixelCenters }: TfliteOperator): Value {
  const [, , h = 0, w = 0] = x.shape;
  const along = (side: number): Value => {
    const to = 2 * side;
    const rows = Array.from({ length: to * side }, () => 0);
    for (let i = 0; i < to; i++) {
      const at = alignsCorners ? (i * (side - 1)) / (to - 1) : halfPixelCenters ? Math.max(0, (i + 0.5) / 2 - 0.5) : i / 2;
      const low = Math.min(side - 1, Math.floor(at));
      const high = Math.min(side - 1, low + 1);
      rows[i * side + low] = (rows[i * side + low] ?? 0) + 1 - (at - low);
      rows[i * side + high] = (rows[i * side + high] ?? 0) + at - low;
    }
    return constant(x.graph, rows, [to, side]);
  };
  return matmul(along(h), matmul(x, along(w), { transB: true }));
}
