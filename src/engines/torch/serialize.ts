/** A graph as the worker takes it: its nodes in order as plain lists, with what dies after each, and the optimizer steps apart. */
import { removeDeadCode } from "../../graph/dead-code.ts";
import { type DType, type Graph, inputsOf, type Node, type Shape, type Value } from "../../graph/graph.ts";
import type { OpName } from "../../graph/ops.ts";
import { type AdamWStep, optimizerPrefix, takeOutAdamW } from "../take-out-adamw.ts";
import type { WireTensor } from "./messages.ts";

/** Operator, inputs, attributes, outputs, values that nothing reads later, and the place in the model; then what it keeps or takes. */
export type SerialNode = readonly [
  op: OpName,
  inputs: readonly number[],
  attrs: object,
  outputs: readonly number[],
  dying: readonly number[],
  scope: string,
  form?: "keeps" | "takes",
];

/** Values are numbers; `types` has each one's type, null for what an operator keeps for its gradient. */
export interface Program {
  readonly name: string;
  readonly nodes: readonly SerialNode[];
  readonly types: readonly (readonly [dtype: DType, shape: Shape] | null)[];
  readonly feeds: Readonly<Record<string, number>>;
  readonly buffers: Readonly<Record<string, number>>;
  readonly fetches: Readonly<Record<string, number>>;
  readonly updates: Readonly<Record<string, number>>;
  readonly optimizer: readonly SerialStep[];
}

/** Buffers by name; all other numbers by the value that holds them. */
type SerialStep = Pick<AdamWStep, "weight" | "m" | "v" | "beta1" | "beta2" | "eps" | "weightDecay"> &
  Readonly<Record<"grad" | "learningRate" | "correction1" | "correction2", number>> & { readonly gradScale?: number };

/** Gradients that can take what their forward kept, and where among their inputs the forward's own begin. */
const keepers: { readonly [K in OpName]?: { readonly forward: OpName; readonly inputs: number } } = {
  AttentionGrad: { forward: "Attention", inputs: 4 },
  LayerNormGrad: { forward: "LayerNorm", inputs: 2 },
  GroupNormGrad: { forward: "GroupNorm", inputs: 2 },
};

/** @returns the program, and its constants, each by the number of its value */
export function serialize(graph: Graph, name: string): { program: Program; constants: readonly WireTensor[] } {
  const { graph: prepared, steps } = takeOutAdamW(removeDeadCode(graph));
  const table = new ValueTable();
  const kept = pairKeepers(prepared);
  const constants: WireTensor[] = [];
  const listed: SerialNode[] = [];
  const inputs = { feed: {} as Record<string, number>, buffer: {} as Record<string, number> };
  for (const node of prepared.nodes) {
    const outputs = node.outputs.map((value) => table.number(value));
    if (node.op === "Input") inputs[node.attrs.kind][node.attrs.name] = outputs[0] ?? -1;
    else if (node.op === "Constant") constants.push(constantOf(outputs[0] ?? -1, node.attrs));
    else listed.push(listNode(node, outputs, table, kept));
  }
  const fetches = numbersOf(prepared.fetches, table);
  const results = Object.values(fetches).concat(Object.values(numbersOf(prepared.updates, table)));
  const program = {
    name,
    nodes: withDeaths(listed, new Set(results)),
    types: table.types,
    ...{ feeds: inputs.feed, buffers: inputs.buffer },
    fetches: Object.fromEntries(Object.entries(fetches).filter(([fetch]) => !fetch.startsWith(optimizerPrefix))),
    updates: numbersOf(prepared.updates, table),
    optimizer: steps.map((step) => listStep(step, fetches)),
  };
  return { program, constants };
}

class ValueTable {
  readonly types: (readonly [DType, Shape] | null)[] = [];
  readonly #numbers = new Map<Value, number>();
  readonly #kept = new Map<Node, number>();

  number(value: Value): number {
    const known = this.#numbers.get(value);
    if (known !== undefined) return known;
    const added = this.types.push([value.dtype, value.shape]) - 1;
    this.#numbers.set(value, added);
    return added;
  }

  /** What a node keeps for its gradient. */
  keptBy(node: Node): number {
    const known = this.#kept.get(node);
    if (known !== undefined) return known;
    const added = this.types.push(null) - 1;
    this.#kept.set(node, added);
    return added;
  }
}

function constantOf(
  number: number,
  { data, shape, dtype }: { data: readonly number[]; shape: Shape; dtype: DType },
): WireTensor {
  return { name: String(number), shape, data: dtype === "int32" ? Int32Array.from(data) : Float32Array.from(data) };
}

function listNode(node: Node, outputs: readonly number[], table: ValueTable, kept: Keepers): SerialNode {
  const inputs = inputsOf(node).map((value) => table.number(value));
  const forward = kept.forwardOf.get(node);
  if (forward) return [node.op, [...inputs, table.keptBy(forward)], node.attrs, outputs, [], node.scope, "takes"];
  if (!kept.keep.has(node)) return [node.op, inputs, node.attrs, outputs, [], node.scope];
  return [node.op, inputs, node.attrs, [...outputs, table.keptBy(node)], [], node.scope, "keeps"];
}

interface Keepers {
  readonly forwardOf: ReadonlyMap<Node, Node>;
  readonly keep: ReadonlySet<Node>;
}

/**
 * The latest node before a gradient that calculated the same forward: of a block that is recomputed, the copy, so that nothing is kept
 * from the first time.
 */
function pairKeepers(graph: Graph): Keepers {
  const latest = new Map<string, Node>();
  const forwardOf = new Map<Node, Node>();
  const keyOf = (op: OpName, inputs: readonly Value[], attrs: object): string =>
    `${op}(${inputs.map(({ id }) => id).join()})${JSON.stringify(attrs)}`;
  for (const node of graph.nodes) {
    const keeper = keepers[node.op];
    if (keeper) {
      const found = latest.get(keyOf(keeper.forward, inputsOf(node).slice(1, 1 + keeper.inputs), node.attrs));
      if (found) forwardOf.set(node, found);
      continue;
    }
    for (const { forward, inputs } of Object.values(keepers)) {
      if (node.op === forward) latest.set(keyOf(forward, inputsOf(node).slice(0, inputs), node.attrs), node);
    }
  }
  return { forwardOf, keep: new Set(forwardOf.values()) };
}

/** Each node with the values that it makes or reads and nothing after it does. Feeds, buffers and constants stay. */
function withDeaths(nodes: readonly SerialNode[], results: ReadonlySet<number>): readonly SerialNode[] {
  const made = new Set(nodes.flatMap(([, , , outputs]) => outputs));
  const dead = new Set<number>();
  return nodes
    .toReversed()
    .map(([op, inputs, attrs, outputs, , ...rest]): SerialNode => {
      const dying = [...new Set([...inputs, ...outputs])].filter(
        (value) => made.has(value) && !results.has(value) && !dead.has(value),
      );
      for (const value of dying) dead.add(value);
      return [op, inputs, attrs, outputs, dying, ...rest];
    })
    .toReversed();
}

function numbersOf(values: ReadonlyMap<string, Value>, table: ValueTable): Readonly<Record<string, number>> {
  return Object.fromEntries([...values].map(([name, value]) => [name, table.number(value)]));
}

function listStep(step: AdamWStep, fetches: Readonly<Record<string, number>>): SerialStep {
  const numberOf = (fetch: string): number => {
    const number = fetches[fetch];
    if (number === undefined) throw new Error(`internal: torch: ${fetch} is not fetched`);
    return number;
  };
  const { gradScale, ...others } = step;
  return {
    ...others,
    grad: numberOf(step.grad),
    learningRate: numberOf(step.learningRate),
    correction1: numberOf(step.correction1),
    correction2: numberOf(step.correction2),
    ...(gradScale === undefined ? {} : { gradScale: numberOf(gradScale) }),
  };
}
