/** Reverse-mode differentiation: walks the graph from the loss back to the values that are trained, and only along the way between. */
import { add, constant, zerosLike } from "../graph/build.ts";
import type { Graph, Node, Value } from "../graph/graph.ts";
import type { OpName } from "../graph/ops.ts";
import { vjpRules, type VjpRule } from "./vjp-rules.ts";

/**
 * Appends the gradient of a scalar `loss` with respect to each of `wrt` to the loss's graph.
 *
 * @returns one gradient per value of `wrt`, of its shape; zeros where the loss does not depend on it
 * @throws when the loss is not a scalar, or an operator on the way has no gradient
 */
export function grad(loss: Value, wrt: readonly Value[]): readonly Value[] {
  if (loss.shape.length !== 0) throw new Error(`grad: the loss must be a scalar, got [${loss.shape.join(", ")}]`);
  const { graph } = loss;
  const onTheWay = dependents(graph, wrt);
  const seed = graph.marked({ phase: "backward" }, () => constant(graph, [1], [], loss.dtype));
  const cotangents = new Map([[loss, seed]]);
  for (const node of graph.nodes.slice(0, graph.nodes.indexOf(loss.node) + 1).toReversed()) {
    // Every operator with a gradient has one output, but Normalize; its second one is checked below.
    const ct = cotangents.get(node.outputs[0]);
    if (!ct || !node.outputs.some((output) => onTheWay.has(output))) continue;
    if (node.outputs.slice(1).some((output) => cotangents.has(output))) {
      throw new Error(`grad: the second output of ${node.op} has no gradient\n  at ${node.scope}`);
    }
    graph.marked({ scope: node.scope, block: node.block, phase: "backward" }, () => {
      accumulate(node, ct, onTheWay, cotangents);
    });
  }
  return graph.marked({ phase: "backward" }, () => wrt.map((value) => cotangents.get(value) ?? zerosLike(value)));
}

/** Adds what `node` passes back to the cotangents of those inputs that lead to a trained value. */
function accumulate(node: Node, ct: Value, onTheWay: ReadonlySet<Value>, cotangents: Map<Value, Value>): void {
  const rule = vjpRules[node.op] as VjpRule<OpName> | "nondifferentiable";
  if (rule === "nondifferentiable") throw new Error(`grad: ${node.op} has no gradient\n  at ${node.scope}`);
  const pullbacks = rule(ct, node);
  (node.inputs as readonly Value[]).forEach((input, i) => {
    if (!onTheWay.has(input)) return;
    const pullback = pullbacks[i];
    if (pullback === "nondifferentiable")
      throw new Error(`grad: ${node.op} has no gradient for input ${i}\n  at ${node.scope}`);
    if (!pullback) return;
    const before = cotangents.get(input);
    const contribution = pullback();
    cotangents.set(input, before ? add(before, contribution) : contribution);
  });
}

/** The values of the graph that depend on any of `roots`, themselves included. */
function dependents(graph: Graph, roots: readonly Value[]): ReadonlySet<Value> {
  const found = new Set(roots);
  for (const node of graph.nodes) {
    if ((node.inputs as readonly Value[]).some((input) => found.has(input))) {
      for (const output of node.outputs) found.add(output);
    }
  }
  return found;
}
