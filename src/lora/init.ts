/** What an adapter holds before its first step. */
import { sizeOf } from "../graph/graph.ts";
import { adapterShapes } from "./inject.ts";
import type { AdapterTarget } from "./targets.ts";

/**
 * `down` is Kaiming-uniform with a = √5, that is uniform in ±1/√(inputs of one output), and `up` is zero, so that training starts
 * from the base model unchanged (Hu et al. 2021, section 4.1; the initialisation of loralib and sd-scripts).
 *
 * @param uniform gives `count` numbers in [0, 1)
 */
export function initialAdapter(
  target: AdapterTarget,
  rank: number,
  uniform: (count: number) => Float32Array,
): { down: Float32Array; up: Float32Array } {
  const shapes = adapterShapes(target.weightShape, rank);
  const bound = 1 / Math.sqrt(sizeOf(shapes.down) / rank);
  return {
    down: uniform(sizeOf(shapes.down)).map((u) => (2 * u - 1) * bound),
    up: new Float32Array(sizeOf(shapes.up)),
  };
}
