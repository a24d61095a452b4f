/** Measures what an engine does in a second on this machine. */
import { add, matmul, slice } from "../graph/build.ts";
import { byteSizeOf, type DType, Graph, type Shape, type Value } from "../graph/graph.ts";
import type { DeviceProfile, Engine } from "./engine.ts";

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
const operations = 4;
const runs = 4;

/** Rates of a large matrix product and of a large addition: the best of a few runs, so that another program's burst does not count. */
export async function measureRates(
  engine: Engine,
  { matrixSide, vectorLength }: Sizes,
): Promise<Pick<DeviceProfile, "flopsPerSecond" | "bytesPerSecond">> {
  const dtype = engine.precision;
  const productSeconds = await timeOperation(engine, { shape: [matrixSide, matrixSide], dtype }, matmul);
  const vector = { shape: [vectorLength], dtype };
  const additionSeconds = await timeOperation(engine, vector, add);
  return {
    flopsPerSecond: (2 * matrixSide ** 3) / productSeconds,
    bytesPerSecond: (3 * byteSizeOf(vector)) / additionSeconds,
  };
}

async function timeOperation(
  engine: Engine,
  { shape, dtype }: { readonly shape: Shape; readonly dtype: DType },
  operation: (a: Value, b: Value) => Value,
): Promise<number> {
  const name = "gesso.measure";
  const graph = new Graph();
  const x = graph.buffer(name, shape, dtype);
  let y = x;
  for (let i = 0; i < operations; i++) y = operation(y, x);
  const none = shape.map(() => 0);
  graph.fetches.set("y", slice(y, none, shape.map(() => 1))); // prettier-ignore
  await engine.allocate({ name, shape, dtype }, { kind: "zeros" });
  const executable = await engine.compile(graph, { name });
  try {
    await executable.run({});
    let best = Infinity;
    for (let i = 0; i < runs; i++) {
      const start = performance.now();
      await executable.run({});
      best = Math.min(best, performance.now() - start);
    }
    return best / 1000 / operations;
  } finally {
    await executable.dispose();
    await engine.free(name);
  }
}
