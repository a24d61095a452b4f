/**
 * The graph: nodes in topological order over values of static shape. It only grows; passes make a new one.
 */
import { inferRules } from "./infer.ts";
import type { OpName, Ops } from "./ops.ts";

export type FloatDType = "float32" | "float16" | "bfloat16";
/** Forms that frozen weights are kept in: int8 has a float32 scale for each row, nf4 one for each 64 numbers. */
export type QuantisedDType = "int8" | "nf4";
/** What weights are kept in. */
export type WeightDType = FloatDType | QuantisedDType;
/** Of quantised values `Dequantise` alone can make use. */
export type DType = WeightDType | "int32";
export type Shape = readonly number[];

/** Shape and dtype of a value. */
export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** One output of one node. */
export interface Value extends TensorType {
  readonly graph: Graph;
  readonly node: Node;
  /** Which of the node's outputs it is. */
  readonly index: number;
  /** Position among all values of its graph; unique there. */
  readonly id: number;
}

export interface NodeOf<K extends OpName> {
  readonly op: K;
  readonly inputs: Ops[K]["inputs"];
  readonly attrs: Ops[K]["attrs"];
  readonly outputs: Ops[K]["outputs"];
  /** Where in the model it was built, e.g. "down_blocks.1.attentions.0"; for messages. */
  readonly scope: string;
  /** The innermost marked block it lies in: what rematerialisation recomputes as a whole. */
  readonly block: string | undefined;
  readonly phase: Phase;
  /** A copy that rematerialisation made; merging it with its original would undo that. */
  readonly recompute: boolean;
}
/** A node whose operator is not known yet: a union over all operators, told apart by `op`. */
export type Node = { [K in OpName]: NodeOf<K> }[OpName];

/** What part of a training step a node does. */
export type Phase = "forward" | "backward" | "update";

/** What the nodes built next are marked with. */
export interface Marks {
  readonly scope: string;
  readonly block: string | undefined;
  readonly phase: Phase;
  readonly recompute: boolean;
}

/**
 * A static tensor graph. `fetches` are returned by every run; `updates` are written back to the named buffers.
 *
 * @example
 * const graph = new Graph();
 * const x = graph.feed("x", [2, 3]);
 * graph.fetches.set("y", mul(x, 2));
 */
export class Graph {
  readonly nodes: Node[] = [];
  readonly fetches = new Map<string, Value>();
  readonly updates = new Map<string, Value>();
  #marks: Marks = { scope: "", block: undefined, phase: "forward", recompute: false };
  readonly #inputs = new Map<string, Value>();
  #valueCount = 0;

  /** Appends a node; throws when the inputs do not fit the operator, naming the shapes and the place in the model. */
  emit<K extends OpName>(op: K, inputs: Ops[K]["inputs"], attrs: Ops[K]["attrs"]): Ops[K]["outputs"] {
    this.#refuseForeign(op, inputs);
    return this.#append(op, inputs, attrs, this.#infer(op, inputs, attrs)) as unknown as Ops[K]["outputs"];
  }

  /** Appends the operator of a node of any graph, on other inputs. Of the same types as its own they give the same: nothing is inferred. */
  emitLike(node: Node, inputs: readonly Value[]): readonly Value[] {
    if (!haveSameTypes(inputs, inputsOf(node))) return this.emit(node.op, inputs, node.attrs);
    this.#refuseForeign(node.op, inputs);
    return this.#append(node.op, inputs, node.attrs, node.outputs);
  }

  #append(op: OpName, inputs: readonly unknown[], attrs: unknown, types: readonly TensorType[]): readonly Value[] {
    // Named one by one: there are tens of thousands of nodes, and one shape of object for all of them is quicker.
    const { scope, block, phase, recompute } = this.#marks;
    const outputs: Value[] = [];
    const node = { op, inputs, attrs, outputs, scope, block, phase, recompute } as unknown as Node;
    for (const { shape, dtype } of types) {
      outputs.push({ graph: this, node, index: outputs.length, id: this.#valueCount++, shape, dtype });
    }
    this.nodes.push(node);
    return outputs;
  }

  #refuseForeign(op: OpName, inputs: readonly (Value | undefined)[]): void {
    for (const input of inputs) {
      if (input && input.graph !== this) throw new Error(this.#at(`${op}: an input belongs to another graph`));
    }
  }

  /** How many values there are; their ids are the numbers below it. */
  get valueCount(): number {
    return this.#valueCount;
  }

  /** A value given anew at every run. */
  feed(name: string, shape: Shape, dtype: DType = "float32"): Value {
    return this.#input("feed", name, shape, dtype);
  }

  /** A value that lives on the engine; asking again for the same name gives the same value. */
  buffer(name: string, shape: Shape, dtype: DType = "float32"): Value {
    return this.#input("buffer", name, shape, dtype);
  }

  /** The feeds and buffers, in the order they were first asked for. */
  get inputs(): readonly NodeOf<"Input">[] {
    return [...this.#inputs.values()].map((value) => value.node as NodeOf<"Input">);
  }

  /** Runs `build` with `name` appended to the place in the model. */
  scope<T>(name: string, build: () => T): T {
    const { scope } = this.#marks;
    return this.marked({ scope: scope && name ? `${scope}.${name}` : scope || name }, build);
  }

  /** Like `scope`, and marks the nodes as one block for rematerialisation. */
  block<T>(name: string, build: () => T): T {
    return this.scope(name, () => this.marked({ block: this.#marks.scope }, build));
  }

  /** Runs `build` with some marks replaced. */
  marked<T>(marks: Partial<Marks>, build: () => T): T {
    const before = this.#marks;
    // Named one by one: `marks` may be a whole node.
    const { scope = before.scope, phase = before.phase, recompute = before.recompute } = marks;
    const block = "block" in marks ? marks.block : before.block;
    this.#marks = { scope, block, phase, recompute };
    try {
      return build();
    } finally {
      this.#marks = before;
    }
  }

  #input(kind: "feed" | "buffer", name: string, shape: Shape, dtype: DType): Value {
    const known = this.#inputs.get(name);
    if (!known) {
      const [value] = this.marked({ block: undefined, phase: "forward", recompute: false }, () =>
        this.emit("Input", [], { kind, name, shape, dtype }),
      );
      this.#inputs.set(name, value);
      return value;
    }
    const attrs = (known.node as NodeOf<"Input">).attrs;
    if (attrs.kind !== kind || attrs.dtype !== dtype || !shapesEqual(attrs.shape, shape)) {
      const was = `${attrs.kind} ${formatType(known)}`;
      throw new Error(this.#at(`input ${name}: asked for as ${kind} ${formatType({ shape, dtype })}, but it is a ${was}`));
    }
    return known;
  }

  #infer<K extends OpName>(op: K, inputs: Ops[K]["inputs"], attrs: Ops[K]["attrs"]): readonly TensorType[] {
    try {
      return inferRules[op](inputs, attrs);
    } catch (error) {
      const shapes = (inputs as readonly (Value | undefined)[]).map((v) => (v ? formatType(v) : "none")).join(" x ");
      throw new Error(this.#at(`${op}: ${(error as Error).message}: ${shapes}`));
    }
  }

  #at(message: string): string {
    return this.#marks.scope ? `${message}\n  at ${this.#marks.scope}` : message;
  }
}

/** A node's inputs as a plain list; an optional input that was left out is not in it. */
export function inputsOf(node: Node): readonly Value[] {
  return node.inputs as readonly Value[];
}

/** A number that no other node of its graph has, below its count of values: each node makes at least one value. */
export function idOf(node: Node): number {
  return node.outputs[0].id;
}

export function shapesEqual(a: Shape, b: Shape): boolean {
  return a === b || (a.length === b.length && a.every((size, i) => size === b[i]));
}

function haveSameTypes(a: readonly TensorType[], b: readonly TensorType[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ shape, dtype }, i) => {
      const other = b[i];
      return other !== undefined && dtype === other.dtype && shapesEqual(shape, other.shape);
    })
  );
}

/** Number of elements. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Numbers that share a scale in nf4 (Dettmers et al. 2023). */
export const nf4Block = 64;
const scaleBytes = 4;
const bytesPerElement: Readonly<Record<Exclude<DType, QuantisedDType>, number>> = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int32: 4,
};

/** Bytes a value of this type takes, scales included. */
export function byteSizeOf({ shape, dtype }: TensorType): number {
  const count = sizeOf(shape);
  if (dtype === "int8") return count + scaleBytes * (shape[0] ?? 1);
  if (dtype === "nf4") return Math.ceil(count / nf4Block) * (nf4Block / 2 + scaleBytes);
  return count * bytesPerElement[dtype];
}

/** Bytes of several values together; one that is given twice counts twice. */
export function sumBytes(values: Iterable<TensorType>): number {
  let sum = 0;
  for (const value of values) sum += byteSizeOf(value);
  return sum;
}

export function isQuantised(dtype: DType): dtype is QuantisedDType {
  return dtype === "int8" || dtype === "nf4";
}

const shortNames: Readonly<Record<DType, string>> = {
  ...{ float32: "f32", float16: "f16", bfloat16: "bf16", int32: "i32" },
  ...{ int8: "i8", nf4: "nf4" },
};

/** "f32[2, 77, 320]" */
export function formatType({ shape, dtype }: TensorType): string {
  return `${shortNames[dtype]}[${shape.join(", ")}]`;
}
