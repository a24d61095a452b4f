/** Measures what an engine does in a second on this machine. */
import { add, conv2d, matmul, slice } from "../graph/build.ts";
import { byteSizeOf, Graph, type Shape, sizeOf, type Value } from "../graph/graph.ts";
import type { DeviceProfile, Engine, OperationKind, OperationTime } from "./engine.ts";

interface Sizes {
  /** Of the product: a square matrix by itself. */
  readonly matrixSide: number;
  /** Numbers in the addition. */
  readonly vectorLength: number;
}

/** 1024³, the product that processors are usually compared by, and 16 MiB, as large as the activations of a step are. */
export const cpuSizes: Sizes = { matrixSide: 1024, vectorLength: 2 ** 22 };
/** Large enough that starting the work is nothing beside it. */
export const gpuSizes: Sizes = { matrixSide: 8192, vectorLength: 2 ** 27 };
const runs = 4;

/** An operation that can follow on itself. */
interface Sample {
  /** Of its first operand, and of its result. */
  readonly shape: Shape;
  /** Of its second operand. */
  readonly otherShape: Shape;
  readonly operation: (x: Value, other: Value) => Value;
  /** Of one: floating-point operations, or bytes. */
  readonly work: number;
  /** How many in a row, so that a run's own time is little beside them. */
  readonly times: number;
  /** How many operations it is of the same work; default 1. */
  readonly parts?: number;
}

/** Rates of a large matrix product and of a large addition: the best of a few runs, so that another program's burst does not count. */
export async function measureRates(
  engine: Engine,
  { matrixSide, vectorLength }: Sizes,
): Promise<Pick<DeviceProfile, "flopsPerSecond" | "bytesPerSecond">> {
  const [product, addition] = [productOf(matrixSide, matrixSide, 4), additionOf(engine, vectorLength, 4)];
  return {
    flopsPerSecond: product.work / (await timeSample(engine, product)),
    bytesPerSecond: addition.work / (await timeSample(engine, addition)),
  };
}

/**
 * The time of a small and of a large operation of each kind, and the line through them. Small ones are as in `mini`, where starting an
 * operation takes as long as doing it.
 *
 * @param rates as `measureRates` measured them: of a large product and of a large addition
 */
export async function measureKinds(
  engine: Engine,
  { matrixSide, vectorLength }: Sizes,
  rates: Pick<DeviceProfile, "flopsPerSecond" | "bytesPerSecond">,
): Promise<Readonly<Record<OperationKind, OperationTime>>> {
  const line = async (small: Sample, large: Sample, rate?: number): Promise<OperationTime> => {
    const low = await timeSample(engine, small);
    const high = rate === undefined ? await timeSample(engine, large) : large.work / rate;
    const workPerSecond = (large.work - small.work) / Math.max(high - low, 1e-9);
    return { workPerSecond, fixedSeconds: Math.max(0, low - small.work / workPerSecond) };
  };
  return {
    product: await line(productOf(256, 128, 64), productOf(matrixSide, matrixSide, 4), rates.flopsPerSecond),
    convolution: await line(convolutionOf([4, 128, 4, 4], 32), convolutionOf([4, 128, 32, 32], 2)),
    elementwise: await line(additionOf(engine, 2 ** 10, 128), additionOf(engine, vectorLength, 4), rates.bytesPerSecond),
    lowRank: await line(lowRankOf(64, 128, 32), lowRankOf(4096, 640, 4)),
  };
}

/** A matrix of `rows` rows times a square one. */
function productOf(rows: number, side: number, times: number): Sample {
  const work = 2 * rows * side ** 2;
  return { shape: [rows, side], otherShape: [side, side], operation: (x, other) => matmul(x, other), work, times };
}

/** Down to a rank of 8 and up again, as a LoRA does: the mean of the two. */
function lowRankOf(rows: number, width: number, times: number): Sample {
  const operation = (x: Value, down: Value): Value => matmul(matmul(x, down, { transB: true }), down);
  return { shape: [rows, width], otherShape: [8, width], operation, work: 2 * rows * width * 8, times, parts: 2 };
}

function additionOf({ precision }: Engine, length: number, times: number): Sample {
  const work = 3 * byteSizeOf({ shape: [length], dtype: precision });
  return { shape: [length], otherShape: [length], operation: add, work, times };
}

/** 3 x 3, to as many channels. */
function convolutionOf(shape: readonly [number, number, number, number], times: number): Sample {
  const channels = shape[1];
  const operation = (x: Value, other: Value): Value => conv2d(x, other, undefined, { padding: 1 });
  return { shape, otherShape: [channels, channels, 3, 3], operation, work: 2 * sizeOf(shape) * channels * 9, times };
}

/** Seconds of one. */
async function timeSample(engine: Engine, { shape, otherShape, operation, times, parts = 1 }: Sample): Promise<number> {
  const dtype = engine.precision;
  const names = ["gesso.measure", "gesso.measure.other"] as const;
  const graph = new Graph();
  const [x, other] = [graph.buffer(names[0], shape, dtype), graph.buffer(names[1], otherShape, dtype)];
  let y: Value = x;
  for (let i = 0; i < times; i++) y = operation(y, other);
  const none = shape.map(() => 0);
  graph.fetches.set("y", slice(y, none, shape.map(() => 1))); // prettier-ignore
  await engine.allocate({ name: names[0], shape, dtype }, { kind: "zeros" });
  await engine.allocate({ name: names[1], shape: otherShape, dtype }, { kind: "zeros" });
  const executable = await engine.compile(graph, { name: names[0] });
  try {
    await executable.run({});
    let best = Infinity;
    for (let i = 0; i < runs; i++) {
      const start = performance.now();
      await executable.run({});
      best = Math.min(best, performance.now() - start);
    }
    return best / 1000 / times / parts;
  } finally {
    await executable.dispose();
    for (const name of names) await engine.free(name);
  }
}
