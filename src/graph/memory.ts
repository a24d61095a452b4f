/** What a graph takes in memory, counted from the graph alone. */
import { removeDeadCode } from "./dead-code.ts";
import { byteSizeOf, type Graph, shapesEqual, sumBytes, type Value } from "./graph.ts";
import { rewrite } from "./rewrite.ts";
import { type LivenessOptions, measureLiveness } from "./schedule.ts";

/** Bytes, by what they are for. */
export interface GraphMemory {
  /** Every buffer that the graph reads or writes, by its name; with its second array where it has one. */
  readonly buffers: ReadonlyMap<string, number>;
  readonly feeds: number;
  /** Copies that the engine makes of what a run gives, gradients for the optimizer among them; they go with the run. */
  readonly results: number;
  /** The most that is alive at once of all else that a run computes. */
  readonly activations: number;
  /** What is held for activations between runs by a graph that keeps its memory; 0 where none does. */
  readonly held: number;
  /** Whether it keeps its memory unasked: see `CompileOptions.keepsMemory`. */
  readonly isKept: boolean;
  /** What the compiled graph takes beside its tensors. */
  readonly compiled: number;
}

/**
 * Counts what a graph takes in an engine that makes and frees tensors one by one, in the graph's order, and has AdamW work in place. Call
 * `optimise` first. An engine that does otherwise counts for itself: `EngineOverhead.countMemory`.
 *
 * @example const { activations } = countMemory(optimise(step, { keep: engine.composites }));
 */
export function countMemory(graph: Graph, liveness: LivenessOptions = {}): GraphMemory {
  const computed = withoutOptimizer(graph);
  return {
    buffers: countBuffers(graph),
    feeds: countFeeds(graph),
    results: 0,
    activations: measureLiveness(computed, computed.nodes, liveness).peakBytes,
    held: 0,
    isKept: false,
    compiled: 0,
  };
}

/** Bytes of every buffer that a graph reads or writes, each once. */
export function countBuffers(graph: Graph): ReadonlyMap<string, number> {
  const bytes = new Map<string, number>();
  for (const { attrs, outputs } of graph.inputs) if (attrs.kind === "buffer") bytes.set(attrs.name, byteSizeOf(outputs[0]));
  for (const [name, value] of graph.updates) if (!bytes.has(name)) bytes.set(name, byteSizeOf(value));
  return bytes;
}

/** Bytes of what is fed at each run. */
export function countFeeds(graph: Graph): number {
  return sumBytes(graph.inputs.flatMap(({ attrs, outputs: [value] }) => (attrs.kind === "feed" ? [value] : [])));
}

/** The graph up to the optimizer, which writes over what it reads: gradients are fetches, and nothing else of it is computed. */
function withoutOptimizer(graph: Graph): Graph {
  let count = 0;
  const { graph: copy, valueOf } = rewrite(graph, (node, inputs) => {
    if (node.op !== "AdamW") return undefined;
    const [weight, m, v] = inputs;
    if (!weight || !m || !v) throw new Error("countMemory: AdamW needs four tensors");
    return [weight, m, v];
  });
  for (const node of graph.nodes)
    if (node.op === "AdamW") copy.fetches.set(`gradient ${count++}`, valueOf(unscaled(node.inputs[3])));
  for (const [name, { node }] of [...copy.updates]) if (node.op === "Input") copy.updates.delete(name);
  return removeDeadCode(copy);
}

/** Clipping is the optimizer's: it reads the gradient and a number. */
function unscaled(gradient: Value): Value {
  if (gradient.node.op !== "Mul") return gradient;
  const [a, b] = gradient.node.inputs;
  if (b.shape.length === 0 && shapesEqual(a.shape, gradient.shape)) return a;
  return a.shape.length === 0 && shapesEqual(b.shape, gradient.shape) ? b : gradient;
}
