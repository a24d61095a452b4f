/**
 * What an engine is: it holds buffers, compiles graphs and runs them. Everything below this interface knows nothing of
 * diffusion; everything above knows nothing of devices.
 */
import type { Composite } from "../graph/decompose.ts";
import type { DType, FloatDType, Graph, Shape } from "../graph/graph.ts";
import type { GraphMemory } from "../graph/memory.ts";

export type TensorData = Float32Array | Int32Array;

/** What one node of hardware can do. Rates are measured by the engine on this machine, not looked up. */
export interface DeviceProfile {
  readonly engine: "ort" | "torch" | "webgpu";
  /** The device's own name, e.g. "AMD EPYC (2 threads)". */
  readonly name: string;
  readonly memoryBytes: number;
  readonly threads: number;
  readonly dtypes: readonly DType[];
  /** Rate of a large matrix product in the engine's precision. */
  readonly flopsPerSecond: number;
  /** Rate of an elementwise addition, bytes read and written. */
  readonly bytesPerSecond: number;
  /** How long operations of each kind take, small ones too; absent where only the two rates are known. */
  readonly kinds?: Readonly<Record<OperationKind, OperationTime>>;
}

/** Kinds of operations whose time is told apart: their work is in floating-point operations, and in bytes for `elementwise`. */
export type OperationKind = "product" | "lowRank" | "convolution" | "elementwise";

/** Time as a straight line of work: the smallest operation takes `fixedSeconds`. */
export interface OperationTime {
  readonly fixedSeconds: number;
  readonly workPerSecond: number;
}

/** Where a buffer's first contents come from. A file range is read by the engine itself, straight to where it is needed. */
export type TensorSource =
  | { readonly kind: "data"; readonly data: TensorData }
  | { readonly kind: "zeros" }
  | {
      readonly kind: "file";
      readonly path: string;
      /** Absolute position of the first byte in the file. */
      readonly offset: number;
      readonly byteLength: number;
      /** The safetensors name of the stored dtype: "F32", "F16", "BF16", ... */
      readonly storedDtype: string;
      /** What the file calls it, for messages. */
      readonly key?: string;
      /** [rows, columns] of the matrix that the range holds, where the buffer is its transpose. */
      readonly transposedFrom?: readonly [rows: number, columns: number];
    };

export interface BufferSpec {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype: DType;
}

export interface EngineMemory {
  /** Bytes in buffers now. */
  readonly bufferBytes: number;
  /** Resident memory of the process or device now, and the most it has been. */
  readonly residentBytes: number;
  readonly peakBytes: number;
  /** Memory of the device that this engine or any other program could still take; absent where the machine's own memory is meant. */
  readonly freeBytes?: number;
}

/** A compiled graph. */
export interface Executable {
  /**
   * Runs the graph once: feeds in, updates written to their buffers, fetches out. `feeds` must hold exactly the graph's feeds.
   * A feed's array may be moved to the engine's thread; do not use it afterwards.
   *
   * @param others for an executable of all workers: the feeds of the second one and of those after it. What is fetched is the first one's.
   */
  run(
    feeds: Readonly<Record<string, TensorData>>,
    others?: readonly Readonly<Record<string, TensorData>>[],
  ): Promise<Record<string, TensorData>>;
  dispose(): Promise<void>;
}

export interface CompileOptions {
  /** Shown in errors and profiles. */
  readonly name: string;
  /**
   * Keep what a run took for the next run: less memory lies broken up, but every such executable holds its own. For the one graph that runs
   * again and again, not for each of many.
   */
  readonly keepsMemory?: boolean;
  /**
   * Graphs of the same name here differ in the sizes of their inputs alone. They never run at the same time, and may share what they are
   * compiled to and the memory of a run.
   */
  readonly sizeOf?: string | undefined;
  /** All workers run it at once, each on feeds of its own; only the first worker runs the others. */
  readonly isShared?: boolean;
}

/** What an engine takes in memory. */
export interface EngineOverhead {
  /**
   * For a graph that is run as it is, in its order: call `optimise` first.
   *
   * @param options.isSized it is compiled with `CompileOptions.sizeOf`
   */
  countMemory(graph: Graph, options?: { readonly isSized?: boolean }): GraphMemory;
  /** Whether graphs that differ in sizes alone share what they are compiled to. */
  readonly sharesSizes: boolean;
  /** Bytes taken before anything is allocated: the runtime and its libraries, where the memory is that of `DeviceProfile.memoryBytes`. */
  readonly startBytes: number;
  /** Whether all of it lies in this process, so that what else the process holds counts too. */
  readonly isInProcess: boolean;
}

/** What can be told of an engine without starting it: all that a forecast has to know. */
export type EngineFacts = Pick<Engine, "composites" | "precision" | "overhead">;

export interface Engine {
  readonly profile: DeviceProfile;
  /** What base weights and activations are computed in (see graph/precision.ts); the caller lowers graphs to it. */
  readonly precision: FloatDType;
  /** The composites it runs whole: what `optimise` (graph/passes.ts) is to keep before a graph is compiled. */
  readonly composites: ReadonlySet<Composite>;
  /** How many workers run what is shared, joined by `AllReduceMean`; 1 where absent. Each has every buffer. */
  readonly workers?: number;
  readonly overhead: EngineOverhead;
  /** Makes a named buffer; refuses a name that exists. */
  allocate(buffer: BufferSpec, source: TensorSource): Promise<void>;
  /** Replaces a buffer's contents. */
  write(name: string, data: TensorData): Promise<void>;
  /** A copy of a buffer's contents. */
  read(name: string): Promise<TensorData>;
  free(name: string): Promise<void>;
  /**
   * Every buffer that the graph names must have been allocated with the same shape and dtype. The graph is run as it is, in its order:
   * call `optimise` first.
   */
  compile(graph: Graph, options: CompileOptions): Promise<Executable>;
  memory(): Promise<EngineMemory>;
  /** What it did otherwise than asked since the last time it was asked, for the user to read; nothing where it is absent. */
  takeNotes?(): readonly string[];
  dispose(): Promise<void>;
}
