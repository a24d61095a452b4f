/** A graph as the worker takes it: its nodes in order as plain lists, with what dies after each, and the optimizer steps apart. */
import { removeDeadCode } from "../../graph/dead-code.ts";
import { type Composite, decompose, decomposeRules } from "../../graph/decompose.ts";
import { type DType, type Graph, inputsOf, type Node, type Shape, type Value } from "../../graph/graph.ts";
import type { OpName } from "../../graph/ops.ts";
import { type AdamWSettings, type AdamWStep, optimizerPrefix, takeOutAdamW } from "../take-out-adamw.ts";
import type { WireTensor } from "./messages.ts";

/** Operator, inputs, attributes, outputs, values that nothing reads later, and the place in the model. */
export type SerialNode = readonly [
  op: OpName,
  inputs: readonly number[],
  attrs: object,
  outputs: readonly number[],
  dying: readonly number[],
  scope: string,
];

/** Values are numbers; `types` has each one's type, null for what an operator keeps for its gradient. */
export interface Program {
  readonly name: string;
  readonly nodes: readonly SerialNode[];
  readonly types: readonly (readonly [dtype: DType, shape: Shape] | null)[];
  /** Values that are the same number for every element: a kernel takes them as arguments, not from memory. */
  readonly numbers: Readonly<Record<number, number>>;
  readonly feeds: Readonly<Record<string, number>>;
  readonly buffers: Readonly<Record<string, number>>;
  readonly fetches: Readonly<Record<string, number>>;
  readonly updates: Readonly<Record<string, number>>;
  /** What is read after the nodes have run. */
  readonly results: readonly number[];
  readonly optimizer: readonly SerialSteps[];
}

/** AdamW for all buffers that share its settings: buffers by name, all other numbers by the value that holds them. */
interface SerialSteps extends AdamWSettings {
  readonly weights: readonly string[];
  readonly m: readonly string[];
  readonly v: readonly string[];
  readonly grads: readonly number[];
  /** A factor of the gradients; null for 1. */
  readonly gradScale: number | null;
  readonly learningRate: number;
  readonly correction1: number;
  readonly correction2: number;
}

/**
 * Gradients that take what their forward keeps beside its outputs. `inputsOf` gives that forward's inputs as the gradient's own have
 * them; of these the first `count` decide what is kept.
 */
const keepers: { readonly [K in OpName]?: Keeper } = {
  AttentionGrad: { forward: "Attention", count: 4, inputsOf: ([, ...inputs]) => inputs },
  // The bias does not change what is kept.
  LayerNormGrad: { forward: "LayerNorm", count: 2, inputsOf: ([, x, scale]) => [x, scale, scale] },
  GroupNormGrad: { forward: "GroupNorm", count: 2, inputsOf: ([, x, scale]) => [x, scale, scale] },
};
interface Keeper {
  readonly forward: OpName;
  readonly count: number;
  readonly inputsOf: (inputs: readonly (Value | undefined)[]) => readonly (Value | undefined)[];
}
const keepingOps: ReadonlySet<OpName> = new Set(Object.values(keepers).map(({ forward }) => forward));

/** Operators whose kernels take a number in the place of a tensor. */
const takesNumbers: ReadonlySet<OpName> = new Set(["Add", "Sub", "Mul", "Div"]);

/** The worker takes whole what PyTorch has kernels for; AdamW only where it updates its own buffers. */
const keptWhole = new Set((Object.keys(decomposeRules) as Composite[]).filter((op) => op !== "AdamW"));

/** @returns the program, and its constants, each by the number of its value */
export function serialize(graph: Graph, name: string): { program: Program; constants: readonly WireTensor[] } {
  const { graph: without, steps } = takeOutAdamW(removeDeadCode(graph));
  const prepared = decompose(without, keptWhole);
  const table = new ValueTable();
  const keptBy = new Map<string, number>();
  const constants: WireTensor[] = [];
  const listed: SerialNode[] = [];
  const inputs = { feed: {} as Record<string, number>, buffer: {} as Record<string, number> };
  for (const node of prepared.nodes) {
    if (node.op === "Input") inputs[node.attrs.kind][node.attrs.name] = table.number(node.outputs[0]);
    else if (node.op === "Constant") constants.push(constantOf(table.number(node.outputs[0]), node.attrs));
    else listed.push(...listNode(node, table, keptBy));
  }
  const fetched = numbersOf(prepared.fetches, table);
  const updates = numbersOf(prepared.updates, table);
  const results = [...new Set([...Object.values(fetched), ...Object.values(updates)])];
  const program = {
    name,
    nodes: withDeaths(listed, new Set(results)),
    types: table.types,
    numbers: table.numbers,
    ...{ feeds: inputs.feed, buffers: inputs.buffer },
    fetches: Object.fromEntries(Object.entries(fetched).filter(([fetch]) => !fetch.startsWith(optimizerPrefix))),
    ...{ updates, results },
    optimizer: groupSteps(steps, fetched),
  };
  return { program, constants };
}

class ValueTable {
  readonly types: (readonly [DType, Shape] | null)[] = [];
  readonly numbers: Record<number, number> = {};
  readonly #known = new Map<Value, number>();

  add(type: readonly [DType, Shape] | null): number {
    return this.types.push(type) - 1;
  }

  number(value: Value): number {
    const number = this.#known.get(value) ?? this.add([value.dtype, value.shape]);
    this.#known.set(value, number);
    return number;
  }

  /** A constant of one number as that number: another value than the tensor, which other operators may read. */
  scalar(value: Value): number | undefined {
    const { node } = value;
    const number = node.op === "Constant" && node.attrs.shape.length === 0 ? node.attrs.data[0] : undefined;
    if (number === undefined || !Number.isFinite(number)) return undefined;
    const added = this.add(null);
    this.numbers[added] = number;
    return added;
  }
}

function constantOf(
  number: number,
  { data, shape, dtype }: { data: readonly number[]; shape: Shape; dtype: DType },
): WireTensor {
  return { name: String(number), shape, data: dtype === "int32" ? Int32Array.from(data) : Float32Array.from(data) };
}

/** A node as it is, with what it keeps or takes; before a gradient whose forward is not in the graph, that forward. */
function listNode(node: Node, table: ValueTable, keptBy: Map<string, number>): readonly SerialNode[] {
  const { op, attrs, scope } = node;
  const values = inputsOf(node);
  const inputs = values.map((value) => table.number(value));
  const outputs = node.outputs.map((value) => table.number(value));
  const plain = (more: Partial<Record<"inputs" | "outputs", readonly number[]>>): SerialNode =>
    [op, [...inputs, ...(more.inputs ?? [])], attrs, [...outputs, ...(more.outputs ?? [])], [], scope]; // prettier-ignore
  if (keepingOps.has(op)) {
    const kept = table.add(null);
    // The latest one counts: of a block that is recomputed, the copy, so that nothing is kept from the first time.
    for (const keeper of Object.values(keepers)) {
      if (keeper.forward === op) keptBy.set(keyOf(keeper, values, attrs), kept);
    }
    return [plain({ outputs: [kept] })];
  }
  const keeper = keepers[op];
  if (!keeper) return [[op, takesNumbers.has(op) ? numberInputs(values, table) : inputs, attrs, outputs, [], scope]];
  const forwardInputs = keeper.inputsOf(values).filter((value) => value !== undefined);
  const known = keptBy.get(keyOf(keeper, forwardInputs, attrs));
  if (known !== undefined) return [plain({ inputs: [known] })];
  const [y, kept] = [table.add(null), table.add(null)];
  const forward: SerialNode = [keeper.forward, forwardInputs.map((value) => table.number(value)), attrs, [y, kept], [], scope];
  return [forward, plain({ inputs: [kept] })];
}

function keyOf({ forward, count }: Keeper, inputs: readonly Value[], attrs: object): string {
  const ids = inputs.slice(0, count).map(({ id }) => id);
  return `${forward}(${ids.join()})${JSON.stringify(attrs)}`;
}

/** At least one of the two stays a tensor. */
function numberInputs(values: readonly Value[], table: ValueTable): readonly number[] {
  const scalars = values.map(({ node }) => node.op === "Constant" && node.attrs.shape.length === 0);
  if (scalars.every((is) => is)) return values.map((value) => table.number(value));
  return values.map((value) => table.scalar(value) ?? table.number(value));
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

function groupSteps(steps: readonly AdamWStep[], fetched: Readonly<Record<string, number>>): readonly SerialSteps[] {
  const numberOf = (fetch: string): number => {
    const number = fetched[fetch];
    if (number === undefined) throw new Error(`internal: torch: ${fetch} is not fetched`);
    return number;
  };
  const groups = new Map<string, AdamWStep[]>();
  for (const { weight, m, v, grad, ...shared } of steps) {
    const key = JSON.stringify(shared);
    groups.set(key, [...(groups.get(key) ?? []), { weight, m, v, grad, ...shared }]);
  }
  return [...groups.values()].map((group) => {
    const [{ beta1, beta2, eps, weightDecay, gradScale, ...rates }] = group as [AdamWStep];
    return {
      ...{ beta1, beta2, eps, weightDecay },
      weights: group.map(({ weight }) => weight),
      m: group.map(({ m }) => m),
      v: group.map(({ v }) => v),
      grads: group.map(({ grad }) => numberOf(grad)),
      gradScale: gradScale === undefined ? null : numberOf(gradScale),
      learningRate: numberOf(rates.learningRate),
      correction1: numberOf(rates.correction1),
      correction2: numberOf(rates.correction2),
    };
  });
}
