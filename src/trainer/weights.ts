/** The base model's weights on the engine: each loaded when the first graph needs it, freed when no graph will. */
import type { BaseModel, ComponentName } from "../checkpoints/base.ts";
import { readBaseWeight } from "../checkpoints/read-weight.ts";
import type { CompileOptions, Engine, Executable, TensorSource } from "../engines/engine.ts";
import type { FloatDType, Graph, Shape, WeightDType } from "../graph/graph.ts";
import { optimise } from "../graph/passes.ts";
import { lowerPrecision } from "../graph/precision.ts";
import type { WeightChange } from "../lora/read.ts";

/** How a graph is prepared, beside its name. */
export interface GraphOptions extends Omit<CompileOptions, "name"> {
  /** Compute activations again instead of keeping them. */
  readonly recompute?: boolean;
}

export interface WeightStore {
  /** Prepares a graph and loads those of its base weights that are not on the engine yet. Other buffers must be there already. */
  compile(graph: Graph, name: string, options?: GraphOptions): Promise<Executable>;
  /** What adapters that are not of low rank add to the base's weights, in place of what they added before. */
  setChanges(changes: readonly ScaledChange[]): Promise<void>;
  /** Frees the weights of a component, or of the VAE's encoder alone. No executable that uses them may be run afterwards. */
  free(component: ComponentName | "vae.encoder"): Promise<void>;
}

/** A change of a base weight and how strongly it acts; 1 is as trained. */
export interface ScaledChange {
  readonly change: WeightChange;
  /** The adapter's file. */
  readonly path: string;
  readonly strength: number;
}

/** @param options.basePrecision what the UNet's matrices and kernels are kept in; the engine's precision where absent */
export function createWeightStore(
  engine: Engine,
  base: Pick<BaseModel, "weights">,
  { basePrecision = engine.precision }: { readonly basePrecision?: WeightDType } = {},
): WeightStore {
  /** By name, what each weight is stored in. */
  const loaded = new Map<string, WeightDType>();
  let changes: readonly ScaledChange[] = [];
  const contents = (name: string): Promise<Float32Array> => readChanged(base, name, changesOf(changes, name));
  const storedIn = (buffer: string): WeightDType | undefined =>
    loaded.get(buffer) ?? (base.weights.has(buffer) ? undefined : "float32");
  return {
    async compile(graph, name, { recompute, ...options } = {}) {
      const ready = prepareGraph(graph, engine, { recompute, storedIn, basePrecision });
      for (const { attrs } of ready.inputs) {
        const weight = attrs.kind === "buffer" ? base.weights.get(attrs.name) : undefined;
        if (!weight || loaded.has(attrs.name)) continue;
        const isChanged = changesOf(changes, attrs.name).length > 0;
        const source: TensorSource = isChanged ? { kind: "data", data: await contents(attrs.name) } : weight.source;
        await engine.allocate({ name: attrs.name, shape: attrs.shape, dtype: attrs.dtype }, source);
        if (attrs.dtype !== "int32") loaded.set(attrs.name, attrs.dtype);
      }
      return engine.compile(ready, { ...options, name });
    },
    async setChanges(next) {
      const before = changes;
      changes = next;
      for (const name of new Set([...before, ...next].map(({ change }) => change.weight))) {
        if (!loaded.has(name) || keyOf(changesOf(before, name)) === keyOf(changesOf(next, name))) continue;
        await engine.write(name, await contents(name));
      }
    },
    async free(component) {
      for (const name of [...loaded.keys()].filter((entry) => entry.startsWith(`${component}.`))) {
        await engine.free(name);
        loaded.delete(name);
      }
    },
  };
}

/**
 * The graph as the engine will run it: in its precision, in its operators, in an order that takes little memory.
 *
 * @param options.storedIn the type of a buffer that has one already; undefined for a base weight that is yet to be loaded
 * @param options.basePrecision what the UNet's matrices and kernels are kept in, where that is not the engine's precision
 */
export function prepareGraph(
  graph: Graph,
  engine: Pick<Engine, "composites" | "precision">,
  { recompute = false, ...options }: PrepareOptions,
): Graph {
  const remat = recompute ? { remat: { blocks: "all" } as const } : {};
  return optimise(lower(graph, engine.precision, options), { keep: engine.composites, ...remat });
}

interface PrepareOptions {
  readonly recompute?: boolean | undefined;
  readonly storedIn: (buffer: string) => WeightDType | undefined;
  readonly basePrecision?: WeightDType | undefined;
}

function lower(graph: Graph, precision: FloatDType, { storedIn, basePrecision = precision }: PrepareOptions): Graph {
  if (precision === "float32" && basePrecision === "float32") return graph;
  // What is encoded or decoded once is worth full precision, and SDXL's VAE overflows in float16.
  const compute = graph.inputs.some(({ attrs }) => attrs.name.startsWith("unet.")) ? precision : "float32";
  const storage = (buffer: string, shape: Shape): WeightDType =>
    storedIn(buffer) ?? (isUnetMatrix(buffer, shape) ? basePrecision : compute);
  return lowerPrecision(graph, { compute, storage });
}

/** Of linear layers and convolutions: what is large, and multiplied with. Scales and biases of norms are neither. */
function isUnetMatrix(name: string, shape: Shape): boolean {
  return name.startsWith("unet.") && name.endsWith(".weight") && shape.length >= 2;
}

function changesOf(changes: readonly ScaledChange[], name: string): readonly ScaledChange[] {
  return changes.filter(({ change }) => change.weight === name);
}

function keyOf(changes: readonly ScaledChange[]): string {
  return JSON.stringify(changes.map(({ path, strength }) => [path, strength]));
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
