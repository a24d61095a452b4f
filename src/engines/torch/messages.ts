/** What the engine and its worker say to each other (worker/runtime.py answers). */
import type { BufferSpec, EngineMemory, TensorData, TensorSource } from "../engine.ts";
import type { DType } from "../../graph/graph.ts";
import type { Program } from "./serialize.ts";

/** How a worker is to compute; it is told once, at its start. */
export interface StartOptions {
  /** "auto", "cpu", "mps", "cuda" or "cuda:1"; AMD's cards are called cuda too. */
  readonly device: string;
  readonly threads: number;
  /** Lets matrix products of float32 round their factors to TF32. */
  readonly tf32: boolean;
  /** Leaves kernels out that do not give the same bytes every time. */
  readonly deterministic: boolean;
  /** Records each step as one CUDA graph. */
  readonly capture: boolean;
  /** Gives each step to PyTorch's compiler. */
  readonly compile: boolean;
}

/** What PyTorch was built for and what it sees, for those who look for a fault. */
export interface TorchBuild {
  /** CUDA's and ROCm's version; null where PyTorch was built without. */
  readonly cuda: string | null;
  readonly hip: string | null;
  /** 91002 for cuDNN 9.10.2; null where there is none. */
  readonly cudnn: number | null;
  /** Cards that it has code for: "sm_86", "compute_90" (to be compiled on the spot), "gfx1100". */
  readonly archs: readonly string[];
  /** Of the device: "8.6", or "gfx1100". */
  readonly capability: string | null;
  readonly freeBytes: number | null;
  /** Why a PyTorch that was built for GPUs computes on the processor. */
  readonly gpuProblem: string | null;
}

/** What the worker has found. */
export interface DeviceInfo {
  readonly build: TorchBuild;
  readonly torch: string;
  readonly python: string;
  /** "cpu", "cuda:0", "mps". */
  readonly device: string;
  readonly pid: number;
  /** GPUs that this process sees; 0 where there are none that PyTorch can tell apart. */
  readonly deviceCount: number;
  /** Workers that compute together; 1 for one by itself. */
  readonly workers: number;
  readonly dtypes: readonly DType[];
  /** null for the processor, which Node knows better. */
  readonly name: string | null;
  readonly memoryBytes: number | null;
}

/** The source of a buffer as the worker is told of it: data comes as the message's tensor. */
type WireSource = Exclude<TensorSource, { kind: "data" }> | { readonly kind: "data" };

/** The calls that the worker answers: what each takes and gives, besides tensors. */
export interface Calls {
  start: { takes: StartOptions; gives: DeviceInfo };
  /** Takes the tensor `data` for a source of this kind. */
  allocate: { takes: { readonly spec: BufferSpec; readonly source: WireSource }; gives: null };
  /** Takes the tensor `data`. */
  write: { takes: { readonly name: string }; gives: null };
  /** Gives the tensor `data`. */
  read: { takes: { readonly name: string }; gives: null };
  free: { takes: { readonly name: string }; gives: null };
  /** Takes the constants, each by the number of its value. */
  compile: { takes: { readonly id: number; readonly program: Program }; gives: null };
  /**
   * Takes the feeds and gives the fetches; notes say what is done otherwise than was asked. A feed of a program that all workers run is
   * called by the worker's number, a colon and its name.
   */
  run: { takes: { readonly id: number; readonly isShared: boolean }; gives: { readonly notes: readonly string[] } };
  release: { takes: { readonly id: number }; gives: null };
  memory: { takes: null; gives: EngineMemory };
  close: { takes: null; gives: null };
}
export type CallName = keyof Calls;

/** A tensor on its way; the numbers are float32 or int32. */
export interface WireTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** Why a call failed. "device" loses everything on the device; "bug" is ours. */
export type FailureKind =
  "no-torch" | "version" | "cpu-build" | "driver" | "no-device" | "memory" | "device" | "file" | "workers" | "bug"; // prettier-ignore

export interface Failure {
  readonly kind: FailureKind;
  readonly message: string;
  readonly trace: string;
}

export type ReplyHeader =
  { readonly ticket: number; readonly result: unknown } | { readonly ticket: number; readonly failure: Failure };
