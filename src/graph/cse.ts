/** Common subexpressions: a node equal to an earlier one (operator, inputs, attributes) is replaced by it. */
import type { Graph, Node, Value } from "./graph.ts";
import { copyNode, rewrite } from "./rewrite.ts";

/** Copies that rematerialisation made merge with each other, never with their originals. */
export function mergeCommonSubexpressions(graph: Graph): Graph {
  const known = new Map<string, readonly Value[]>();
  return rewrite(graph, (node, inputs, out) => {
    if (node.op === "Input") return undefined;
    const key = keyOf(node, inputs);
    const values = known.get(key) ?? copyNode(node, inputs, out);
    known.set(key, values);
    return values;
  }).graph;
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
