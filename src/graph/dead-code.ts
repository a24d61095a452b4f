/** Removes nodes that no fetch and no update needs. */
import { type Graph, idOf, inputsOf, type Value } from "./graph.ts";
import { rewrite } from "./rewrite.ts";

/**
 * Feeds and buffers that nothing reads go too, so a caller need not give them; a buffer that is written stays.
 *
 * @param standIn an equal value of the graph that is read in a value's place
 * @returns the graph itself where all of it is needed
 */
export function removeDeadCode(graph: Graph, standIn: (value: Value) => Value = (value) => value): Graph {
  const isLive = new Uint8Array(graph.valueCount);
  const need = (value: Value): void => void (isLive[idOf(standIn(value).node)] = 1);
  for (const value of [...graph.fetches.values(), ...graph.updates.values()]) need(value);
  for (const node of graph.nodes.toReversed()) {
    if (node.op === "Input" && node.attrs.kind === "buffer" && graph.updates.has(node.attrs.name)) isLive[idOf(node)] = 1;
    if (isLive[idOf(node)]) inputsOf(node).forEach(need);
  }
  const order = graph.nodes.filter((node) => isLive[idOf(node)]);
  if (order.length === graph.nodes.length) return graph;
  return rewrite(graph, () => undefined, { order, standIn }).graph;
}
