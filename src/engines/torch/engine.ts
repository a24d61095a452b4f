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
import type { DeviceInfo, StartOptions, WireTensor } from "./messages.ts";
import { overheadOf } from "./overhead.ts";
import { WorkerProcess } from "./process.ts";
import { serialize } from "./serialize.ts";

export interface TorchOptions extends Partial<StartOptions> {
  /** The interpreter, as a path or a name on the search path. It must have torch and numpy. */
  readonly python: string;
  /** Of base weights and activations; float32 if not given. */
  readonly precision?: FloatDType;
}

export interface TorchEngine extends Engine {
  /** What was found, PyTorch's version among it. */
  readonly device: DeviceInfo;
  /** Measures the rates in `profile`, which are 0 until then. */
  measureProfile(): Promise<DeviceProfile>;
}

/**
 * Starts a worker. It ends with `dispose`, and when this program does, however that comes about.
 *
 * Gradients are all summed up before the optimizer's steps (trainer/optimize.ts), which is where several processes would add theirs.
 *
 * @throws UserError when Python, PyTorch or the device cannot be used, with what to do about it
 * @example
 * const engine = await createTorchEngine({ python: ".venv/bin/python", precision: "bfloat16", device: "cuda" });
 */
export async function createTorchEngine({ python, precision = "float32", ...given }: TorchOptions): Promise<TorchEngine> {
  const defaults = { device: "auto", tf32: false, deterministic: true, capture: true, compile: false };
  const options: StartOptions = { threads: countThreads(), ...defaults, ...given };
  const worker = new WorkerProcess(python);
  try {
    const { result } = await worker.call("start", options);
    if (result.dtypes.includes(precision)) return new WorkerEngine(worker, result, precision, options.threads);
    throw new UserError(`${result.name ?? result.device} does not compute in ${precision}.`, {
      fix: `Choose one of ${result.dtypes.filter((dtype) => dtype !== "int32").join(", ")}.`,
    });
  } catch (error) {
    await worker.close();
    throw error;
  }
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
  readonly #notes: string[] = [];
  readonly #worker: WorkerProcess;
  readonly #specs = new Map<string, BufferSpec>();
  #profile: DeviceProfile;
  #executables = 0;

  constructor(worker: WorkerProcess, device: DeviceInfo, precision: FloatDType, threads: number) {
    this.#worker = worker;
    this.device = device;
    this.overhead = overheadOf(device.device);
    this.precision = precision;
    this.#profile = {
      engine: "torch",
      name: `${device.name ?? nameDevice(threads)}, PyTorch ${device.torch}`,
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
        await this.#worker.call("allocate", { spec, source: { kind: "data" } }, [{ name: "data", shape, data: source.data }]);
      } else await this.#worker.call("allocate", { spec, source });
    } catch (error) {
      this.#specs.delete(name);
      throw error;
    }
  }

  async write(name: string, data: TensorData): Promise<void> {
    const spec = this.#spec(name);
    needData("torch", `buffer ${name}`, spec, data);
    await this.#worker.call("write", { name }, [{ name: "data", shape: spec.shape, data }]);
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
    await this.#worker.call("free", { name });
  }

  async compile(graph: Graph, { name }: CompileOptions): Promise<Executable> {
    needBuffers("torch", graph, name, this.#specs);
    const types = new Map(graph.inputs.flatMap(({ attrs }) => (attrs.kind === "feed" ? [[attrs.name, attrs]] : [])));
    const { program, constants } = serialize(graph, name);
    const id = this.#executables++;
    const worker = this.#worker;
    const notes = this.#notes;
    await worker.call("compile", { id, program }, constants);
    let isDisposed = false;
    return {
      async run(feeds) {
        if (isDisposed) throw new Error(`torch: ${name} was disposed of`);
        needFeeds("torch", name, types, feeds);
        const sent = Object.keys(program.feeds).map((feed): WireTensor => {
          return { name: feed, shape: types.get(feed)?.shape ?? [], data: feeds[feed] as TensorData };
        });
        const { result, tensors } = await worker.call("run", { id }, sent);
        notes.push(...result.notes);
        return Object.fromEntries(tensors.map((tensor) => [tensor.name, tensor.data]));
      },
      async dispose() {
        if (isDisposed) return;
        isDisposed = true;
        // A worker that has ended has nothing left to release; why it did was told when it was called.
        if (!worker.hasEnded) await worker.call("release", { id });
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
