/**
 * Rematerialisation: the backward recomputes what lies inside a marked block instead of keeping it (Chen et al. 2016, "Training deep
 * nets with sublinear memory cost"). Only values that cross a block's border are kept.
 */
import { type Graph, inputsOf, type Node, type Value } from "./graph.ts";
import { copyNode, rewrite } from "./rewrite.ts";

export interface RematOptions {
  /** The blocks to recompute, by the name that `graph.block` gave them (their whole scope). */
  readonly blocks: "all" | ReadonlySet<string>;
}

/**
 * A copy in which the backward reads recomputed copies of the values inside blocks. Each block is recomputed once, just before its
 * first use in the backward, from values made outside it. The same operators run on the same numbers, so results do not change.
 *
 * Runs after gradients, decompose and common subexpressions: what forward and backward share is then recomputed rather than kept.
 *
 * @throws when `blocks` names a block that the graph does not have
 */
export function rematerialise(graph: Graph, { blocks }: RematOptions): Graph {
  if (blocks !== "all") checkBlocks(graph, blocks);
  const isChosen = (node: Node): boolean =>
    node.phase === "forward" && node.block !== undefined && (blocks === "all" || blocks.has(node.block));
  const recomputable = findInnerValues(graph, isChosen);
  const plan = planRecomputation(graph, recomputable);

  const copies = new Map<Value, Value>();
  const originals = new Map<Value, Value>();
  const stand = (value: Value): Value => {
    const found = copies.get(value) ?? originals.get(value);
    if (!found) throw new Error(`internal: rematerialise: %${value.id} (${value.node.op}) is used before it is made`);
    return found;
  };
  return rewrite(graph, (node, inputs, out) => {
    for (const inner of plan.get(node) ?? []) {
      out.marked({ ...inner, phase: "backward", recompute: true }, () => {
        const values = copyNode(inner, inputsOf(inner).map(stand), out);
        inner.outputs.forEach((old, i) => setDefined(copies, old, values[i]));
      });
    }
    const values = copyNode(node, node.phase === "forward" ? inputs : inputsOf(node).map(stand), out);
    node.outputs.forEach((old, i) => setDefined(originals, old, values[i]));
    return values;
  }).graph;
}

function setDefined<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
  if (value !== undefined) map.set(key, value);
}

function checkBlocks(graph: Graph, blocks: ReadonlySet<string>): void {
  const known = new Set(graph.nodes.map((node) => node.block));
  const unknown = [...blocks].filter((block) => !known.has(block));
  if (unknown.length > 0) throw new Error(`rematerialise: the graph has no block named ${unknown.join(", ")}`);
}

/** The values made in a chosen block that nothing but that block's forward and the backward reads. */
function findInnerValues(graph: Graph, isChosen: (node: Node) => boolean): ReadonlySet<Value> {
  const inner = new Set<Value>();
  for (const node of graph.nodes) {
    // A constant takes no memory that counts.
    if (isChosen(node) && node.op !== "Constant") for (const output of node.outputs) inner.add(output);
  }
  for (const node of graph.nodes) {
    if (node.phase !== "forward") continue;
    for (const input of inputsOf(node)) if (input.node.block !== node.block) inner.delete(input);
  }
  for (const value of [...graph.fetches.values(), ...graph.updates.values()]) inner.delete(value);
  return inner;
}

/** For each backward node that is a block's first reader: the block's nodes to run again before it, in order. */
function planRecomputation(graph: Graph, inner: ReadonlySet<Value>): ReadonlyMap<Node, readonly Node[]> {
  const needed = new Set<Node>();
  const firstReader = new Map<string, Node>();
  for (const node of graph.nodes) {
    if (node.phase === "forward") continue;
    for (const input of inputsOf(node)) {
      if (!inner.has(input)) continue;
      needed.add(input.node);
      if (!firstReader.has(blockOf(input))) firstReader.set(blockOf(input), node);
    }
  }
  for (const node of graph.nodes.toReversed()) {
    if (needed.has(node)) for (const input of inputsOf(node)) if (inner.has(input)) needed.add(input.node);
  }
  const plan = new Map<Node, Node[]>();
  for (const node of graph.nodes) {
    const reader = needed.has(node) ? firstReader.get(node.block ?? "") : undefined;
    if (!reader) continue;
    const list = plan.get(reader) ?? [];
    list.push(node);
    plan.set(reader, list);
  }
  return plan;
}

function blockOf(value: Value): string {
  return value.node.block ?? "";
}
