/** Buffers and sessions of ONNX Runtime: what lives on the engine's thread. */
import { MessageChannel } from "node:worker_threads";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { UserError } from "../../errors.ts";
import { byteSizeOf, sizeOf, type Shape } from "../../graph/graph.ts";
import type { BufferSpec, EngineMemory, TensorData, TensorSource } from "../engine.ts";
import { peakResidentBytes } from "../resident-memory.ts";
import { readFileRange } from "./file-range.ts";
import { type AdamWStep, optimizerPrefix } from "../take-out-adamw.ts";
import { applyAdamW } from "./adamw.ts";
import type { ConstantTensor } from "./emit.ts";
import type { Calls, CompiledModel, FeedShapes } from "./messages.ts";

/**
 * A buffer's tensor, made once and given to every session that reads it: ONNX Runtime works in the array itself. What a step writes
 * goes to `spare`, because another node may still read the old contents, and the two change places after the run.
 */
interface Buffer {
  readonly spec: BufferSpec;
  current: Tensor;
  spare: Tensor | undefined;
}

/** What one size of a session's graphs runs with. */
interface SessionSize {
  readonly feedShapes: FeedShapes;
  readonly constants: Readonly<Record<string, Tensor>>;
}

interface CompiledSession {
  readonly name: string;
  readonly sizes: Map<number, SessionSize>;
  readonly model: Omit<CompiledModel, "bytes">;
  readonly session: InferenceSession;
}

export class Runtime {
  readonly #threads: number;
  readonly #buffers = new Map<string, Buffer>();
  readonly #sessions = new Map<number, CompiledSession>();
  /** A port that is closed: what is sent to it is freed. */
  readonly #nowhere = new MessageChannel().port1;
  #peakBytes = 0;

  constructor(threads: number) {
    this.#threads = threads;
    this.#nowhere.close();
  }

  async allocate(spec: BufferSpec, source: TensorSource): Promise<undefined> {
    const data = guardMemory(`for buffer ${spec.name} (${byteSizeOf(spec)} bytes)`, () => makeContents(spec, source));
    this.#buffers.set(spec.name, { spec, current: tensorOf(await data, spec.shape), spare: undefined });
    return undefined;
  }

  write(name: string, data: TensorData): undefined {
    (this.#buffer(name).current.data as TensorData).set(data);
  }

  read(name: string): TensorData {
    return (this.#buffer(name).current.data as TensorData).slice();
  }

  free(name: string): undefined {
    const { current, spare } = this.#buffer(name);
    this.#buffers.delete(name);
    current.dispose();
    spare?.dispose();
  }

  /** A session that has this id already is replaced, and its sizes are forgotten. */
  async compile({ id, name, keepsMemory, model: { bytes, ...model } }: Calls["compile"]["takes"]): Promise<undefined> {
    await this.release(id);
    const options = sessionOptions(this.#threads, keepsMemory);
    const session = await guardMemory(`to compile ${name}`, () => InferenceSession.create(bytes, options));
    this.#discard([bytes]);
    this.#sessions.set(id, { name, model, session, sizes: new Map() });
  }

  addSize({ id, size, feedShapes, constants }: Calls["addSize"]["takes"]): undefined {
    const tensors = Object.entries(constants).map(([input, constant]) => [input, constantTensor(constant)] as const);
    this.#session(id).sizes.set(size, { feedShapes, constants: Object.fromEntries(tensors) });
  }

  async run({ id, size, feeds }: Calls["run"]["takes"]): Promise<Record<string, TensorData>> {
    const { name, model, session, sizes } = this.#session(id);
    const { feedShapes, constants } = (size === undefined ? undefined : sizes.get(size)) ?? { ...model, constants: {} };
    const taken: Record<string, Tensor> = { ...constants };
    for (const feed of model.feeds) taken[`feed:${feed}`] = tensorOf(feeds[feed], feedShapes[feed]);
    for (const buffer of model.buffers) taken[`buffer:${buffer}`] = this.#buffer(buffer).current;
    const wanted: Record<string, Tensor | null> = {};
    for (const fetch of model.fetches) wanted[`fetch:${fetch}`] = null;
    for (const update of model.updates) wanted[`update:${update}`] = this.#spare(update);
    const results = await guardMemory(`to run ${name}`, () => session.run(taken, wanted));
    for (const update of model.updates) swap(this.#buffer(update));
    const fetched = (fetch: string): TensorData => results[`fetch:${fetch}`]?.data as TensorData;
    for (const step of model.optimizerSteps) this.#applyAdamW(step, fetched);
    const asked = model.fetches.filter((fetch) => !fetch.startsWith(optimizerPrefix));
    const given = Object.fromEntries(asked.map((fetch) => [fetch, fetched(fetch)]));
    const spent = Object.values(results).filter((result) => !Object.values(wanted).includes(result));
    this.#discard([...Object.values(feeds), ...spent.map(({ data }) => data as TensorData)], Object.values(given));
    return given;
  }

  async release(id: number): Promise<undefined> {
    const compiled = this.#sessions.get(id);
    this.#sessions.delete(id);
    await compiled?.session.release();
  }

  memory(): EngineMemory {
    let bufferBytes = 0;
    for (const { spec, spare } of this.#buffers.values()) bufferBytes += byteSizeOf(spec) * (spare ? 2 : 1);
    const residentBytes = process.memoryUsage.rss();
    // Of the whole process since its start.
    this.#peakBytes = Math.max(this.#peakBytes, residentBytes, peakResidentBytes());
    return { bufferBytes, residentBytes, peakBytes: this.#peakBytes };
  }

  async close(): Promise<undefined> {
    for (const id of [...this.#sessions.keys()]) await this.release(id);
    for (const name of [...this.#buffers.keys()]) this.free(name);
  }

  #session(id: number): CompiledSession {
    const session = this.#sessions.get(id);
    if (!session) throw new Error(`internal: ort: session ${id} is not there`);
    return session;
  }

  #buffer(name: string): Buffer {
    const buffer = this.#buffers.get(name);
    if (!buffer) throw new Error(`ort: buffer ${name} is not there any more`);
    return buffer;
  }

  #applyAdamW(step: AdamWStep, fetched: (name: string) => TensorData): void {
    const array = (buffer: string): Float32Array => this.#buffer(buffer).current.data as Float32Array;
    const number = (name: string): number => fetched(name)[0] ?? NaN;
    applyAdamW(array(step.weight), array(step.m), array(step.v), fetched(step.grad) as Float32Array, {
      ...step,
      gradScale: step.gradScale === undefined ? 1 : number(step.gradScale),
      learningRate: number(step.learningRate),
      correction1: number(step.correction1),
      correction2: number(step.correction2),
    });
  }

  /** Frees arrays at once: the collector would let those of many runs pile up, because to it they are small. */
  #discard(arrays: readonly ArrayBufferView[], kept: readonly ArrayBufferView[] = []): void {
    const held = new Set(kept.map(({ buffer }) => buffer));
    const spent = arrays.flatMap(({ buffer }) => (buffer instanceof ArrayBuffer && !held.has(buffer) ? [buffer] : []));
    this.#nowhere.postMessage(undefined, [...new Set(spent)]);
  }

  #spare(name: string): Tensor {
    const buffer = this.#buffer(name);
    buffer.spare ??= tensorOf(emptyArray(buffer.spec), buffer.spec.shape);
    return buffer.spare;
  }
}

function swap(buffer: Buffer): void {
  const { current, spare } = buffer;
  if (!spare) return;
  buffer.current = spare;
  buffer.spare = current;
}

function sessionOptions(threads: number, keepsMemory: boolean): InferenceSession.SessionOptions {
  return {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    // The model is lowered as it shall run. ONNX Runtime's own passes would merge what was recomputed on purpose, and change the order.
    graphOptimizationLevel: "disabled",
    // Without an arena, memory goes back to the allocator when a value dies, and every bucket's step uses the same. With one, a session keeps
    // the most that it ever needed, but puts values of other sizes where one died, which the allocator of the C library does far worse.
    enableCpuMemArena: keepsMemory,
    enableMemPattern: false,
    // What goes wrong is thrown; nothing is printed besides.
    logSeverityLevel: 4,
    // Threads that wait by spinning starve everything else on a busy machine, the other threads of the same step included.
    // Denormals are left as they are: ONNX Runtime sets them to zero on the process's first engine thread only, so bytes would vary.
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  };
}

function tensorOf(data: TensorData | undefined, shape: Shape | undefined): Tensor {
  if (!data || !shape) throw new Error("internal: ort: a tensor needs data and a shape");
  return data instanceof Float32Array ? new Tensor("float32", data, shape) : new Tensor("int32", data, shape);
}

function constantTensor({ data, dims }: ConstantTensor): Tensor {
  return data instanceof BigInt64Array ? new Tensor("int64", data, dims) : tensorOf(data, dims);
}

function emptyArray({ shape, dtype }: BufferSpec): TensorData {
  return dtype === "int32" ? new Int32Array(sizeOf(shape)) : new Float32Array(sizeOf(shape));
}

async function makeContents(spec: BufferSpec, source: TensorSource): Promise<TensorData> {
  if (source.kind === "data") return source.data;
  const data = emptyArray(spec);
  if (source.kind === "file") await readFileRange(source, data, spec.name);
  return data;
}

/** Turns "no memory" of any origin into something that a person can act on. */
async function guardMemory<T>(purpose: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (!/bad_alloc|allocat(e|ion).*(failed|memory)|failed to allocate|invalid typed array length/i.test(message)) throw error;
    throw new UserError(`The CPU engine found no memory ${purpose}: ${message}`, {
      fix: "Close other programs, or train with a smaller resolution, batch or model.",
      cause: error,
    });
  }
}
