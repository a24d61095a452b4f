/** Copies a graph node by node, letting a rule replace some: what most passes are made of. */
import { Graph, inputsOf, type Node, type Value } from "./graph.ts";

/** Returns the values that stand for a node's outputs in the new graph, or undefined to copy the node as it is. */
export type RewriteRule = (node: Node, inputs: readonly Value[], out: Graph) => readonly Value[] | undefined;

export interface RewriteOptions {
  /** Another topological order of the graph's nodes, for the copy to have; of those that are not in it there is no copy. */
  readonly order?: readonly Node[];
  /** An equal value of the same graph that is read in a value's place. */
  readonly standIn?: (value: Value) => Value;
}

/** The copy, and where each old value went. Marks, fetches and updates are kept. */
export function rewrite(
  graph: Graph,
  rule: RewriteRule,
  { order = graph.nodes, standIn = (value) => value }: RewriteOptions = {},
): { graph: Graph; valueOf: (old: Value) => Value } {
  const out = new Graph();
  // By id.
  const mapped = new Array<Value | undefined>(graph.valueCount);
  const valueOf = (old: Value): Value => {
    const value = old.graph === graph ? mapped[standIn(old).id] : undefined;
    if (!value) throw new Error(`internal: rewrite: %${old.id} (${old.node.op}) is used before it is made`);
    return value;
  };
  for (const node of order) {
    const inputs = inputsOf(node).map(valueOf);
    const outputs = out.marked(node, () => rule(node, inputs, out) ?? copyNode(node, inputs, out));
    for (const { id, index } of node.outputs) mapped[id] = outputs[index];
  }
  for (const [name, value] of graph.fetches) out.fetches.set(name, valueOf(value));
  for (const [name, value] of graph.updates) out.updates.set(name, valueOf(value));
  return { graph: out, valueOf };
}

/** Emits the same operator on other inputs, in the graph's present marks. */
export function copyNode(node: Node, inputs: readonly Value[], out: Graph): readonly Value[] {
  if (node.op === "Input") {
    const { kind, name, shape, dtype } = node.attrs;
    return [kind === "feed" ? out.feed(name, shape, dtype) : out.buffer(name, shape, dtype)];
  }
  return out.emitLike(node, inputs);
}
