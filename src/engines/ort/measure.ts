/** Measures what the engine does in a second on this machine. */
import { add, matmul, slice } from "../../graph/build.ts";
import { Graph, sizeOf, type Shape, type Value } from "../../graph/graph.ts";
import type { DeviceProfile, Engine } from "../engine.ts";

/** 1024³, the product that processors are usually compared by. */
const matrix: Shape = [1024, 1024];
/** 16 MiB, as large as the activations of a step are; an addition works on two or three of them. */
const vector: Shape = [2 ** 22];
const operations = 4;
const runs = 4;

/** Rates of a large matrix product and of a large addition: the best of a few runs, so that another program's burst does not count. */
export async function measureRates(engine: Engine): Promise<Pick<DeviceProfile, "flopsPerSecond" | "bytesPerSecond">> {
  const productSeconds = await timeOperation(engine, matrix, matmul);
  const additionSeconds = await timeOperation(engine, vector, add);
  return {
    flopsPerSecond: (2 * 1024 ** 3) / productSeconds,
    bytesPerSecond: (3 * 4 * sizeOf(vector)) / additionSeconds,
  };
}

async function timeOperation(engine: Engine, shape: Shape, operation: (a: Value, b: Value) => Value): Promise<number> {
  const name = "gesso.measure";
  const graph = new Graph();
  const x = graph.buffer(name, shape);
  let y = x;
  for (let i = 0; i < operations; i++) y = operation(y, x);
  const none = shape.map(() => 0);
  graph.fetches.set("y", slice(y, none, shape.map(() => 1))); // prettier-ignore
  await engine.allocate({ name, shape, dtype: "float32" }, { kind: "zeros" });
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
