/** The base model's weights on the engine: each loaded when the first graph needs it, freed when no graph will. */
import type { BaseModel, ComponentName } from "../checkpoints/base.ts";
import type { CompileOptions, Engine, Executable } from "../engines/engine.ts";
import type { Graph } from "../graph/graph.ts";
import { optimise } from "../graph/passes.ts";

export interface WeightStore {
  /** Prepares a graph and loads those of its base weights that are not on the engine yet. Other buffers must be there already. */
  compile(graph: Graph, name: string, options?: Omit<CompileOptions, "name">): Promise<Executable>;
  /** Frees a component's weights. No executable that uses them may be run afterwards. */
  free(component: ComponentName): Promise<void>;
}

export function createWeightStore(engine: Engine, base: Pick<BaseModel, "weights">): WeightStore {
  const loaded = new Set<string>();
  return {
    async compile(graph, name, options) {
      const ready = optimise(graph, { keep: engine.composites });
      for (const { attrs } of ready.inputs) {
        const weight = attrs.kind === "buffer" ? base.weights.get(attrs.name) : undefined;
        if (!weight || loaded.has(attrs.name)) continue;
        await engine.allocate({ name: attrs.name, shape: attrs.shape, dtype: attrs.dtype }, weight.source);
        loaded.add(attrs.name);
      }
      return engine.compile(ready, { ...options, name });
    },
    async free(component) {
      for (const name of [...loaded].filter((entry) => entry.startsWith(`${component}.`))) {
        await engine.free(name);
        loaded.delete(name);
      }
    },
  };
}
