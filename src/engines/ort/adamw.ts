/**
 * AdamW in one pass over memory. ONNX Runtime has no kernel for it: as separate operators it is sixteen passes for every parameter, more
 * than half the nodes of a LoRA step, and new arrays for weight, m and v at every step, which its Node binding then copies once more.
 */
import { removeDeadCode } from "../../graph/dead-code.ts";
import { inputsOf, shapesEqual, type Graph, type NodeOf, type Value } from "../../graph/graph.ts";
import { rewrite } from "../../graph/rewrite.ts";

/** Numbers of one optimizer step, each by the name of the fetch that holds it; `weight`, `m` and `v` are buffers. */
export interface AdamWStep extends Readonly<NodeOf<"AdamW">["attrs"]> {
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

/**
 * Takes those optimizer steps out of a graph that do nothing but update their own buffers. What they read becomes fetches under the
 * given prefix; `applyAdamW` does the rest after the run, in place.
 */
export function takeOutAdamW(graph: Graph, prefix: string): { graph: Graph; steps: readonly AdamWStep[] } {
  const uses = countUses(graph);
  const nodes = graph.nodes.filter((node) => node.op === "AdamW").filter((node) => onlyUpdatesItsBuffers(graph, node, uses));
  const { graph: out, valueOf } = rewrite(graph, () => undefined);
  const names = new Map<Value, string>();
  const fetch = (old: Value): string => {
    const value = valueOf(old);
    const name = names.get(value) ?? `${prefix}${names.size}`;
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

/** The numbers of one step; `gradScale` 1 where the gradient is used as it is. */
export interface AdamWNumbers {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  readonly gradScale: number;
  readonly learningRate: number;
  readonly correction1: number;
  readonly correction2: number;
}

/** The smallest normal float32. Moments that fade below it become zero, as in ONNX Runtime: a processor computes what lies between slowly. */
const smallest = 2 ** -126;

/** Loshchilov and Hutter (2019), algorithm 2, in place. Calculates in float64 and rounds what it stores. */
export function applyAdamW(weight: Float32Array, m: Float32Array, v: Float32Array, grad: Float32Array, numbers: AdamWNumbers): void {
  const { beta1, beta2, eps, weightDecay, gradScale, learningRate, correction1, correction2 } = numbers;
  const decay = 1 - learningRate * weightDecay;
  const rate = learningRate / correction1;
  const rootFactor = 1 / Math.sqrt(correction2);
  const gain1 = (1 - beta1) * gradScale;
  const gain2 = (1 - beta2) * gradScale * gradScale;
  for (let i = 0; i < weight.length; i++) {
    const g = grad[i] ?? 0;
    const mean = beta1 * (m[i] ?? 0) + gain1 * g;
    const square = beta2 * (v[i] ?? 0) + gain2 * g * g;
    m[i] = Math.abs(mean) < smallest ? 0 : mean;
    v[i] = square < smallest ? 0 : square;
    weight[i] = decay * (weight[i] ?? 0) - (rate * mean) / (Math.sqrt(square) * rootFactor + eps);
  }
}
