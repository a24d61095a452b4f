/** Removes nodes that no fetch and no update needs. */
import { inputsOf, type Graph, type Node } from "./graph.ts";
import { rewrite } from "./rewrite.ts";

/** Feeds and buffers that nothing reads go too, so a caller need not give them; a buffer that is written stays. */
export function removeDeadCode(graph: Graph): Graph {
  const live = new Set<Node>();
  for (const value of [...graph.fetches.values(), ...graph.updates.values()]) live.add(value.node);
  for (const node of graph.nodes.toReversed()) {
    if (node.op === "Input" && node.attrs.kind === "buffer" && graph.updates.has(node.attrs.name)) live.add(node);
    if (live.has(node)) for (const input of inputsOf(node)) live.add(input.node);
  }
  const order = graph.nodes.filter((node) => live.has(node));
  return rewrite(graph, () => undefined, order).graph;
}
