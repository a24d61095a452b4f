/**
 * Measures, in one process, the forms in which ONNX Runtime can run an operation that it has no kernel for, or several. Ratios are
 * to the form that src/engines/ort uses.
 *
 *   npx tsx bench/ort-forms.ts [threads]
 */
import { InferenceSession, Tensor } from "onnxruntime-node";
import { ModelBuilder, type OnnxName } from "../src/engines/ort/emit.ts";
import { sizeOf, type Shape } from "../src/graph/graph.ts";

interface Form {
  readonly name: string;
  /** Whether src/engines/ort lowers to it. */
  readonly isUsed?: boolean;
  readonly build: (model: ModelBuilder, inputs: readonly OnnxName[]) => OnnxName;
}

interface Group {
  readonly title: string;
  readonly inputs: readonly Shape[];
  readonly output: Shape;
  readonly forms: readonly Form[];
}

const threads = Number(process.argv[2] ?? 2);
const rounds = 30;

async function open({ inputs, output }: Group, form: Form): Promise<() => Promise<number>> {
  const model = new ModelBuilder();
  const names = inputs.map((shape, i) => {
    model.input(`in${i}`, { shape, dtype: "float32" });
    return `in${i}`;
  });
  model.output("out", { shape: output, dtype: "float32" }, form.build(model, names));
  const session = await InferenceSession.create(model.toBytes(), {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "disabled",
    logSeverityLevel: 3,
  });
  const feeds = Object.fromEntries(
    inputs.map((shape, i) => {
      const data = Float32Array.from({ length: sizeOf(shape) }, (_, j) => Math.sin(j * 12.9898 + i));
      return [`in${i}`, new Tensor("float32", data, shape)];
    }),
  );
  const fetches = { out: new Tensor("float32", new Float32Array(sizeOf(output)), output) };
  return async () => {
    const start = performance.now();
    await session.run(feeds, fetches);
    return performance.now() - start;
  };
}

/** The forms take turns, and the best of many runs counts: other programs disturb all alike. */
async function compare(group: Group): Promise<void> {
  const runs = await Promise.all(group.forms.map((form) => open(group, form)));
  const best = runs.map(() => Infinity);
  for (let round = 0; round < rounds; round++) {
    for (const [i, run] of runs.entries()) best[i] = Math.min(best[i] ?? Infinity, await run());
  }
  const used = best[group.forms.findIndex((form) => form.isUsed)] ?? NaN;
  console.log(group.title);
  group.forms.forEach(({ name, isUsed }, i) => {
    const ms = best[i] ?? NaN;
    console.log(`  ${(ms / used).toFixed(2).padStart(6)}  ${ms.toFixed(3).padStart(9)} ms  ${name}${isUsed ? " (used)" : ""}`);
  });
}

interface ConvCase {
  readonly batch: number;
  readonly channels: number;
  readonly out: number;
  readonly side: number;
}

const flipped = (model: ModelBuilder, w: OnnxName): OnnxName => {
  const swapped = model.node("Transpose", [w], { perm: [1, 0, 2, 3] });
  const [from, to, axes, steps] = [
    [-1, -1],
    [-9, -9],
    [2, 3],
    [-1, -1],
  ].map((list) => model.int64s(list));
  return model.node(
    "Slice",
    [swapped, from, to, axes, steps].map((name) => name ?? ""),
  );
};

/** Nine numbers backwards, as a product. */
const backwards = (model: ModelBuilder): OnnxName =>
  model.constant(
    Array.from({ length: 81 }, (_, i) => (Math.floor(i / 9) + (i % 9) === 8 ? 1 : 0)),
    [1, 9, 9],
  );

/** [O, C, 3, 3] -> [C, O, 3, 3] with every kernel turned round, by products with a 9x9 matrix. */
const flippedByProduct = (model: ModelBuilder, w: OnnxName, out: number, channels: number): OnnxName => {
  const rows = model.node("Reshape", [w, model.int64s([out, channels, 9])]);
  const product = model.node("com.microsoft:FusedMatMul", [rows, backwards(model)], { transBatchA: 1 });
  return model.node("Reshape", [product, model.int64s([channels, out, 3, 3])]);
};
const flippedByProductThenTranspose = (model: ModelBuilder, w: OnnxName, out: number, channels: number): OnnxName => {
  const product = model.node("MatMul", [model.node("Reshape", [w, model.int64s([1, out * channels, 9])]), backwards(model)]);
  const split = model.node("Reshape", [product, model.int64s([out, channels, 9])]);
  return model.node("Reshape", [model.node("Transpose", [split], { perm: [1, 0, 2] }), model.int64s([channels, out, 3, 3])]);
};

/** The nine parts of x, padded by one, that the places of a 3x3 kernel see; `wrap` shapes each. */
function windows(model: ModelBuilder, x: OnnxName, side: number, wrap: (part: OnnxName) => OnnxName): OnnxName[] {
  const padded = model.node("Pad", [x, model.int64s([0, 0, 1, 1, 0, 0, 1, 1])]);
  return Array.from({ length: 9 }, (_, place) => {
    const [i, j] = [Math.floor(place / 3), place % 3];
    return wrap(model.node("Slice", [padded, model.int64s([i, j]), model.int64s([i + side, j + side]), model.int64s([2, 3])]));
  });
}

/** The nine windows of the whole batch: [B, C, H, W] -> [C, 9, B H W]. */
function batchWindows(
  model: ModelBuilder,
  x: OnnxName,
  { batch, channels, side }: Pick<ConvCase, "batch" | "channels" | "side">,
): OnnxName {
  const turned = model.node("Transpose", [x], { perm: [1, 0, 2, 3] });
  const shape = model.int64s([channels, 1, batch * side * side]);
  const parts = windows(model, turned, side, (part) => model.node("Reshape", [part, shape]));
  return model.node("Concat", parts, { axis: 1 });
}

function convGradInput({ batch, channels, out, side }: ConvCase): Group {
  const area = side * side;
  return {
    title: `3x3 convolution, gradient of the input: batch ${batch}, ${channels} -> ${out}, ${side}x${side}`,
    inputs: [
      [batch, out, side, side],
      [out, channels, 3, 3],
    ],
    output: [batch, channels, side, side],
    forms: [
      { name: "ConvTranspose", build: (m, [ct = "", w = ""]) => m.node("ConvTranspose", [ct, w], { pads: [1, 1, 1, 1] }) },
      {
        name: "Conv with flipped weights",
        build: (m, [ct = "", w = ""]) => m.node("Conv", [ct, flipped(m, w)], { pads: [1, 1, 1, 1] }),
      },
      {
        name: "Conv with weights flipped by batched products",
        isUsed: true,
        build: (m, [ct = "", w = ""]) => m.node("Conv", [ct, flippedByProduct(m, w, out, channels)], { pads: [1, 1, 1, 1] }),
      },
      {
        name: "Conv with weights flipped by a product, then transposed",
        build: (m, [ct = "", w = ""]) =>
          m.node("Conv", [ct, flippedByProductThenTranspose(m, w, out, channels)], { pads: [1, 1, 1, 1] }),
      },
      {
        name: "Conv with weights transposed, not flipped",
        build: (m, [ct = "", w = ""]) =>
          m.node("Conv", [ct, m.node("Transpose", [w], { perm: [1, 0, 2, 3] })], { pads: [1, 1, 1, 1] }),
      },
      {
        name: "Conv, as if the weights were flipped already",
        build: (m, [ct = "", w = ""]) =>
          m.node("Conv", [ct, m.node("Reshape", [w, m.int64s([channels, out, 3, 3])])], { pads: [1, 1, 1, 1] }),
      },
      {
        name: "one product over windows of the whole batch",
        build: (m, [ct = "", w = ""]) => {
          const turned = m.node("Transpose", [ct], { perm: [1, 0, 2, 3] });
          const rows = windows(m, turned, side, (part) =>
            m.node("Reshape", [part, m.int64s([out, batch * area])]),
          ).toReversed();
          const columns = m.node("Concat", rows, { axis: 0 }); // [9 O, B HW]
          const weights = m.node("Transpose", [m.node("Reshape", [w, m.int64s([out, channels, 9])])], { perm: [2, 0, 1] });
          const flat = m.node("Reshape", [weights, m.int64s([9 * out, channels])]);
          const product = m.node("com.microsoft:FusedMatMul", [flat, columns], { transA: 1 });
          const split = m.node("Reshape", [product, m.int64s([channels, batch, side, side])]);
          return m.node("Transpose", [split], { perm: [1, 0, 2, 3] });
        },
      },
    ],
  };
}

function convGradWeight({ batch, channels, out, side }: ConvCase): Group {
  const area = side * side;
  const fused = (m: ModelBuilder, a: OnnxName, b: OnnxName): OnnxName =>
    m.node("com.microsoft:FusedMatMul", [a, b], { transB: 1 });
  const sumBatch = (m: ModelBuilder, x: OnnxName): OnnxName => m.node("ReduceSum", [x, m.int64s([0])], { keepdims: 0 });
  return {
    title: `3x3 convolution, gradient of the weight: batch ${batch}, ${channels} -> ${out}, ${side}x${side}`,
    inputs: [
      [batch, channels, side, side],
      [batch, out, side, side],
    ],
    output: [out, channels, 3, 3],
    forms: [
      {
        name: "nine products",
        build: (m, [x = "", ct = ""]) => {
          const rows = m.node("Reshape", [ct, m.int64s([batch, out, area])]);
          const parts = windows(m, x, side, (part) => {
            const sum = sumBatch(m, fused(m, rows, m.node("Reshape", [part, m.int64s([batch, channels, area])])));
            return m.node("Reshape", [sum, m.int64s([out, channels, 1])]);
          });
          return m.node("Reshape", [m.node("Concat", parts, { axis: 2 }), m.int64s([out, channels, 3, 3])]);
        },
      },
      {
        name: "one product per picture over windows",
        build: (m, [x = "", ct = ""]) => {
          const rows = m.node("Reshape", [ct, m.int64s([batch, out, area])]);
          const shape = m.int64s([batch, channels, 1, area]);
          const columns = m.node(
            "Concat",
            windows(m, x, side, (part) => m.node("Reshape", [part, shape])),
            { axis: 2 },
          );
          const product = fused(m, rows, m.node("Reshape", [columns, m.int64s([batch, channels * 9, area])]));
          return m.node("Reshape", [sumBatch(m, product), m.int64s([out, channels, 3, 3])]);
        },
      },
      {
        name: "one product over windows of the whole batch",
        build: (m, [x = "", ct = ""]) => {
          const columns = batchWindows(m, x, { batch, channels, side });
          const cts = m.node("Transpose", [ct], { perm: [1, 0, 2, 3] });
          const rows = m.node("Reshape", [cts, m.int64s([out, batch * area])]);
          const product = fused(m, rows, m.node("Reshape", [columns, m.int64s([channels * 9, batch * area])]));
          return m.node("Reshape", [product, m.int64s([out, channels, 3, 3])]);
        },
      },
      {
        name: "nine products over the whole batch",
        build: (m, [x = "", ct = ""]) => {
          const turned = m.node("Transpose", [x], { perm: [1, 0, 2, 3] });
          const cts = m.node("Reshape", [m.node("Transpose", [ct], { perm: [1, 0, 2, 3] }), m.int64s([out, batch * area])]);
          const shape = m.int64s([channels, batch * area]);
          const parts = windows(m, turned, side, (part) =>
            m.node("Reshape", [fused(m, cts, m.node("Reshape", [part, shape])), m.int64s([out, channels, 1])]),
          );
          return m.node("Reshape", [m.node("Concat", parts, { axis: 2 }), m.int64s([out, channels, 3, 3])]);
        },
      },
      {
        name: "nine products over the whole batch, stacked first",
        isUsed: true,
        build: (m, [x = "", ct = ""]) => {
          const turned = m.node("Transpose", [x], { perm: [1, 0, 2, 3] });
          const cts = m.node("Reshape", [m.node("Transpose", [ct], { perm: [1, 0, 2, 3] }), m.int64s([out, batch * area])]);
          const shape = m.int64s([channels, batch * area]);
          const parts = windows(m, turned, side, (part) =>
            m.node("Reshape", [fused(m, cts, m.node("Reshape", [part, shape])), m.int64s([1, out * channels])]),
          );
          const stacked = m.node("Transpose", [m.node("Concat", parts, { axis: 0 })], { perm: [1, 0] });
          return m.node("Reshape", [stacked, m.int64s([out, channels, 3, 3])]);
        },
      },
      {
        name: "nine products over the whole batch, as a batch",
        build: (m, [x = "", ct = ""]) => {
          const turned = m.node("Transpose", [x], { perm: [1, 0, 2, 3] });
          const cts = m.node("Reshape", [m.node("Transpose", [ct], { perm: [1, 0, 2, 3] }), m.int64s([out, batch * area])]);
          const shape = m.int64s([1, channels, batch * area]);
          const columns = m.node(
            "Concat",
            windows(m, turned, side, (part) => m.node("Reshape", [part, shape])),
            { axis: 0 },
          );
          const product = m.node("Reshape", [fused(m, cts, columns), m.int64s([9, out * channels])]);
          return m.node("Reshape", [m.node("Transpose", [product], { perm: [1, 0] }), m.int64s([out, channels, 3, 3])]);
        },
      },
      {
        name: "one Conv with the cotangent as kernel",
        build: (m, [x = "", ct = ""]) => {
          const [a, b] = [x, ct].map((name) => m.node("Transpose", [name], { perm: [1, 0, 2, 3] }));
          return m.node("Transpose", [m.node("Conv", [a ?? "", b ?? ""], { pads: [1, 1, 1, 1] })], { perm: [1, 0, 2, 3] });
        },
      },
    ],
  };
}

function convForward({ batch, channels, out, side }: ConvCase): Group {
  const area = side * side;
  return {
    title: `3x3 convolution: batch ${batch}, ${channels} -> ${out}, ${side}x${side}`,
    inputs: [[batch, channels, side, side], [out, channels, 3, 3], [out]],
    output: [batch, out, side, side],
    forms: [
      { name: "Conv", isUsed: true, build: (m, inputs) => m.node("Conv", inputs, { pads: [1, 1, 1, 1] }) },
      {
        name: "one product over windows of the whole batch",
        build: (m, [x = "", w = "", bias = ""]) => {
          const columns = batchWindows(m, x, { batch, channels, side });
          const flat = m.node("Reshape", [columns, m.int64s([channels * 9, batch * area])]);
          const product = m.node("MatMul", [m.node("Reshape", [w, m.int64s([out, channels * 9])]), flat]);
          const split = m.node("Reshape", [product, m.int64s([out, batch, side, side])]);
          const y = m.node("Transpose", [split], { perm: [1, 0, 2, 3] });
          return m.node("Add", [y, m.node("Reshape", [bias, m.int64s([out, 1, 1])])]);
        },
      },
    ],
  };
}

/** Rows brought to mean 0 and variance 1, and one over their deviation. */
function normalize(rows: number, width: number): Group {
  const axis = (m: ModelBuilder): OnnxName => m.int64s([1]);
  return {
    title: `normalised rows: ${rows} of ${width}`,
    inputs: [[rows, width]],
    output: [rows, width],
    forms: [
      {
        name: "LayerNormalization",
        isUsed: true,
        build: (m, [x = ""]) => {
          const ones = m.constant(new Float32Array(width).fill(1), [width]);
          return m.node("LayerNormalization", [x, ones], { axis: -1, epsilon: { float: 1e-5 } });
        },
      },
      {
        name: "means, differences and squares",
        build: (m, [x = ""]) => {
          const centred = m.node("Sub", [x, m.node("ReduceMean", [x, axis(m)], { keepdims: 1 })]);
          const variance = m.node("ReduceMean", [m.node("Mul", [centred, centred]), axis(m)], { keepdims: 1 });
          return m.node("Div", [centred, m.node("Sqrt", [m.node("Add", [variance, m.constant([1e-5], [])])])]);
        },
      },
      {
        name: "InstanceNormalization",
        build: (m, [x = ""]) => {
          const spread = m.node("Reshape", [x, m.int64s([1, rows, width])]);
          const [ones, zeros] = [1, 0].map((value) => m.constant(new Float32Array(rows).fill(value), [rows]));
          const y = m.node("InstanceNormalization", [spread, ones ?? "", zeros ?? ""], { epsilon: { float: 1e-5 } });
          return m.node("Reshape", [y, m.int64s([rows, width])]);
        },
      },
    ],
  };
}

/** The sums over rows that the gradient of a normalisation needs: of ct, and of ct x normalised. */
function normalizeGradSums(rows: number, width: number): Group {
  return {
    title: `sum of products along rows: ${rows} of ${width}`,
    inputs: [
      [rows, width],
      [rows, width],
    ],
    output: [rows, 1],
    forms: [
      {
        name: "Mul and ReduceSum",
        isUsed: true,
        build: (m, inputs) => m.node("ReduceSum", [m.node("Mul", inputs), m.int64s([1])], { keepdims: 1 }),
      },
      {
        name: "a batch of products of one row each",
        build: (m, [a = "", b = ""]) => {
          const row = m.node("Reshape", [a, m.int64s([rows, 1, width])]);
          const column = m.node("Reshape", [b, m.int64s([rows, width, 1])]);
          return m.node("Reshape", [m.node("MatMul", [row, column]), m.int64s([rows, 1])]);
        },
      },
    ],
  };
}

const cases: readonly ConvCase[] = [
  { batch: 4, channels: 256, out: 256, side: 4 },
  { batch: 4, channels: 256, out: 256, side: 8 },
  { batch: 4, channels: 128, out: 128, side: 16 },
  { batch: 4, channels: 64, out: 64, side: 16 },
  { batch: 1, channels: 320, out: 320, side: 32 },
];

for (const convCase of cases) {
  await compare(convForward(convCase));
  await compare(convGradInput(convCase));
  await compare(convGradWeight(convCase));
}
for (const [rows, width] of [
  [128, 512],
  [1024, 256],
  [32, 40960],
] as const) {
  await compare(normalize(rows, width));
  await compare(normalizeGradSums(rows, width));
}
