/** Common subexpressions: a node equal to an earlier one (operator, inputs, attributes) is replaced by it. */
import { removeDeadCode } from "./dead-code.ts";
import { type Graph, inputsOf, type Node, type Value } from "./graph.ts";

/**
 * What nothing needs goes in the same copy. Copies that rematerialisation made merge with each other, never with their originals.
 *
 * @returns the graph itself where there is neither
 */
export function mergeCommonSubexpressions(graph: Graph): Graph {
  const known = new Map<string, readonly Value[]>();
  /** By id: the first value that is equal. */
  const firsts = new Array<Value | undefined>(graph.valueCount);
  const firstOf = (value: Value): Value => firsts[value.id] ?? value;
  for (const node of graph.nodes) {
    if (node.op === "Input") continue;
    const key = keyOf(node, inputsOf(node).map(firstOf));
    const equal = known.get(key);
    if (!equal) known.set(key, node.outputs);
    else for (const { id, index } of node.outputs) firsts[id] = equal[index];
  }
  return removeDeadCode(graph, firstOf);
}

const commutative: ReadonlySet<string> = new Set(["Add", "Mul", "Min", "Max"]);

function keyOf({ op, attrs, recompute }: Node, inputs: readonly Value[]): string {
  const ids = inputs.map((value) => value.id);
  if (commutative.has(op)) ids.sort((a, b) => a - b);
  return `${recompute ? "recomputed " : ""}${op}(${ids.join()})${JSON.stringify(attrs, exactNumber)}`;
}

/** JSON writes infinities and NaN as null and -0 as 0. */
function exactNumber(_: string, value: unknown): unknown {
  if (typeof value !== "number") return value;
  return Object.is(value, -0) || !Number.isFinite(value) ? `${Object.is(value, -0) ? "-0" : value}` : value;
}
