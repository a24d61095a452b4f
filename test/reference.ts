/**
 * A naive interpreter of graphs in float64: what every operator means, written as loops over indices and independent of the engines
 * and of the `decompose` rules. Slow; for tests.
 */
import { type Graph, inputsOf, type Node, type Shape, sizeOf, type Value } from "../src/graph/graph.ts";
import type { OpName, Ops } from "../src/graph/ops.ts";

/** Numbers in row-major order. Floats of every dtype are float64 here. */
export interface Tensor {
  readonly shape: Shape;
  readonly data: Float64Array;
}

export interface ReferenceResults {
  readonly fetches: Readonly<Record<string, Tensor>>;
  readonly updates: Readonly<Record<string, Tensor>>;
}

/** Runs a graph; `inputs` holds its feeds and buffers by name. */
export function evaluate(graph: Graph, inputs: Readonly<Record<string, ArrayLike<number>>>): ReferenceResults {
  const tensors = new Map<Value, Tensor>();
  const get = (value: Value): Tensor => {
    const tensor = tensors.get(value);
    if (!tensor) throw new Error(`reference: %${value.id} (${value.node.op}) is used before it is made`);
    return tensor;
  };
  for (const node of graph.nodes) {
    const results =
      node.op === "Input" ? [readInput(node.attrs.name, node.outputs[0], inputs)] : apply(node, inputsOf(node).map(get));
    node.outputs.forEach((output, i) => {
      const data = results[i];
      if (data?.length !== sizeOf(output.shape)) throw new Error(`reference: ${node.op} gave ${data?.length} numbers`);
      tensors.set(output, { shape: output.shape, data });
    });
  }
  const all = (values: ReadonlyMap<string, Value>): Record<string, Tensor> =>
    Object.fromEntries([...values].map(([name, value]) => [name, get(value)]));
  return { fetches: all(graph.fetches), updates: all(graph.updates) };
}

function readInput(name: string, value: Value, inputs: Readonly<Record<string, ArrayLike<number>>>): Float64Array {
  const data = inputs[name];
  if (data?.length !== sizeOf(value.shape)) throw new Error(`reference: input ${name} has ${data?.length ?? "no"} numbers`);
  return Float64Array.from(data);
}

function apply(node: Node, inputs: readonly Tensor[]): readonly Float64Array[] {
  const rule = rules[node.op] as unknown as ReferenceRule;
  return rule(inputs, node.attrs, node.outputs[0].shape);
}

type ReferenceRule = (inputs: readonly Tensor[], attrs: unknown, outShape: Shape) => readonly Float64Array[];
type Tensors<T extends readonly unknown[]> = { readonly [I in keyof T]: Tensor };
type Rule<K extends OpName> = (
  inputs: Tensors<Ops[K]["inputs"]>,
  attrs: Ops[K]["attrs"],
  outShape: Shape,
) => readonly Float64Array[];

/** Calls `visit` with every index of a shape, in row-major order, and its position. */
function forEachIndex(shape: Shape, visit: (index: readonly number[], position: number) => void): void {
  const count = sizeOf(shape);
  const index = shape.map(() => 0);
  for (let position = 0; position < count; position++) {
    visit(index, position);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = (index[axis] ?? 0) + 1;
      if ((index[axis] ?? 0) < (shape[axis] ?? 1)) break;
      index[axis] = 0;
    }
  }
}

/** The element at an index, broadcast: a size of 1 stands for every index, missing leading axes too. */
function at({ shape, data }: Tensor, index: readonly number[]): number {
  return data[offsetOf(shape, index)] ?? NaN;
}

function offsetOf(shape: Shape, index: readonly number[]): number {
  const lead = index.length - shape.length;
  return shape.reduce((offset, size, axis) => offset * size + (size === 1 ? 0 : (index[lead + axis] ?? 0)), 0);
}

/** A new tensor, element by element. */
function generate(shape: Shape, element: (index: readonly number[]) => number): Float64Array {
  const result = new Float64Array(sizeOf(shape));
  forEachIndex(shape, (index, position) => {
    result[position] = element(index);
  });
  return result;
}

function increase(data: Float64Array, position: number, amount: number): void {
  data[position] = (data[position] ?? 0) + amount;
}

function binary(f: (a: number, b: number) => number) {
  return ([a, b]: readonly [Tensor, Tensor], _attrs: unknown, shape: Shape): readonly Float64Array[] => [
    generate(shape, (index) => f(at(a, index), at(b, index))),
  ];
}

function unary(f: (x: number) => number) {
  return ([x]: readonly [Tensor]): readonly Float64Array[] => [x.data.map(f)];
}

/** ct times the derivative, which is written out for each activation. */
function activationGrad(derivative: (x: number) => number) {
  return ([x, ct]: readonly [Tensor, Tensor]): readonly Float64Array[] => [
    x.data.map((v, i) => derivative(v) * (ct.data[i] ?? NaN)),
  ];
}

const sigma = (x: number): number => 1 / (1 + Math.exp(-x));
const normalCdf = (x: number): number => (1 + errorFunction(x / Math.SQRT2)) / 2;
const normalDensity = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);

/** erf by its Maclaurin series (Abramowitz and Stegun 7.1.6, whose terms are all of one sign); 1 to double precision beyond 6. */
function errorFunction(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

function reduction(start: number, combine: (a: number, b: number) => number) {
  return ([x]: readonly [Tensor], { axes }: Ops["ReduceSum"]["attrs"]): readonly Float64Array[] => {
    const kept = x.shape.map((size, i) => (axes.includes(i) ? 1 : size));
    const result = new Float64Array(sizeOf(kept)).fill(start);
    forEachIndex(x.shape, (index, position) => {
      const target = offsetOf(kept, index);
      result[target] = combine(result[target] ?? NaN, x.data[position] ?? NaN);
    });
    return [result];
  };
}

/** Visits every product of a convolution: positions in y, x and w that meet. */
function forEachConvProduct(
  x: Shape,
  w: Shape,
  y: Shape,
  { stride, padding }: Ops["Conv2d"]["attrs"],
  visit: (yAt: number, xAt: number, wAt: number) => void,
): void {
  const [, channels = 0, height = 0, width = 0] = x;
  const [, , kh = 0, kw = 0] = w;
  forEachIndex(y, ([b = 0, o = 0, i = 0, j = 0], yAt) => {
    forEachIndex([channels, kh, kw], ([c = 0, di = 0, dj = 0]) => {
      const row = i * stride - padding[0] + di;
      const column = j * stride - padding[1] + dj;
      if (row < 0 || row >= height || column < 0 || column >= width) return;
      visit(yAt, offsetOf(x, [b, c, row, column]), offsetOf(w, [o, c, di, dj]));
    });
  });
}

function conv2d(x: Tensor, w: Tensor, bias: Tensor | undefined, attrs: Ops["Conv2d"]["attrs"], shape: Shape): Float64Array {
  const y = generate(shape, ([, o = 0]) => bias?.data[o] ?? 0);
  forEachConvProduct(x.shape, w.shape, shape, attrs, (yAt, xAt, wAt) => {
    increase(y, yAt, (x.data[xAt] ?? NaN) * (w.data[wAt] ?? NaN));
  });
  return y;
}

/** Splits numbers into rows of one length and maps each. */
function mapRows(
  data: Float64Array,
  length: number,
  map: (row: Float64Array, index: number) => ArrayLike<number>,
): Float64Array {
  const result = new Float64Array(data.length);
  for (let start = 0; start < data.length; start += length)
    result.set(map(data.subarray(start, start + length), start / length), start);
  return result;
}

function sum(row: Float64Array): number {
  return row.reduce((total, x) => total + x, 0);
}

function softmaxRow(row: Float64Array): Float64Array {
  const top = Math.max(...row);
  const exps = row.map((x) => Math.exp(x - top));
  const total = sum(exps);
  return exps.map((x) => x / total);
}

function statistics(row: Float64Array, eps: number): { mean: number; invStd: number } {
  const mean = sum(row) / row.length;
  return { mean, invStd: 1 / Math.sqrt(sum(row.map((x) => (x - mean) ** 2)) / row.length + eps) };
}

function normalizeRow(row: Float64Array, eps: number): Float64Array {
  const { mean, invStd } = statistics(row, eps);
  return row.map((x) => (x - mean) * invStd);
}

/** The gradient of a normalised row by its Jacobian: dx_j = invStd Σ_i ct_i (δ_ij - 1/N - n_i n_j / N). */
function normalizeRowGrad(ct: Float64Array, normalized: Float64Array, invStd: number): Float64Array {
  const count = ct.length;
  return ct.map((_, j) => {
    let total = 0;
    ct.forEach((c, i) => {
      total += c * ((i === j ? 1 : 0) - 1 / count - ((normalized[i] ?? NaN) * (normalized[j] ?? NaN)) / count);
    });
    return invStd * total;
  });
}

function lastSize(shape: Shape): number {
  return shape.at(-1) ?? 1;
}

/** Channel of each element of [B, C, ..]. */
function channelAt(shape: Shape, position: number): number {
  return Math.floor(position / sizeOf(shape.slice(2))) % (shape[1] ?? 1);
}

function normRows(ct: Float64Array, x: Float64Array, length: number, eps: number): Float64Array {
  return mapRows(x, length, (row, i) => {
    const cotangent = ct.subarray(i * length, (i + 1) * length);
    return normalizeRowGrad(cotangent, normalizeRow(row, eps), statistics(row, eps).invStd);
  });
}

/** softmax(scale q kᵀ + mask), [B, H, L, S]. */
function attentionWeights(q: Tensor, k: Tensor, mask: Tensor | undefined, scale: number): Tensor {
  const [batch = 0, heads = 0, queries = 0, width = 0] = q.shape;
  const keys = k.shape[2] ?? 0;
  const shape = [batch, heads, queries, keys];
  const scores = generate(shape, ([b = 0, h = 0, l = 0, s = 0]) => {
    let score = mask ? at(mask, [b, h, l, s]) : 0;
    for (let d = 0; d < width; d++) score += scale * at(q, [b, h, l, d]) * at(k, [b, h, s, d]);
    return score;
  });
  return { shape, data: mapRows(scores, keys, softmaxRow) };
}

function attentionGrad([ct, q, k, v, mask]: Tensors<Ops["AttentionGrad"]["inputs"]>, scale: number): readonly Float64Array[] {
  const weights = attentionWeights(q, k, mask, scale);
  const [, , queries = 0, width = 0] = q.shape;
  const keys = k.shape[2] ?? 0;
  const dWeights = generate(weights.shape, ([b = 0, h = 0, l = 0, s = 0]) => {
    let total = 0;
    for (let d = 0; d < width; d++) total += at(ct, [b, h, l, d]) * at(v, [b, h, s, d]);
    return total;
  });
  const dScores = { shape: weights.shape, data: softmaxGradRows(weights.data, dWeights, keys) };
  const sumKeys = (f: (s: number) => number): number => Array.from({ length: keys }, (_, s) => f(s)).reduce((a, b) => a + b, 0);
  const sumQueries = (f: (l: number) => number): number =>
    Array.from({ length: queries }, (_, l) => f(l)).reduce((a, b) => a + b, 0);
  return [
    generate(q.shape, ([b = 0, h = 0, l = 0, d = 0]) =>
      sumKeys((s) => scale * at(dScores, [b, h, l, s]) * at(k, [b, h, s, d])),
    ),
    generate(k.shape, ([b = 0, h = 0, s = 0, d = 0]) =>
      sumQueries((l) => scale * at(dScores, [b, h, l, s]) * at(q, [b, h, l, d])),
    ),
    generate(v.shape, ([b = 0, h = 0, s = 0, d = 0]) => sumQueries((l) => at(weights, [b, h, l, s]) * at(ct, [b, h, l, d]))),
  ];
}

/** The gradient of a softmax row by its Jacobian: dx_j = Σ_i ct_i y_i (δ_ij - y_j). */
function softmaxGradRows(y: Float64Array, ct: Float64Array, length: number): Float64Array {
  return mapRows(y, length, (row, r) =>
    row.map((yj, j) => {
      let total = 0;
      row.forEach((yi, i) => {
        total += (ct[r * length + i] ?? NaN) * yi * ((i === j ? 1 : 0) - yj);
      });
      return total;
    }),
  );
}

const quickGeluSlope = 1.702;

const rules: { readonly [K in OpName]: Rule<K> } = {
  Input: () => {
    throw new Error("reference: inputs are given, not calculated");
  },
  Constant: (_, { data }) => [Float64Array.from(data)],

  Add: binary((a, b) => a + b),
  Sub: binary((a, b) => a - b),
  Mul: binary((a, b) => a * b),
  Div: binary((a, b) => a / b),
  Min: binary(Math.min),
  Max: binary(Math.max),
  Neg: unary((x) => -x),
  Exp: unary(Math.exp),
  Log: unary(Math.log),
  Sqrt: unary(Math.sqrt),
  Sin: unary(Math.sin),
  Cos: unary(Math.cos),
  Erf: unary(errorFunction),
  Tanh: unary(Math.tanh),
  Sigmoid: unary(sigma),
  Cast: ([x], { dtype }) => [dtype === "int32" ? x.data.map(Math.trunc) : x.data],

  Silu: unary((x) => x * sigma(x)),
  SiluGrad: activationGrad((x) => sigma(x) + x * sigma(x) * (1 - sigma(x))),
  Gelu: unary((x) => x * normalCdf(x)),
  GeluGrad: activationGrad((x) => normalCdf(x) + x * normalDensity(x)),
  QuickGelu: unary((x) => x * sigma(quickGeluSlope * x)),
  QuickGeluGrad: activationGrad((x) => {
    const s = sigma(quickGeluSlope * x);
    return s + quickGeluSlope * x * s * (1 - s);
  }),

  ReduceSum: reduction(0, (a, b) => a + b),
  ReduceMax: reduction(-Infinity, Math.max),

  MatMul: ([a, b], { transA, transB }, shape) => {
    const inner = a.shape.at(transA ? -2 : -1) ?? 0;
    return [
      generate(shape, (index) => {
        const lead = index.slice(0, -2);
        const [m = 0, n = 0] = index.slice(-2);
        let total = 0;
        for (let k = 0; k < inner; k++)
          total += at(a, [...lead, ...(transA ? [k, m] : [m, k])]) * at(b, [...lead, ...(transB ? [n, k] : [k, n])]);
        return total;
      }),
    ];
  },
  Conv2d: ([x, w, bias], attrs, shape) => [conv2d(x, w, bias, attrs, shape)],
  Conv2dGradInput: ([ct, w], attrs) => {
    const dx = new Float64Array(sizeOf(attrs.inputShape));
    forEachConvProduct(attrs.inputShape, w.shape, ct.shape, attrs, (yAt, xAt, wAt) => {
      increase(dx, xAt, (ct.data[yAt] ?? NaN) * (w.data[wAt] ?? NaN));
    });
    return [dx];
  },
  Conv2dGradWeight: ([x, ct], attrs, shape) => {
    const dw = new Float64Array(sizeOf(shape));
    forEachConvProduct(x.shape, shape, ct.shape, attrs, (yAt, xAt, wAt) => {
      increase(dw, wAt, (ct.data[yAt] ?? NaN) * (x.data[xAt] ?? NaN));
    });
    return [dw];
  },

  Reshape: ([x]) => [x.data],
  Transpose: ([x], { perm }, shape) => [
    generate(shape, (index) => at(x, x.shape.map((_, axis) => index[perm.indexOf(axis)] ?? NaN))), // prettier-ignore
  ],
  Expand: ([x], _, shape) => [generate(shape, (index) => at(x, index))],
  Slice: ([x], { starts }, shape) => [
    generate(shape, (index) => x.data[offsetOf(x.shape, index.map((i, axis) => i + (starts[axis] ?? 0)))] ?? NaN), // prettier-ignore
  ],
  Pad: ([x], { before }, shape) => [
    generate(shape, (index) => {
      const source = index.map((i, axis) => i - (before[axis] ?? 0));
      return source.every((i, axis) => i >= 0 && i < (x.shape[axis] ?? 0)) ? at(x, source) : 0;
    }),
  ],
  Concat: (inputs, { axis }, shape) => [
    generate(shape, (index) => {
      let along = index[axis] ?? 0;
      for (const input of inputs) {
        const size = input.shape[axis] ?? 0;
        if (along < size) return at(input, index.map((i, a) => (a === axis ? along : i))); // prettier-ignore
        along -= size;
      }
      return NaN;
    }),
  ],
  UpsampleNearest: ([x], { scale }, shape) => [
    generate(shape, ([b = 0, c = 0, i = 0, j = 0]) => at(x, [b, c, Math.floor(i / scale), Math.floor(j / scale)])),
  ],

  Gather: ([table, indices], _, shape) => [
    generate(shape, (index) => {
      const row = at(indices, index.slice(0, indices.shape.length));
      return table.data[offsetOf(table.shape, [row, ...index.slice(indices.shape.length)])] ?? NaN;
    }),
  ],
  ScatterAdd: ([updates, indices], _, shape) => {
    const result = new Float64Array(sizeOf(shape));
    forEachIndex(updates.shape, (index, position) => {
      const row = indices.data[offsetOf(indices.shape, index.slice(0, indices.shape.length))] ?? NaN;
      increase(result, offsetOf(shape, [row, ...index.slice(indices.shape.length)]), updates.data[position] ?? NaN);
    });
    return [result];
  },

  Softmax: ([x]) => [mapRows(x.data, lastSize(x.shape), softmaxRow)],
  SoftmaxGrad: ([y, ct]) => [softmaxGradRows(y.data, ct.data, lastSize(y.shape))],
  Normalize: ([x], { eps }) => {
    const width = lastSize(x.shape);
    const invStd = Array.from(
      { length: x.data.length / width },
      (_, i) => statistics(x.data.subarray(i * width, (i + 1) * width), eps).invStd,
    );
    return [mapRows(x.data, width, (row) => normalizeRow(row, eps)), Float64Array.from(invStd)];
  },
  NormalizeGrad: ([ct, normalized, invStd]) => {
    const width = lastSize(ct.shape);
    const rowOf = (i: number): Float64Array => normalized.data.subarray(i * width, (i + 1) * width);
    return [mapRows(ct.data, width, (row, i) => normalizeRowGrad(row, rowOf(i), invStd.data[i] ?? NaN))];
  },
  LayerNorm: ([x, scale, bias], { eps }) => [
    mapRows(x.data, lastSize(x.shape), (row) =>
      normalizeRow(row, eps).map((n, i) => n * (scale.data[i] ?? NaN) + (bias.data[i] ?? NaN)),
    ),
  ],
  LayerNormGrad: ([ct, x, scale], { eps }) => {
    const width = lastSize(x.shape);
    const scaled = ct.data.map((c, i) => c * (scale.data[i % width] ?? NaN));
    return [normRows(scaled, x.data, width, eps)];
  },
  GroupNorm: ([x, scale, bias], { groups, eps }) => {
    const rows = mapRows(x.data, x.data.length / ((x.shape[0] ?? 1) * groups), (row) => normalizeRow(row, eps));
    return [rows.map((n, i) => n * (scale.data[channelAt(x.shape, i)] ?? NaN) + (bias.data[channelAt(x.shape, i)] ?? NaN))];
  },
  GroupNormGrad: ([ct, x, scale], { groups, eps }) => {
    const scaled = ct.data.map((c, i) => c * (scale.data[channelAt(x.shape, i)] ?? NaN));
    return [normRows(scaled, x.data, x.data.length / ((x.shape[0] ?? 1) * groups), eps)];
  },
  Attention: ([q, k, v, mask], { scale }, shape) => {
    const weights = attentionWeights(q, k, mask, scale);
    return [
      generate(shape, ([b = 0, h = 0, l = 0, d = 0]) => {
        let total = 0;
        for (let s = 0; s < (k.shape[2] ?? 0); s++) total += at(weights, [b, h, l, s]) * at(v, [b, h, s, d]);
        return total;
      }),
    ];
  },
  AttentionGrad: (inputs, { scale }) => attentionGrad(inputs, scale),

  // Naive loops have no quantised inputs; src/graph/quantise.test.ts has its own.
  Dequantise: ([x]) => [x.data],
  AllReduceMean: (inputs) => inputs.map(({ data }) => data),
  AdamW: ([weight, m, v, grad, rate, correction1, correction2], { beta1, beta2, eps, weightDecay }) => {
    const m1 = m.data.map((old, i) => beta1 * old + (1 - beta1) * (grad.data[i] ?? NaN));
    const v1 = v.data.map((old, i) => beta2 * old + (1 - beta2) * (grad.data[i] ?? NaN) ** 2);
    const [lr = NaN, c1 = NaN, c2 = NaN] = [rate.data[0], correction1.data[0], correction2.data[0]];
    const w1 = weight.data.map((w, i) => {
      const step = (m1[i] ?? NaN) / c1 / (Math.sqrt((v1[i] ?? NaN) / c2) + eps);
      return w - lr * weightDecay * w - lr * step;
    });
    return [w1, m1, v1];
  },
};
