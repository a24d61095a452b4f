/** What is known of a machine: plain values that probes gather (gather.ts) and judges read (judge.ts). A recorded machine is one of these. */
import type { EngineCheck } from "../engines/check-engine.ts";
import type { EngineChoice } from "../engines/choose.ts";
import type { DeviceInfo, FailureKind } from "../engines/torch/messages.ts";

/** What came of asking a program. */
export type Outcome<T> =
  | { readonly status: "ok"; readonly value: T }
  /** There is no such program. */
  | { readonly status: "absent" }
  /** @param said the last that it printed, on one line */
  | { readonly status: "failed"; readonly said: string }
  | { readonly status: "timed-out"; readonly afterMs: number };

export interface SystemFacts {
  readonly platform: NodeJS.Platform;
  /** "Debian GNU/Linux 12", "macOS 15.1", "Windows 11 Pro". */
  readonly name: string;
  readonly kernel: string;
  /** Of Node: "x64", "arm64", "ia32". */
  readonly arch: string;
  readonly node: string;
  /** False where Linux has another C library than glibc, such as Alpine's musl; true elsewhere. */
  readonly hasGlibc: boolean;
  readonly wsl: 1 | 2 | null;
  /** What kind of container this runs in; null outside of one. */
  readonly container: string | null;
  /** An Apple processor that runs Node by translation from Intel's. */
  readonly isTranslated: boolean;
}

export interface ProcessorFacts {
  readonly model: string;
  /** Logical processors of the machine, and how many this process may use. */
  readonly logical: number;
  readonly usable: number;
  /** Of those that matter to matrix products: "AVX2", "AVX-512", "AMX", "NEON"; null where they cannot be read. */
  readonly instructions: readonly string[] | null;
}

export interface MemoryFacts {
  readonly totalBytes: number;
  /** What a new program could have without pushing others out. */
  readonly availableBytes: number;
  /** A container's or control group's limit, where it is below the machine's memory. */
  readonly limitBytes: number | null;
}

export type DiskRole = "runs" | "caches" | "torch";

export interface DiskFacts {
  readonly role: DiskRole;
  readonly path: string;
  readonly freeBytes: number | null;
  /** Why nothing can be written there; null where it can. */
  readonly problem: string | null;
  readonly writeBytesPerSecond: number | null;
  /** Past the system's cache; null where that cannot be measured. */
  readonly readBytesPerSecond: number | null;
  /** "NFS", "SMB", "a Windows drive in WSL": what is not a disk of this machine. */
  readonly remote: string | null;
}

export interface GpuProcess {
  /** Name of the program, without its folder. */
  readonly name: string;
  readonly memoryBytes: number | null;
}

export interface NvidiaGpu {
  readonly name: string;
  readonly memoryBytes: number;
  readonly usedBytes: number;
  /** "8.9"; null where the driver is too old to tell. */
  readonly capability: string | null;
}

export interface NvidiaFacts {
  /** "550.54.14" */
  readonly driver: string;
  /** The newest CUDA that the driver runs, "12.4"; null where it does not say. */
  readonly cuda: string | null;
  readonly gpus: readonly NvidiaGpu[];
  readonly processes: readonly GpuProcess[];
}

export interface AmdGpu {
  readonly name: string;
  readonly memoryBytes: number | null;
  readonly usedBytes: number | null;
  /** "gfx1100" */
  readonly architecture: string | null;
}

export interface AmdFacts {
  readonly driver: string | null;
  readonly gpus: readonly AmdGpu[];
}

/** A display adapter or accelerator that the bus or the system knows, whether or not a driver runs it. */
export interface Adapter {
  readonly vendor: "NVIDIA" | "AMD" | "Intel" | "Apple" | "other";
  /** null where only the bus knows it. */
  readonly name: string | null;
}

/** Files by which drivers give access to cards on Linux; null on other systems. */
export interface DeviceNodes {
  readonly nvidia: boolean;
  /** ROCm's. */
  readonly kfd: "usable" | "forbidden" | "absent";
  /** Windows' cards in WSL. */
  readonly dxg: boolean;
  /** The free driver, which has no CUDA, holds NVIDIA's card. */
  readonly nouveau: boolean;
}

export interface GpuFacts {
  readonly adapters: readonly Adapter[];
  readonly nodes: DeviceNodes | null;
  readonly nvidia: Outcome<NvidiaFacts>;
  readonly amd: Outcome<AmdFacts>;
  /** Names of the devices that Vulkan has. */
  readonly vulkan: Outcome<readonly string[]>;
}

export interface PythonAnswer {
  /** "3.12.4" */
  readonly version: string;
  /** Its own full path, links of environments not followed. */
  readonly executable: string;
  readonly bits: number;
  /** Of the interpreter: "x86_64", "arm64". */
  readonly machine: string;
  readonly isVirtual: boolean;
  readonly isConda: boolean;
  /** Without the global lock, for which most packages have no build. */
  readonly isFreeThreaded: boolean;
  /** Versions that are installed, not yet loaded. */
  readonly torch: string | null;
  readonly numpy: string | null;
}

/** PyTorch as the engine's worker found it, or why it could not. */
export type TorchFacts =
  | { readonly status: "ok"; readonly info: DeviceInfo }
  /** "death" when the worker ended without a word. `message` and `fix` are what the engine tells the user, `said` the reason given. */
  | {
      readonly status: "failed";
      readonly kind: FailureKind | "death";
      readonly said: string;
      readonly message: string;
      readonly fix?: string | undefined;
    }
  | { readonly status: "timed-out"; readonly afterMs: number };

export interface PythonFacts {
  readonly path: string;
  /** How it was found. */
  readonly origin: "given" | "gesso" | "environment" | "search path";
  readonly answer: Outcome<PythonAnswer>;
  /** null where it has none installed. */
  readonly torch: TorchFacts | null;
}

/** An engine that was started and measured, or why it was not. */
export type EngineFacts =
  | {
      readonly engine: "ort" | "torch";
      readonly python: string | null;
      readonly device: string;
      readonly name: string;
      readonly check: EngineCheck;
    }
  | {
      readonly engine: "ort" | "torch";
      readonly python: string | null;
      readonly problem: string;
      readonly fix?: string | undefined;
    };

export interface MachineFacts {
  readonly version: string;
  readonly system: SystemFacts;
  readonly processor: ProcessorFacts;
  readonly memory: MemoryFacts;
  readonly disks: readonly DiskFacts[];
  readonly gpu: GpuFacts;
  readonly pythons: readonly PythonFacts[];
  /** Variables that change what is loaded or seen, where they are set. */
  readonly variables: Readonly<Record<string, string>>;
  readonly engines: readonly EngineFacts[];
  /** What `--engine auto` takes here; where it cannot start with what was asked for, what it would take otherwise, and why it cannot. */
  readonly choice: EngineChoice;
  readonly choiceProblem: string | null;
}
