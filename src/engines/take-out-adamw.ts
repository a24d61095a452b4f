/** Takes the optimizer steps out of a graph that an engine then does by itself, in place and many at a time. */
import { removeDeadCode } from "../graph/dead-code.ts";
import { inputsOf, shapesEqual, type Graph, type NodeOf, type Value } from "../graph/graph.ts";
import type { Ops } from "../graph/ops.ts";
import { rewrite } from "../graph/rewrite.ts";

export type AdamWSettings = Ops["AdamW"]["attrs"];

/** Numbers of one optimizer step, each by the name of the fetch that holds it; `weight`, `m` and `v` are buffers. */
export interface AdamWStep extends AdamWSettings {
  readonly weight: string;
  readonly m: string;
  readonly v: string;
  readonly grad: string;
  /** A factor of the gradient (norm clipping); undefined for 1. */
  readonly gradScale: string | undefined;
  readonly learningRate: string;
  readonly correction1: string;
  readonly correction2: string;
}

/** What the names of fetches begin with that are for the optimizer steps, not for the caller. */
export const optimizerPrefix = "gesso.optimizer.";

/**
 * Takes those optimizer steps out of a graph that do nothing but update their own buffers. What they read becomes fetches; the engine does the rest after
 * the run.
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
