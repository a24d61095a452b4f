/** The base model's weights on the engine: each loaded when the first graph needs it, freed when no graph will. */
import type { BaseModel, ComponentName } from "../checkpoints/base.ts";
import type { Engine, Executable } from "../engines/engine.ts";
import type { FloatDType, Graph } from "../graph/graph.ts";
import { optimise } from "../graph/passes.ts";
import { lowerPrecision } from "../graph/precision.ts";

export interface WeightStore {
  /** Prepares a graph and loads those of its base weights that are not on the engine yet. Other buffers must be there already. */
  compile(graph: Graph, name: string): Promise<Executable>;
  /** Frees a component's weights. No executable that uses them may be run afterwards. */
  free(component: ComponentName): Promise<void>;
}

export function createWeightStore(engine: Engine, base: Pick<BaseModel, "weights">): WeightStore {
  /** By name, what each weight is stored in. */
  const loaded = new Map<string, FloatDType>();
  const lower = (graph: Graph): Graph => {
    if (engine.precision === "float32") return graph;
    // What is encoded or decoded once is worth full precision, and SDXL's VAE overflows in float16.
    const compute = graph.inputs.some(({ attrs }) => attrs.name.startsWith("unet.")) ? engine.precision : "float32";
    const storage = (buffer: string): FloatDType => loaded.get(buffer) ?? (base.weights.has(buffer) ? compute : "float32");
    return lowerPrecision(graph, { compute, storage });
  };
  return {
    async compile(graph, name) {
      const ready = optimise(lower(graph), { keep: engine.composites });
      for (const { attrs } of ready.inputs) {
        const weight = attrs.kind === "buffer" ? base.weights.get(attrs.name) : undefined;
        if (!weight || loaded.has(attrs.name)) continue;
        await engine.allocate({ name: attrs.name, shape: attrs.shape, dtype: attrs.dtype }, weight.source);
        if (attrs.dtype !== "int32") loaded.set(attrs.name, attrs.dtype);
      }
      return engine.compile(ready, { name });
    },
    async free(component) {
      for (const name of [...loaded.keys()].filter((entry) => entry.startsWith(`${component}.`))) {
        await engine.free(name);
        loaded.delete(name);
      }
    },
  };
}
