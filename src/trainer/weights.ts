/** The base model's weights on the engine: each loaded when the first graph needs it, freed when no graph will. */
import type { BaseModel, ComponentName } from "../checkpoints/base.ts";
import { readBaseWeight } from "../checkpoints/read-weight.ts";
import type { Engine, Executable, TensorSource } from "../engines/engine.ts";
import type { Graph } from "../graph/graph.ts";
import { optimise } from "../graph/passes.ts";
import type { WeightChange } from "../lora/read.ts";

export interface WeightStore {
  /** Prepares a graph and loads those of its base weights that are not on the engine yet. Other buffers must be there already. */
  compile(graph: Graph, name: string): Promise<Executable>;
  /** Frees a component's weights. No executable that uses them may be run afterwards. */
  free(component: ComponentName): Promise<void>;
}

/** A change of a base weight and how strongly it acts; 1 is as trained. */
export interface ScaledChange {
  readonly change: WeightChange;
  readonly strength: number;
}

/**
 * @param changes what adapters that are not of low rank add to the base's weights when these are loaded
 */
export function createWeightStore(
  engine: Engine,
  base: Pick<BaseModel, "weights">,
  changes: readonly ScaledChange[] = [],
): WeightStore {
  const loaded = new Set<string>();
  const sourceOf = async (name: string, source: TensorSource): Promise<TensorSource> => {
    const own = changes.filter(({ change }) => change.weight === name);
    return own.length === 0 ? source : { kind: "data", data: await readChanged(base, name, own) };
  };
  return {
    async compile(graph, name) {
      const ready = optimise(graph, { keep: engine.composites });
      for (const { attrs } of ready.inputs) {
        const weight = attrs.kind === "buffer" ? base.weights.get(attrs.name) : undefined;
        if (!weight || loaded.has(attrs.name)) continue;
        await engine.allocate(
          { name: attrs.name, shape: attrs.shape, dtype: attrs.dtype },
          await sourceOf(attrs.name, weight.source),
        );
        loaded.add(attrs.name);
      }
      return engine.compile(ready, { name });
    },
    async free(component) {
      for (const name of [...loaded].filter((entry) => entry.startsWith(`${component}.`))) {
        await engine.free(name);
        loaded.delete(name);
      }
    },
  };
}

/** A base weight with what adapters do to it, each reckoned from the base's own. */
async function readChanged(
  base: Pick<BaseModel, "weights">,
  name: string,
  changes: readonly ScaledChange[],
): Promise<Float32Array> {
  const weight = await readBaseWeight(base, name);
  const sum = weight.slice();
  for (const { change, strength } of changes) {
    const delta = await change.read(() => Promise.resolve(weight));
    for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + strength * (delta[i] ?? 0);
  }
  return sum;
}
