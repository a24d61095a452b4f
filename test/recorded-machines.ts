/** Machines to judge, as probes would have found them: a plain one, and what others differ in. For tests. */
import type { EngineCheck, OperationCheck } from "../src/engines/check-engine.ts";
import type { DeviceInfo, TorchBuild } from "../src/engines/torch/messages.ts";
import type {
  EngineFacts,
  GpuFacts,
  MachineFacts,
  NvidiaFacts,
  Outcome,
  PythonFacts,
  SystemFacts,
  TorchFacts,
} from "../src/doctor/facts.ts";

const right: OperationCheck = {
  what: "matrix product of 1024 x 1024",
  flopsPerSecond: 1e11,
  worstError: 1e-6,
  bound: 1e-4,
};
export const rightCheck: EngineCheck = { precision: "float32", matmul: right, attention: { ...right, what: "attention" } };
const ort: EngineFacts = { engine: "ort", python: null, device: "cpu", name: "A processor (8 threads)", check: rightCheck };

export const absent = { status: "absent" } as const;
const noCards: GpuFacts = {
  adapters: [],
  nodes: { nvidia: false, kfd: "absent", dxg: false, nouveau: false },
  nvidia: absent,
  amd: absent,
  vulkan: absent,
};

/** A Linux machine without a card or a Python, where all is well. */
export const plain: MachineFacts = {
  version: "0.1.0",
  system: {
    ...{ platform: "linux", name: "Ubuntu 24.04.1 LTS", kernel: "6.8.0-49-generic", arch: "x64", node: "22.11.0" },
    ...{ hasGlibc: true, wsl: null, container: null, isTranslated: false },
  },
  processor: { model: "A processor", logical: 16, usable: 16, instructions: ["AVX2"] },
  memory: { totalBytes: 64e9, availableBytes: 50e9, limitBytes: null },
  disks: (["runs", "caches", "torch"] as const).map((role) => ({
    ...{ role, path: `/home/eva/${role}`, freeBytes: 200e9, problem: null, remote: null },
    ...{ writeBytesPerSecond: 1e9, readBytesPerSecond: 2e9 },
  })),
  gpu: noCards,
  pythons: [],
  variables: {},
  engines: [ort],
  choice: {
    ...{ engine: "ort", reason: "the CPU; no PyTorch with a GPU was found", device: "cpu", python: null },
    ...{ precision: "float32", precisionReason: "what it computes in", gpus: 1, gpusReason: "one worker" },
    ...{ basePrecision: "float32", basePrecisionReason: "what it computes in" },
  },
  choiceProblem: null,
};

/** The plain machine with some of its facts replaced. */
export function machine(changes: {
  readonly system?: Partial<SystemFacts>;
  readonly gpu?: Partial<GpuFacts>;
  readonly facts?: Partial<MachineFacts>;
}): MachineFacts {
  const { system, gpu, facts } = changes;
  return { ...plain, ...facts, system: { ...plain.system, ...system }, gpu: { ...plain.gpu, ...gpu } };
}

/** One NVIDIA card whose driver answers. */
export function nvidia(name: string, capability: string | null, more: Partial<NvidiaFacts> = {}): Outcome<NvidiaFacts> {
  const card = { name, capability, memoryBytes: 24 * 2 ** 30, usedBytes: 400 * 2 ** 20 };
  return { status: "ok", value: { driver: "580.95.05", cuda: "13.0", processes: [], gpus: [card], ...more } };
}

export const build: TorchBuild = {
  ...{ cuda: null, hip: null, cudnn: null, archs: [], capability: null, freeBytes: null, gpuProblem: null },
};

/** A worker that started, on the processor unless `more` says otherwise. */
export function info(torch: string, built: Partial<TorchBuild>, more: Partial<DeviceInfo> = {}): TorchFacts {
  const device = {
    ...{ torch, python: "3.12.4", device: "cpu", pid: 1, name: null, memoryBytes: null },
    dtypes: ["float32", "float16", "bfloat16", "int32"],
  };
  return { status: "ok", info: { ...device, build: { ...build, ...built }, ...more } as DeviceInfo };
}

/** A worker that could not load PyTorch. */
export function failed(said: string, kind: Extract<TorchFacts, { status: "failed" }>["kind"] = "no-torch"): TorchFacts {
  return { status: "failed", kind, said, message: `It cannot load PyTorch: ${said}.` };
}

/** The interpreter of an active environment. */
export function python(
  torch: TorchFacts | null,
  more: Partial<Extract<PythonFacts["answer"], { status: "ok" }>["value"]> = {},
): PythonFacts {
  const path = "/home/eva/venv/bin/python";
  const value = {
    ...{ version: "3.12.4", executable: path, bits: 64, machine: "x86_64", isVirtual: true, isConda: false },
    ...{ isFreeThreaded: false, torch: torch === null ? null : "2.9.1", numpy: "2.3.5" },
  };
  return { path, origin: "environment", answer: { status: "ok", value: { ...value, ...more } }, torch };
}

/** A machine whose card is used, as most are that have one. */
export function onCard(changes: Parameters<typeof machine>[0]): MachineFacts {
  const torch = info(
    "2.9.1+cu130",
    { cuda: "13.0", archs: ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"], capability: "8.9" },
    { device: "cuda:0", name: "NVIDIA GeForce RTX 4090" },
  );
  const facts: Partial<MachineFacts> = {
    pythons: [python(torch)],
    engines: [
      ort,
      {
        engine: "torch",
        python: "/home/eva/venv/bin/python",
        device: "cuda:0",
        name: "NVIDIA GeForce RTX 4090",
        check: rightCheck,
      },
    ],
    choice: { ...plain.choice, engine: "torch", device: "cuda:0", reason: "PyTorch 2.9.1 on NVIDIA GeForce RTX 4090" },
    ...changes.facts,
  };
  return machine({ ...changes, gpu: { nvidia: nvidia("NVIDIA GeForce RTX 4090", "8.9"), ...changes.gpu }, facts });
}
