/** What a graph takes in memory, counted from the graph alone. */
import { removeDeadCode } from "./dead-code.ts";
import { byteSizeOf, type Graph, shapesEqual, sumBytes, type Value } from "./graph.ts";
import { rewrite } from "./rewrite.ts";
import { type LivenessOptions, measureLiveness } from "./schedule.ts";

export interface MemoryOptions extends Omit<LivenessOptions, "elsewhere"> {
  /**
   * Whether what a run writes, and what AdamW reads after it, has arrays of its own that stay from run to run: a buffer then has a second
   * array, unless AdamW writes it.
   */
  readonly keepsOutputs?: boolean;
}

/** Bytes, by what they are for. */
export interface GraphMemory {
  /** Every buffer that the graph reads or writes, by its name; with its second array where it has one. */
  readonly buffers: ReadonlyMap<string, number>;
  readonly feeds: number;
  /** The gradients that AdamW reads, where they have arrays of their own; else they are activations, and this is 0. */
  readonly gradients: number;
  /** The most that is alive at once of all else that a run computes. */
  readonly activations: number;
}

/**
 * Counts what a graph takes when an engine runs it as it is, in its order: call `optimise` first.
 *
 * @example const { activations } = countMemory(optimise(step, { keep: engine.composites }));
 */
export function countMemory(graph: Graph, { keepsOutputs = false, ...liveness }: MemoryOptions = {}): GraphMemory {
  const { computed, gradients, written } = withoutOptimizer(graph);
  const elsewhere = new Set(keepsOutputs ? [...gradients, ...written] : []);
  return {
    buffers: countBuffers(graph, keepsOutputs),
    feeds: sumBytes(graph.inputs.flatMap(({ attrs, outputs: [value] }) => (attrs.kind === "feed" ? [value] : []))),
    gradients: keepsOutputs ? sumBytes(new Set(gradients)) : 0,
    activations: measureLiveness(computed, computed.nodes, { ...liveness, elsewhere }).peakBytes,
  };
}

function countBuffers(graph: Graph, keepsOutputs: boolean): ReadonlyMap<string, number> {
  const bytes = new Map<string, number>();
  for (const { attrs, outputs } of graph.inputs) if (attrs.kind === "buffer") bytes.set(attrs.name, byteSizeOf(outputs[0]));
  for (const [name, value] of graph.updates) {
    const second = keepsOutputs && value.node.op !== "AdamW" && bytes.has(name) ? byteSizeOf(value) : 0;
    bytes.set(name, (bytes.get(name) ?? byteSizeOf(value)) + second);
  }
  return bytes;
}

/** The graph up to the optimizer, with the gradients as fetches, and the values that it writes to buffers. */
function withoutOptimizer(graph: Graph): {
  readonly computed: Graph;
  readonly gradients: readonly Value[];
  readonly written: readonly Value[];
} {
  const gradients: Value[] = [];
  const { graph: copy } = rewrite(graph, (node, inputs) => {
    if (node.op !== "AdamW") return undefined;
    const [weight, m, v, gradient] = inputs;
    if (!weight || !m || !v || !gradient) throw new Error("countMemory: AdamW needs four tensors");
    gradients.push(unscaled(gradient));
    return [weight, m, v];
  });
  gradients.forEach((gradient, i) => copy.fetches.set(`gradient ${i}`, gradient));
  const written = [...copy.updates.entries()].filter(([, { node }]) => node.op !== "Input");
  copy.updates.clear();
  written.forEach(([name, value]) => copy.updates.set(name, value));
  const computed = removeDeadCode(copy);
  return {
    computed,
    gradients: gradients.map((_, i) => fetched(computed, `gradient ${i}`)),
    written: [...computed.updates.values()],
  };
}

/** Clipping is the optimizer's: it reads the gradient and a number. */
function unscaled(gradient: Value): Value {
  if (gradient.node.op !== "Mul") return gradient;
  const [a, b] = gradient.node.inputs;
  if (b.shape.length === 0 && shapesEqual(a.shape, gradient.shape)) return a;
  return a.shape.length === 0 && shapesEqual(b.shape, gradient.shape) ? b : gradient;
}

function fetched(graph: Graph, name: string): Value {
  const value = graph.fetches.get(name);
  if (!value) throw new Error(`internal: countMemory: ${name} is gone`);
  return value;
}
