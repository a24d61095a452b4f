/** Whether an engine computes rightly here, and how fast: a matrix product and an attention, held against float64 in TypeScript. */
import { attention, cast, matmul, slice } from "../graph/build.ts";
import { type FloatDType, Graph, type Value } from "../graph/graph.ts";
import { optimise } from "../graph/passes.ts";
import type { BufferSpec, Engine } from "./engine.ts";

export interface OperationCheck {
  /** "matrix product of 4096 x 4096" */
  readonly what: string;
  readonly flopsPerSecond: number;
  /** Largest difference from the exact result, over that or over the root mean square of all, whichever is larger. */
  readonly worstError: number;
  /** What rounding to the engine's precision explains. */
  readonly bound: number;
}

export interface EngineCheck {
  readonly precision: FloatDType;
  readonly matmul: OperationCheck;
  readonly attention: OperationCheck;
}

/**
 * Inputs are rounded to a relative 2^-9 in bfloat16, 2^-12 in float16 and 2^-25 in float32, outputs again; the largest of thousands of errors is
 * four to five times the usual one. About three times what is measured on a right engine; TF32, which is not wanted, gives 1e-3.
 */
const bounds: Readonly<Record<FloatDType, number>> = { float32: 1e-4, bfloat16: 2e-2, float16: 3e-3 };

/** Of the check, and of the timing on a processor. */
const small = { side: 1024, heads: 4, tokens: 512, width: 64, repeats: 1 };
/** Of the timing where the small ones take no time. */
const large = { side: 4096, heads: 16, tokens: 4096, width: 64, repeats: 4 };
type Sizes = typeof small;

/** What the large sizes may take, going by the small ones: a processor never does them. */
const longestSeconds = 1;
const timedRuns = 3;
const checkedRows = 4;

/** Whether the results are those that arithmetic gives. */
export function isRight({ worstError, bound }: OperationCheck): boolean {
  return worstError <= bound;
}

/**
 * About a second of work on a processor or a card.
 *
 * @throws UserError when the device fails
 * @example if (!isRight((await checkEngine(engine)).matmul)) console.error("this card computes wrong");
 */
export async function checkEngine(engine: Engine): Promise<EngineCheck> {
  const { precision } = engine;
  return {
    precision,
    matmul: await checkOperation(engine, productOf),
    attention: await checkOperation(engine, attentionOf),
  };
}

/** An operation on one buffer, its exact result, and its cost. */
interface Operation {
  readonly what: string;
  readonly shape: readonly number[];
  readonly flops: number;
  /** `y` is what it gave before; `x` at first. */
  apply(y: Value, x: Value): Value;
  /** The first `checkedRows` rows of the result. */
  readonly rows: readonly number[];
  exact(data: Float32Array): Float64Array;
}

async function checkOperation(engine: Engine, make: (sizes: Sizes) => Operation): Promise<OperationCheck> {
  const worstError = await measureError(engine, make(small));
  let operation = make(small);
  let seconds = await time(engine, operation, small.repeats);
  const many = make(large);
  if ((many.flops / operation.flops) * seconds * large.repeats * (timedRuns + 1) < longestSeconds) {
    operation = many;
    seconds = await time(engine, operation, large.repeats);
  }
  return { what: operation.what, flopsPerSecond: operation.flops / seconds, worstError, bound: bounds[engine.precision] };
}

const bufferName = "gesso.check";

async function measureError(engine: Engine, operation: Operation): Promise<number> {
  const data = randomData(operation.shape);
  const result = await withGraph(
    engine,
    operation,
    data,
    1,
    (y) => firstRows(y, operation.rows),
    async (run) => run(),
  );
  const exact = operation.exact(data);
  const rms = Math.sqrt(exact.reduce((sum, x) => sum + x * x, 0) / exact.length);
  let worst = 0;
  // A NaN must not be lost in a comparison.
  for (const [i, right] of exact.entries()) {
    worst = Math.max(worst, Math.abs((result[i] ?? NaN) - right) / Math.max(Math.abs(right), rms));
  }
  return Number.isNaN(worst) ? Infinity : worst;
}

/** Seconds of one application: the best of a few runs, so that another program's burst does not count. */
function time(engine: Engine, operation: Operation, repeats: number): Promise<number> {
  const one = operation.shape.map(() => 1);
  return withGraph(
    engine,
    operation,
    randomData(operation.shape),
    repeats,
    (y) => firstRows(y, one),
    async (run) => {
      await run();
      let best = Infinity;
      for (let i = 0; i < timedRuns; i++) {
        const start = performance.now();
        await run();
        best = Math.min(best, performance.now() - start);
      }
      return best / 1000 / repeats;
    },
  );
}

async function withGraph<T>(
  engine: Engine,
  operation: Operation,
  data: Float32Array,
  repeats: number,
  select: (y: Value) => Value,
  use: (run: () => Promise<Float32Array>) => Promise<T>,
): Promise<T> {
  const spec: BufferSpec = { name: bufferName, shape: operation.shape, dtype: engine.precision };
  const graph = new Graph();
  const x = graph.buffer(spec.name, spec.shape, spec.dtype);
  let y = x;
  for (let i = 0; i < repeats; i++) y = operation.apply(y, x);
  graph.fetches.set("y", cast(select(y), "float32"));
  await engine.allocate(spec, { kind: "data", data });
  try {
    const executable = await engine.compile(optimise(graph, { keep: engine.composites }), { name: bufferName });
    try {
      return await use(async () => (await executable.run({})).y as Float32Array);
    } finally {
      await executable.dispose();
    }
  } finally {
    await engine.free(spec.name);
  }
}

function firstRows(y: Value, rows: readonly number[]): Value {
  return slice(y, rows.map(() => 0), rows); // prettier-ignore
}

/** Y Xᵀ, with X scaled so that the numbers stay as large as they are however often it is applied. */
function productOf({ side }: Sizes): Operation {
  return {
    what: `matrix product of ${side} x ${side}`,
    shape: [side, side],
    flops: 2 * side ** 3,
    apply: (y, x) => matmul(y, x, { transB: true }),
    rows: [checkedRows, side],
    exact(data) {
      const result = new Float64Array(checkedRows * side);
      for (let row = 0; row < checkedRows; row++) {
        for (let column = 0; column < side; column++) result[row * side + column] = dot(data, row, column, side);
      }
      return result;
    },
  };
}

function dot(data: Float32Array, row: number, other: number, width: number): number {
  let sum = 0;
  for (let i = 0; i < width; i++) sum += (data[row * width + i] ?? 0) * (data[other * width + i] ?? 0);
  return sum;
}

/** Attention to one value, at first of itself. */
function attentionOf({ heads, tokens, width }: Sizes): Operation {
  return {
    what: `attention of ${heads} heads over ${tokens} tokens`,
    shape: [1, heads, tokens, width],
    flops: 4 * heads * tokens ** 2 * width,
    apply: (y, x) => attention(y, x, x, 1 / width),
    rows: [1, 1, checkedRows, width],
    exact: (data) => attend(data, tokens, width),
  };
}

/** The first head's first rows. */
function attend(data: Float32Array, tokens: number, width: number): Float64Array {
  const result = new Float64Array(checkedRows * width);
  for (let row = 0; row < checkedRows; row++) {
    const weights = Array.from({ length: tokens }, (_, token) => Math.exp(dot(data, row, token, width) / width));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (const [token, weight] of weights.entries()) {
      for (let i = 0; i < width; i++) {
        result[row * width + i] = (result[row * width + i] ?? 0) + (weight / total) * (data[token * width + i] ?? 0);
      }
    }
  }
  return result;
}

/** Uniform in -1 to 1, over the square root of a row where rows are multiplied, the same on every machine. */
function randomData(shape: readonly number[]): Float32Array {
  const scale = shape.length === 2 ? Math.sqrt(3 / (shape[1] ?? 1)) : 1;
  const data = new Float32Array(shape.reduce((product, side) => product * side, 1));
  let state = 1;
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    data[i] = (state / 2 ** 31) * scale;
  }
  return data;
}
