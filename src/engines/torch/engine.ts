/** The torch engine: graphs run by PyTorch in a Python process, on NVIDIA and AMD cards, Apple's GPUs and processors. */
import { UserError } from "../../errors.ts";
import { type Composite, decomposeRules } from "../../graph/decompose.ts";
import type { FloatDType, Graph } from "../../graph/graph.ts";
import { needBuffers, needData, needFeeds } from "../checks.ts";
import type {
  BufferSpec,
  CompileOptions,
  DeviceProfile,
  Engine,
  EngineFacts,
  EngineMemory,
  EngineOverhead,
  Executable,
  TensorData,
  TensorSource,
} from "../engine.ts";
import { cpuSizes, gpuSizes, measureRates } from "../measure.ts";
import { countThreads, findMemoryBytes, nameDevice } from "../ort/device.ts";
import { explainFailure } from "./failures.ts";
import type { DeviceInfo, StartOptions, WireTensor } from "./messages.ts";
import { overheadOf } from "./overhead.ts";
import { WorkerProcess } from "./process.ts";
import { serialize } from "./serialize.ts";

export interface TorchOptions extends Partial<StartOptions> {
  /** The interpreter, as a path or a name on the search path. It must have torch and numpy. */
  readonly python: string;
  /** Of base weights and activations; float32 if not given. */
  readonly precision?: FloatDType;
  /** How many compute together, each on a GPU of its own (on the processor: on a share of the threads). 1 if not given. */
  readonly workers?: number;
  /** Arguments for torchrun, which starts the workers then: how several machines compute together. */
  readonly torchrun?: string | undefined;
}

export interface TorchEngine extends Engine {
  /** What was found, PyTorch's version among it. */
  readonly device: DeviceInfo;
  /** Measures the rates in `profile`, which are 0 until then. */
  measureProfile(): Promise<DeviceProfile>;
}

/**
 * Starts a worker, or several. They end with `dispose`, and when this program does, however that comes about.
 *
 * @throws UserError when Python, PyTorch or the device cannot be used, with what to do about it
 * @example
 * const engine = await createTorchEngine({ python: ".venv/bin/python", precision: "bfloat16", device: "cuda" });
 */
export async function createTorchEngine(options: TorchOptions): Promise<TorchEngine> {
  const { python, precision = "float32", workers = 1, torchrun, ...given } = options;
  const defaults = { device: "auto", tf32: false, deterministic: true, capture: true, compile: false };
  const threads = Math.max(1, Math.floor(countThreads() / workers));
  const start: StartOptions = { threads, ...defaults, ...given };
  if (workers > 1 && start.compile) throw new Error("torch: PyTorch's compiler is for one worker");
  const worker = new WorkerProcess({ python, workers, torchrun });
  try {
    const { result } = await worker.call("start", start, [], true);
    if (result.workers !== workers) throw explainWorkers(result.workers, workers, python);
    if (result.dtypes.includes(precision)) return new WorkerEngine(worker, result, precision, start.threads);
    throw new UserError(`${result.name ?? result.device} does not compute in ${precision}.`, {
      fix: `Choose one of ${result.dtypes.filter((dtype) => dtype !== "int32").join(", ")}.`,
    });
  } catch (error) {
    await worker.close();
    throw error;
  }
}

function explainWorkers(found: number, asked: number, python: string): Error {
  return explainFailure({ kind: "workers", message: `torchrun started ${found}, not ${asked}`, trace: "" }, python);
}

const allComposites: ReadonlySet<Composite> = new Set(Object.keys(decomposeRules) as Composite[]);

/** What a forecast has to know of it, before it is started. `device` is "cpu", "cuda:0", "mps". */
export function torchFacts(device: string, precision: FloatDType): EngineFacts {
  return { composites: allComposites, precision, overhead: overheadOf(device) };
}

class WorkerEngine implements TorchEngine {
  readonly composites = allComposites;
  readonly overhead: EngineOverhead;
  readonly precision: FloatDType;
  readonly device: DeviceInfo;
  readonly workers: number;
  readonly #notes: string[] = [];
  readonly #worker: WorkerProcess;
  readonly #specs = new Map<string, BufferSpec>();
  #profile: DeviceProfile;
  #executables = 0;

  constructor(worker: WorkerProcess, device: DeviceInfo, precision: FloatDType, threads: number) {
    this.#worker = worker;
    this.device = device;
    this.workers = device.workers;
    this.overhead = overheadOf(device.device);
    this.precision = precision;
    this.#profile = {
      engine: "torch",
      name: `${device.workers === 1 ? "" : `${device.workers} x `}${device.name ?? nameDevice(threads)}, PyTorch ${device.torch}`,
      memoryBytes: device.memoryBytes ?? findMemoryBytes(),
      threads,
      dtypes: device.dtypes,
      flopsPerSecond: 0,
      bytesPerSecond: 0,
    };
  }

  get profile(): DeviceProfile {
    return this.#profile;
  }

  async measureProfile(): Promise<DeviceProfile> {
    const sizes = this.device.device === "cpu" ? cpuSizes : gpuSizes;
    this.#profile = { ...this.#profile, ...(await measureRates(this, sizes)) };
    return this.#profile;
  }

  async allocate(spec: BufferSpec, source: TensorSource): Promise<void> {
    const { name, shape } = spec;
    if (this.#specs.has(name)) throw new Error(`torch: buffer ${name} exists already`);
    if (source.kind === "data") needData("torch", `buffer ${name}`, spec, source.data);
    this.#specs.set(name, spec);
    try {
      if (source.kind === "data") {
        await this.#worker.call(
          "allocate",
          { spec, source: { kind: "data" } },
          [{ name: "data", shape, data: source.data }],
          true,
        );
      } else await this.#worker.call("allocate", { spec, source }, [], true);
    } catch (error) {
      this.#specs.delete(name);
      throw error;
    }
  }

  async write(name: string, data: TensorData): Promise<void> {
    const spec = this.#spec(name);
    needData("torch", `buffer ${name}`, spec, data);
    await this.#worker.call("write", { name }, [{ name: "data", shape: spec.shape, data }], true);
  }

  async read(name: string): Promise<TensorData> {
    this.#spec(name);
    const { tensors } = await this.#worker.call("read", { name });
    const data = tensors[0]?.data;
    if (!data) throw new Error(`torch: the worker sent no contents of ${name}`);
    return data;
  }

  async free(name: string): Promise<void> {
    this.#spec(name);
    this.#specs.delete(name);
    await this.#worker.call("free", { name }, [], true);
  }

  async compile(graph: Graph, { name, isShared = false }: CompileOptions): Promise<Executable> {
    needBuffers("torch", graph, name, this.#specs);
    const types = new Map(graph.inputs.flatMap(({ attrs }) => (attrs.kind === "feed" ? [[attrs.name, attrs]] : [])));
    const { program, constants } = serialize(graph, name);
    const id = this.#executables++;
    const worker = this.#worker;
    const notes = this.#notes;
    const workers = this.workers;
    await worker.call("compile", { id, program }, constants, isShared);
    let isDisposed = false;
    return {
      async run(feeds, others = []) {
        if (isDisposed) throw new Error(`torch: ${name} was disposed of`);
        const all = isShared ? [feeds, ...others] : [feeds];
        if (isShared && all.length !== workers)
          throw new Error(`torch: ${name} needs feeds for ${workers} workers, got ${all.length}`);
        for (const own of all) needFeeds("torch", name, types, own);
        const sent = all.flatMap((own, rank) =>
          Object.keys(program.feeds).map((feed): WireTensor => {
            const shape = types.get(feed)?.shape ?? [];
            return { name: isShared ? `${rank}:${feed}` : feed, shape, data: own[feed] as TensorData };
          }),
        );
        const { result, tensors } = await worker.call("run", { id, isShared }, sent, isShared);
        notes.push(...result.notes);
        return Object.fromEntries(tensors.map((tensor) => [tensor.name, tensor.data]));
      },
      async dispose() {
        if (isDisposed) return;
        isDisposed = true;
        // A worker that has ended has nothing left to release; why it did was told when it was called.
        if (!worker.hasEnded) await worker.call("release", { id }, [], isShared);
      },
    };
  }

  async memory(): Promise<EngineMemory> {
    return (await this.#worker.call("memory", null)).result;
  }

  takeNotes(): readonly string[] {
    return this.#notes.splice(0);
  }

  dispose(): Promise<void> {
    return this.#worker.close();
  }

  #spec(name: string): BufferSpec {
    const spec = this.#specs.get(name);
    if (!spec) throw new Error(`torch: there is no buffer ${name}`);
    return spec;
  }
}
