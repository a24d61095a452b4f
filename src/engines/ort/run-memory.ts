/** What a run of a lowered model takes, found by doing all that ONNX Runtime would allocate and free, without computing anything. */
import { type NodeProto, TensorProto_DataType as DataType } from "onnx-buf";
import { byteSizeOf, sizeOf } from "../../graph/graph.ts";
import { Arena, type Chunk } from "./arena.ts";
import type { ModelContents, OnnxName } from "./emit.ts";
import { constantValue, type ModelValue, outputsOf } from "./shapes.ts";

export interface RunMemory {
  /** All outputs of the model, which its Node binding copies. */
  readonly outputBytes: number;
  /** The most that is in use at once: what a run takes where memory goes back to the system when a value dies. */
  readonly liveBytes: number;
  /** What an arena takes for it, and holds until the session ends. */
  readonly heldBytes: number;
}

/** These hand their input on where nothing fixes a place for their output. */
const views: ReadonlySet<string> = new Set(["Identity", "Reshape"]);

/** A piece of memory; a value and its views share it. */
interface Storage {
  readonly chunk: Chunk | undefined;
  /** Reads still to come, of the value and of its views. */
  readers: number;
}

/**
 * @param contents nodes in the order in which they run
 * @param threads of the session: convolutions take working memory for each
 * @param elsewhere outputs that are written to arrays which are there anyway
 * @param onRun told of every node once it has run, before anything is freed
 */
export function countRun(
  contents: ModelContents,
  threads: number,
  elsewhere: ReadonlySet<OnnxName>,
  onRun?: (node: NodeProto, arena: Arena) => void,
): RunMemory {
  const { nodes, outputs } = contents;
  const values = new Map<OnnxName, ModelValue>();
  for (const [name, type] of contents.inputs) values.set(name, { shape: type.shape, bytes: byteSizeOf(type) });
  for (const constant of contents.constants) values.set(constant.name, constantValue(constant, DataType.INT64));
  const reads = countReads(nodes, outputs);
  const storages = new Map<OnnxName, Storage>();
  const arena = new Arena();
  const release = (name: OnnxName): void => {
    const storage = storages.get(name);
    if (!storage || --storage.readers > 0) return;
    if (storage.chunk) arena.free(storage.chunk);
  };
  for (const node of nodes) {
    const made = outputsOf(node, (name) => values.get(name));
    node.output.forEach((name, i) => {
      const value = made[i];
      if (!value) return;
      values.set(name, value);
      const viewed = views.has(node.opType) && !outputs.has(name) ? node.input[0] : undefined;
      const readers = reads.get(name) ?? 0;
      if (viewed !== undefined) {
        const storage = storages.get(viewed);
        if (!storage) return;
        storage.readers += readers;
        storages.set(name, storage);
        return;
      }
      storages.set(name, { chunk: elsewhere.has(name) ? undefined : arena.allocate(value.bytes), readers });
    });
    const working = workingBytes(node, values, threads);
    if (working > 0) arena.free(arena.allocate(working));
    onRun?.(node, arena);
    for (const name of new Set(node.input)) release(name);
    // What nothing reads goes at once.
    for (const name of node.output) if (name !== "" && (reads.get(name) ?? 0) === 0 && !views.has(node.opType)) release(name);
  }
  const outputBytes = [...outputs].reduce((sum, name) => sum + (values.get(name)?.bytes ?? 0), 0);
  return { outputBytes, liveBytes: arena.peakLiveBytes, heldBytes: arena.heldBytes };
}

/** How many nodes read each value; outputs of the model stay to the end. */
function countReads(nodes: readonly NodeProto[], outputs: ReadonlySet<OnnxName>): ReadonlyMap<OnnxName, number> {
  const reads = new Map<OnnxName, number>();
  for (const { input } of nodes) for (const name of new Set(input)) reads.set(name, (reads.get(name) ?? 0) + 1);
  for (const name of outputs) reads.set(name, Infinity);
  return reads;
}

/** float32 that each thread of a convolution packs at a time (`MLAS_CONV_WORKING_BUFFER_SIZE_PER_THREAD`). */
const packedPerThread = 128 * 128;
/** Multiplications that are worth a thread (`MLAS_SGEMM_THREAD_COMPLEXITY`). */
const workPerThread = 64 * 1024;

/** What a kernel takes for itself while it runs (`MlasConvPrepare` and `ConvTranspose` in the sources). */
function workingBytes(node: NodeProto, values: ReadonlyMap<OnnxName, ModelValue>, threads: number): number {
  const [x, weight, y] = [node.input[0], node.input[1], node.output[0]].map((name) => values.get(name ?? "")?.shape);
  if (!x || !weight || !y) return 0;
  if (node.opType === "ConvTranspose") return 4 * sizeOf(weight.slice(1)) * sizeOf(x.slice(2));
  if (node.opType !== "Conv") return 0;
  const [batch = 1] = x;
  const [filters = 1, ...window] = weight;
  const depth = sizeOf(window);
  const positions = sizeOf(y.slice(2));
  const isPointwise = sizeOf(window.slice(1)) === 1 && sizeOf(x.slice(2)) === positions;
  if (isPointwise) return 0;
  if (filters > positions) return 4 * positions * depth;
  const work = filters * positions * depth;
  if (batch > 1) {
    return 4 * Math.min(threads, batch) * Math.max(positions * depth, filters * positions, packedPerThread);
  }
  return 4 * Math.min(threads, Math.floor(work / workPerThread) + 1) * packedPerThread;
}
