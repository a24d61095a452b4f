/** The CPU engine: float32 on ONNX Runtime, in a thread of its own. Needs nothing but npm. */
import type { Graph } from "../../graph/graph.ts";
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
import { cpuSizes, measureKinds, measureRates } from "../measure.ts";
import { countThreads, findMemoryBytes, nameDevice } from "./device.ts";
import { type BuiltModel, buildModel, kept } from "./lower.ts";
import { writeModel } from "./write-model.ts";
import { countModel, keepsMemory, ortOverhead, ortOverheadOf } from "./overhead.ts";
import { type SessionOptions, type SizedModel, SizedSession } from "./sized-session.ts";
import { ThreadClient, transferable } from "./thread-client.ts";

export interface OrtEngine extends Engine {
  /** Measures the rates in `profile`, which are 0 until then; about a second. */
  measureProfile(): Promise<DeviceProfile>;
}

/**
 * Starts the CPU engine. Graphs may be float32 and int32; nodes run in the graph's order (see `prepareGraph`).
 *
 * @param options.threads processors to use; all that this process may use, if not given
 * @throws UserError when ONNX Runtime has no library for this machine
 * @example
 * const engine = await createOrtEngine();
 * await engine.allocate({ name: "w", shape: [2], dtype: "float32" }, { kind: "zeros" });
 * const step = await engine.compile(graph, { name: "step" });
 * const { loss } = await step.run({ x: new Float32Array([1, 2]) });
 * await engine.dispose();
 */
export async function createOrtEngine(options: { readonly threads?: number } = {}): Promise<OrtEngine> {
  const threads = options.threads ?? countThreads();
  const thread = new ThreadClient({ threads });
  await thread.call("memory", undefined); // Its library is loaded when it answers.
  return new CpuEngine(thread, threads);
}

/** What a forecast has to know of it, before it is started. */
export const ortFacts: EngineFacts = { composites: kept, precision: "float32", overhead: ortOverhead };

/** Where a compiled graph is to be run. */
interface Place {
  readonly at: { readonly id: number; readonly size?: number };
  release(): Promise<void>;
}

class CpuEngine implements OrtEngine {
  readonly composites = kept;
  readonly precision = "float32";
  readonly overhead: EngineOverhead;
  readonly #thread: ThreadClient;
  readonly #specs = new Map<string, BufferSpec>();
  #profile: DeviceProfile;
  /** By `CompileOptions.sizeOf`. */
  readonly #groups = new Map<string, SizedSession>();
  #sessions = 0;

  constructor(thread: ThreadClient, threads: number) {
    this.#thread = thread;
    this.overhead = ortOverheadOf(threads);
    this.#profile = {
      engine: "ort",
      name: nameDevice(threads),
      memoryBytes: findMemoryBytes(),
      threads,
      dtypes: ["float32", "int32"],
      flopsPerSecond: 0,
      bytesPerSecond: 0,
    };
  }

  get profile(): DeviceProfile {
    return this.#profile;
  }

  async measureProfile(): Promise<DeviceProfile> {
    const rates = await measureRates(this, cpuSizes);
    this.#profile = { ...this.#profile, ...rates, kinds: await measureKinds(this, cpuSizes, rates) };
    return this.#profile;
  }

  async allocate(spec: BufferSpec, source: TensorSource): Promise<void> {
    if (this.#specs.has(spec.name)) throw new Error(`ort: buffer ${spec.name} exists already`);
    if (spec.dtype !== "float32" && spec.dtype !== "int32") {
      throw new Error(`ort: buffer ${spec.name} is ${spec.dtype}; the CPU engine holds float32 and int32`);
    }
    if (source.kind === "data") needData("ort", `buffer ${spec.name}`, spec, source.data);
    this.#specs.set(spec.name, spec);
    try {
      await this.#thread.call("allocate", { spec, source });
    } catch (error) {
      this.#specs.delete(spec.name);
      throw error;
    }
  }

  async write(name: string, data: TensorData): Promise<void> {
    needData("ort", `buffer ${name}`, this.#spec(name), data);
    await this.#thread.call("write", { name, data });
  }

  async read(name: string): Promise<TensorData> {
    this.#spec(name);
    return this.#thread.call("read", { name });
  }

  async free(name: string): Promise<void> {
    this.#spec(name);
    this.#specs.delete(name);
    await this.#thread.call("free", { name });
  }

  async compile(graph: Graph, { name, keepsMemory: isAsked = false, sizeOf }: CompileOptions): Promise<Executable> {
    needBuffers("ort", graph, name, this.#specs);
    const feedTypes = new Map(graph.inputs.flatMap(({ attrs }) => (attrs.kind === "feed" ? [[attrs.name, attrs]] : [])));
    const feedShapes = Object.fromEntries([...feedTypes].map(([feed, { shape }]) => [feed, shape]));
    const built = buildModel(graph, { isSized: sizeOf !== undefined });
    // Alone, so that an executable does not hold its model.
    const { feeds: readFeeds } = built;
    const sized = { built, feedShapes };
    const place =
      sizeOf === undefined
        ? await this.#compileAlone(sized, this.#optionsFor(built, name, isAsked))
        : await this.#compileSize(sizeOf, sized, name, isAsked);
    const thread = this.#thread;
    let isDisposed = false;
    return {
      async run(feeds) {
        if (isDisposed) throw new Error(`ort: ${name} was disposed of`);
        needFeeds("ort", name, feedTypes, feeds);
        const read = Object.fromEntries(readFeeds.map((feed) => [feed, feeds[feed] as TensorData]));
        return thread.call("run", { ...place.at, feeds: read }, transferable(Object.values(read)));
      },
      async dispose() {
        if (isDisposed) return;
        isDisposed = true;
        await place.release();
      },
    };
  }

  #optionsFor(built: BuiltModel, name: string, isAsked: boolean): SessionOptions {
    return { name, keepsMemory: keepsMemory(countModel(built, this.#profile.threads).heldBytes, isAsked) };
  }

  async #compileAlone({ built, feedShapes }: SizedModel, options: SessionOptions): Promise<Place> {
    const { model, ...names } = built;
    const id = this.#sessions++;
    const bytes = writeModel(model);
    await this.#thread.call("compile", { id, ...options, model: { ...names, bytes, feedShapes } }, [bytes.buffer]);
    return { at: { id }, release: () => this.#thread.call("release", { id }) };
  }

  async #compileSize(group: string, sized: SizedModel, name: string, isAsked: boolean): Promise<Place> {
    const { built } = sized;
    const known = this.#groups.get(group);
    // Of several sessions for one group each would hold its own memory.
    if (known && !known.fits(built)) return this.#compileAlone(sized, this.#optionsFor(built, name, false));
    const session = known ?? new SizedSession(this.#thread, this.#sessions++, built, this.#optionsFor(built, name, isAsked));
    this.#groups.set(group, session);
    const size = await session.add(sized);
    const release = async (): Promise<void> => {
      if (!session.remove(size)) return;
      // Before it has ended, so that nothing more is added to it.
      this.#groups.delete(group);
      await this.#thread.call("release", { id: session.id });
    };
    return { at: { id: session.id, size }, release };
  }

  memory(): Promise<EngineMemory> {
    return this.#thread.call("memory", undefined);
  }

  dispose(): Promise<void> {
    return this.#thread.close();
  }

  #spec(name: string): BufferSpec {
    const spec = this.#specs.get(name);
    if (!spec) throw new Error(`ort: there is no buffer ${name}`);
    return spec;
  }
}
