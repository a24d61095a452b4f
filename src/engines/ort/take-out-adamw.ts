/** Takes the optimizer steps out of a graph that the engine then does by itself (see adamw.ts). */
import { removeDeadCode } from "../../graph/dead-code.ts";
import { inputsOf, shapesEqual, type Graph, type NodeOf, type Value } from "../../graph/graph.ts";
import { rewrite } from "../../graph/rewrite.ts";
import { optimizerPrefix, type AdamWStep } from "./adamw.ts";

/**
 * Takes those optimizer steps out of a graph that do nothing but update their own buffers. What they read becomes fetches; `applyAdamW`
 * does the rest after the run, in place.
 */
export function takeOutAdamW(graph: Graph): { graph: Graph; steps: readonly AdamWStep[] } {
  const uses = countUses(graph);
  const nodes = graph.nodes.filter((node) => node.op === "AdamW").filter((node) => onlyUpdatesItsBuffers(graph, node, uses));
  const { graph: out, valueOf } = rewrite(graph, () => undefined);
  const names = new Map<Value, string>();
  const fetch = (old: Value): string => {
    const value = valueOf(old);
    const name = names.get(value) ?? `${optimizerPrefix}${names.size}`;
    names.set(value, name);
    out.fetches.set(name, value);
    return name;
  };
  const steps = nodes.map(({ inputs, attrs }) => {
    const [weight, m, v] = [bufferName(inputs[0]), bufferName(inputs[1]), bufferName(inputs[2])] as [string, string, string];
    for (const name of [weight, m, v]) out.updates.delete(name);
    const [grad, gradScale] = splitScale(inputs[3]);
    return {
      ...attrs,
      ...{ weight, m, v, grad: fetch(grad), gradScale: gradScale && fetch(gradScale) },
      ...{ learningRate: fetch(inputs[4]), correction1: fetch(inputs[5]), correction2: fetch(inputs[6]) },
    };
  });
  return { graph: removeDeadCode(out), steps };
}

function bufferName({ node }: Value): string | undefined {
  return node.op === "Input" && node.attrs.kind === "buffer" ? node.attrs.name : undefined;
}

/** How often each value is read, fetched or written to a buffer. */
function countUses(graph: Graph): ReadonlyMap<Value, number> {
  const uses = new Map<Value, number>();
  const all = [...graph.nodes.flatMap(inputsOf), ...graph.fetches.values(), ...graph.updates.values()];
  for (const value of all) uses.set(value, (uses.get(value) ?? 0) + 1);
  return uses;
}

function onlyUpdatesItsBuffers(graph: Graph, { inputs, outputs }: NodeOf<"AdamW">, uses: ReadonlyMap<Value, number>): boolean {
  return ([0, 1, 2] as const).every((i) => {
    const name = bufferName(inputs[i]);
    return name !== undefined && graph.updates.get(name) === outputs[i] && uses.get(outputs[i]) === 1;
  });
}

/** A gradient that is a tensor times a scalar, as clipping leaves it: both, to save a pass. */
function splitScale(grad: Value): readonly [Value, Value | undefined] {
  if (grad.node.op !== "Mul") return [grad, undefined];
  const [a, b] = grad.node.inputs;
  if (b.shape.length === 0 && shapesEqual(a.shape, grad.shape)) return [a, b];
  if (a.shape.length === 0 && shapesEqual(b.shape, grad.shape)) return [b, a];
  return [grad, undefined];
}
