/** Liveness and order: how much memory a graph's activations take at each moment, and an order of its nodes that takes less. */
import { byteSizeOf, type Graph, idOf, inputsOf, type Node, type Value } from "./graph.ts";
import type { OpName } from "./ops.ts";
import { rewrite } from "./rewrite.ts";

export interface LivenessOptions {
  /** Operators whose output is a view of their first input. Default: Reshape. */
  readonly aliasing?: ReadonlySet<OpName>;
  /** Operators that may write their first output over an input of the same size that nothing reads later. Default: none. */
  readonly inPlace?: ReadonlySet<OpName>;
  /** Bytes that a node takes while it runs, beside its inputs and outputs. Default: none. */
  readonly scratch?: (node: Node) => number;
}

export interface Liveness {
  /** Most bytes of activations alive at once: everything but feeds, buffers and constants. */
  readonly peakBytes: number;
  /** The node that runs then; undefined for a graph without activations. */
  readonly peakNode: Node | undefined;
  /** Bytes alive while each node of the order runs: its inputs and outputs, and all that later nodes, fetches and updates need. */
  readonly curve: readonly number[];
}

const defaultAliasing: ReadonlySet<OpName> = new Set(["Reshape"]);

/**
 * Runs through the nodes and counts what is alive. Fetches and updates live to the end of the run.
 *
 * @param order the order in which the engine runs the nodes, if not the graph's
 */
export function measureLiveness(graph: Graph, order: readonly Node[] = graph.nodes, options: LivenessOptions = {}): Liveness {
  const storage = new StorageTable(graph, order, options);
  let peakBytes = 0;
  let peakNode: Node | undefined;
  const curve = order.map((node) => {
    const bytes = storage.run(node);
    if (bytes > peakBytes) [peakBytes, peakNode] = [bytes, node];
    return bytes;
  });
  return { peakBytes, peakNode, curve };
}

/** One piece of memory; a value and its views share it. */
interface Storage {
  readonly bytes: number;
  /** Reads still to come; held by an infinity for fetches and updates. */
  readers: number;
}

/** Which memory each value is in, and how often it will still be read. */
class StorageTable {
  #liveBytes = 0;
  /** By value. */
  readonly #storages: (Storage | undefined)[];
  readonly #reads: Float64Array;
  readonly #aliasing: ReadonlySet<OpName>;
  readonly #inPlace: ReadonlySet<OpName>;
  readonly #scratch: (node: Node) => number;

  constructor(graph: Graph, order: readonly Node[], options: LivenessOptions) {
    this.#aliasing = options.aliasing ?? defaultAliasing;
    this.#inPlace = options.inPlace ?? new Set();
    this.#scratch = options.scratch ?? (() => 0);
    this.#storages = new Array<Storage | undefined>(graph.valueCount);
    this.#reads = new Float64Array(graph.valueCount);
    for (const node of order) for (const input of distinctInputs(node)) this.#addReads(input, 1);
    for (const { id } of [...graph.fetches.values(), ...graph.updates.values()]) this.#reads[id] = Infinity;
    // A view's readers read the memory that it views, the view itself does not.
    for (const node of order.toReversed()) {
      const source = this.#sourceOf(node);
      if (source) this.#addReads(source, this.#readsOf(node.outputs[0]) - 1);
    }
  }

  #readsOf({ id }: Value): number {
    return this.#reads[id] ?? 0;
  }

  #addReads(value: Value, count: number): void {
    this.#reads[value.id] = this.#readsOf(value) + count;
  }

  #sourceOf(node: Node): Value | undefined {
    return this.isView(node) ? inputsOf(node)[0] : undefined;
  }

  /** Bytes that running a node now would free, and would take. */
  effectOf(node: Node): { frees: number; takes: number } {
    const takes = isLeaf(node) || this.#sourceOf(node) ? 0 : node.outputs.reduce((sum, output) => sum + byteSizeOf(output), 0);
    const dying = this.#sourceOf(node) ? [] : this.#dying(node);
    return { takes, frees: dying.reduce((sum, storage) => sum + storage.bytes, 0) };
  }

  isView(node: Node): boolean {
    return this.#aliasing.has(node.op);
  }

  /** Whether running a node now costs no memory: a view, or one that frees as much as it takes. */
  isWorthRunning(node: Node): boolean {
    const { frees, takes } = this.effectOf(node);
    return this.isView(node) || (frees > 0 && frees >= takes);
  }

  /** Whether one node may hold all reads that are left of an output. (One that thousands read is not worth looking through.) */
  isNearlyRead(node: Node): boolean {
    return node.outputs.some((output) => (this.#storages[output.id]?.readers ?? 0) <= mostReadsOfANode);
  }

  /** The memory of which this node holds all reads that are left. */
  #dying(node: Node): readonly Storage[] {
    const storages = distinctInputs(node).map(({ id }) => this.#storages[id]);
    return storages.filter((storage, i): storage is Storage => {
      // Most are read elsewhere, too: nothing has to be counted for them.
      if (!storage || storage.readers > storages.length || storages.indexOf(storage) < i) return false;
      return storage.readers === storages.filter((other) => other === storage).length;
    });
  }

  /** Runs a node; returns the bytes alive while it does. */
  run(node: Node): number {
    const source = this.#sourceOf(node);
    const viewed = source && this.#storages[source.id];
    if (viewed) this.#storages[node.outputs[0].id] = viewed;
    if (source || isLeaf(node)) return this.#liveBytes;
    const dying = this.#dying(node);
    const [first] = node.outputs;
    const reused = this.#inPlace.has(node.op) ? dying.find((storage) => storage.bytes === byteSizeOf(first)) : undefined;
    for (const output of node.outputs) {
      const bytes = byteSizeOf(output);
      this.#storages[output.id] = { bytes, readers: this.#readsOf(output) };
      if (!(output === first && reused)) this.#liveBytes += bytes;
    }
    const during = this.#liveBytes + this.#scratch(node);
    this.#consumeInputs(node);
    for (const storage of dying) if (storage !== reused) this.#liveBytes -= storage.bytes;
    // An output that nothing reads goes at once.
    for (const output of node.outputs) if (this.#readsOf(output) === 0) this.#liveBytes -= byteSizeOf(output);
    return during;
  }

  #consumeInputs(node: Node): void {
    for (const input of distinctInputs(node)) {
      const storage = this.#storages[input.id];
      if (storage) storage.readers -= 1;
    }
  }
}

/** An operator reads the same memory at most so often, as several views. */
const mostReadsOfANode = 4;

function distinctInputs(node: Node): readonly Value[] {
  const inputs = inputsOf(node);
  if (inputs.length < 2) return inputs;
  return inputs.filter((input, i) => inputs.indexOf(input) === i);
}

function isLeaf(node: Node): boolean {
  return node.op === "Input" || node.op === "Constant";
}

/**
 * A copy of the graph with its nodes in an order that takes less memory, or as much: a node that frees at least what it takes (a weight
 * gradient, an optimizer step) runs as soon as its inputs are there, and one that only takes memory runs just before it is read.
 * The order is a heuristic's; it is never worse than the given one by `measureLiveness`.
 */
export function scheduleForMemory(graph: Graph, options: LivenessOptions = {}): Graph {
  const candidates = [
    graph.nodes,
    releaseEarly(graph, graph.nodes, options),
    releaseEarly(graph, startLate(graph, options), options),
  ];
  const rated = candidates.map((order) => {
    const { peakBytes, curve } = measureLiveness(graph, order, options);
    return { order, peakBytes, total: curve.reduce((sum, bytes) => sum + bytes, 0) };
  });
  const best = rated.reduce((a, b) =>
    b.peakBytes < a.peakBytes || (b.peakBytes === a.peakBytes && b.total < a.total) ? b : a,
  );
  return best.order === graph.nodes ? graph : rewrite(graph, () => undefined, { order: best.order }).graph;
}

/** The given order, but nodes that free at least what they take come as soon as they can. */
function releaseEarly(graph: Graph, order: readonly Node[], options: LivenessOptions): readonly Node[] {
  const storage = new StorageTable(graph, order, options);
  const { makersOf, readersOf } = findNeighbours(graph, order);
  const missing = Int32Array.from(makersOf, (makers) => makers.length);
  // Inputs and constants take no memory: they come first, and nothing waits for them.
  const result = order.filter(isLeaf);
  const isDone = new Uint8Array(graph.valueCount);
  for (const node of result) isDone[idOf(node)] = 1;
  const run = (node: Node): void => {
    isDone[idOf(node)] = 1;
    result.push(node);
    storage.run(node);
    for (const reader of readersOf[idOf(node)] ?? []) missing[idOf(reader)] = (missing[idOf(reader)] ?? 0) - 1;
  };
  /** Readers of a node that are worth running at once. */
  const releasedReaders = (maker: Node): readonly Node[] =>
    (readersOf[idOf(maker)] ?? []).filter(
      (reader) => !isDone[idOf(reader)] && missing[idOf(reader)] === 0 && storage.isWorthRunning(reader),
    );
  /** Those of the node, which may be ready now, and those of its inputs, of which one may be the last now. */
  const releasedBy = (node: Node): readonly Node[] => {
    const makers = (makersOf[idOf(node)] ?? []).filter((maker) => storage.isNearlyRead(maker));
    return [node, ...makers].flatMap(releasedReaders);
  };
  for (const node of order) {
    const worklist = [node];
    for (let next = worklist.pop(); next; next = worklist.pop()) {
      if (isDone[idOf(next)]) continue;
      run(next);
      worklist.push(...releasedBy(next));
    }
  }
  // Views ran early to let others run; where they stand makes no difference to memory, and beside their readers they read better.
  return placeLate(result, new Set(result.filter((node) => storage.isView(node))));
}

interface Neighbours {
  /** By node: those that made its inputs, each once, without leaves. */
  readonly makersOf: readonly (readonly Node[])[];
  /** By node, in order; leaves have none. */
  readonly readersOf: readonly (readonly Node[])[];
}

function findNeighbours({ valueCount }: Graph, order: readonly Node[]): Neighbours {
  const makersOf = Array.from({ length: valueCount }, (): readonly Node[] => []);
  const readersOf = Array.from({ length: valueCount }, (): Node[] => []);
  for (const node of order) {
    const makers = inputsOf(node).map((input) => input.node);
    const distinct = makers.filter((maker, i) => !isLeaf(maker) && makers.indexOf(maker) === i);
    makersOf[idOf(node)] = distinct;
    for (const maker of distinct) readersOf[idOf(maker)]?.push(node);
  }
  return { makersOf, readersOf };
}

/** The given order, but nodes that free nothing come just before their first reader. */
function startLate(graph: Graph, options: LivenessOptions): readonly Node[] {
  const storage = new StorageTable(graph, graph.nodes, options);
  const delayed = new Set<Node>();
  for (const node of graph.nodes) {
    const { frees, takes } = storage.effectOf(node);
    storage.run(node);
    if (frees === 0 && takes > 0) delayed.add(node);
  }
  return placeLate(graph.nodes, delayed);
}

/** The given order, but the nodes of `delayed` come just before their first readers. */
function placeLate(order: readonly Node[], delayed: ReadonlySet<Node>): readonly Node[] {
  const waiting = new Set(delayed);
  const result: Node[] = [];
  const place = (root: Node): void => {
    const stack = [root];
    for (let node = stack.at(-1); node; node = stack.at(-1)) {
      const input = inputsOf(node).find(({ node: maker }) => waiting.delete(maker));
      if (input) stack.push(input.node);
      else result.push(...stack.splice(-1));
    }
  };
  for (const node of order) if (!waiting.has(node)) place(node);
  // What nothing reads: fetches, updates.
  for (const node of delayed) if (waiting.delete(node)) place(node);
  return result;
}
