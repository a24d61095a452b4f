/** The PyTorch builds that Gesso installs, pinned, and which of them fits a card and its driver. */
import type { GpuFacts, SystemFacts } from "./facts.ts";
import { compareVersions } from "./thresholds.ts";

export interface TorchBuild {
  readonly name: "cu130" | "cu128" | "cu126" | "cu118" | "rocm6.4" | "cpu" | "mps";
  readonly torch: string;
  /** Where its wheels lie; null for pip's own index. */
  readonly index: string | null;
  /** Python versions that have wheels. */
  readonly python: readonly [oldest: string, newest: string];
  /** Oldest NVIDIA driver that runs its CUDA; null where none is needed. */
  readonly driver: string | null;
  /** Compute capabilities that have code in it; a card runs the code of its own generation with the same or a lower minor number. */
  readonly capabilities: readonly string[];
  /** What Linux and Windows download, about, and what it takes when unpacked. Sizes of cu128 on Linux are measured. */
  readonly downloadBytes: number;
  readonly installedBytes: number;
}

const pytorch = (name: string): string => `https://download.pytorch.org/whl/${name}`;
const current = { torch: "2.9.1", python: ["3.10", "3.14"] } as const;

/**
 * Newest CUDA first. Capabilities: PyTorch's release matrix for 2.9 and 2.7. Drivers: NVIDIA's table of minor version compatibility (CUDA 13
 * from 580, 12 from 525, 11 from 450).
 */
export const torchBuilds: readonly TorchBuild[] = [
  {
    ...current,
    name: "cu130",
    index: pytorch("cu130"),
    driver: "580",
    capabilities: ["7.5", "8.0", "8.6", "9.0", "10.0", "12.0"],
    downloadBytes: 2.6e9,
    installedBytes: 5e9,
  },
  {
    ...current,
    name: "cu128",
    index: pytorch("cu128"),
    driver: "525",
    capabilities: ["7.0", "7.5", "8.0", "8.6", "9.0", "10.0", "12.0"],
    downloadBytes: 4.1e9,
    installedBytes: 7.5e9,
  },
  {
    ...current,
    name: "cu126",
    index: pytorch("cu126"),
    driver: "525",
    capabilities: ["5.0", "6.0", "7.0", "7.5", "8.0", "8.6", "9.0"],
    downloadBytes: 3.4e9,
    installedBytes: 6.5e9,
  },
  {
    name: "cu118",
    torch: "2.7.1",
    index: pytorch("cu118"),
    python: ["3.10", "3.13"],
    driver: "450",
    capabilities: ["5.0", "6.0", "7.0", "7.5", "8.0", "8.6", "9.0"],
    downloadBytes: 3e9,
    installedBytes: 5.5e9,
  },
  {
    ...current,
    name: "rocm6.4",
    index: pytorch("rocm6.4"),
    driver: null,
    capabilities: [],
    downloadBytes: 4.8e9,
    installedBytes: 16e9,
  },
  {
    ...current,
    name: "cpu",
    index: pytorch("cpu"),
    driver: null,
    capabilities: [],
    downloadBytes: 0.25e9,
    installedBytes: 1e9,
  },
  { ...current, name: "mps", index: null, driver: null, capabilities: [], downloadBytes: 0.12e9, installedBytes: 0.6e9 },
];

export type BuildName = TorchBuild["name"];

/** NumPy, which the worker exchanges numbers by, for a Python of this version. */
export function numpyFor(python: string): string {
  return compareVersions(python, "3.11") < 0 ? "numpy==2.2.6" : "numpy==2.3.5";
}

/** @throws Error for a name that is not in the table */
export function buildNamed(name: BuildName): TorchBuild {
  const found = torchBuilds.find((build) => build.name === name);
  if (!found) throw new Error(`doctor: there is no build ${name}`);
  return found;
}

export interface ChosenBuild {
  /** null when no PyTorch that Gesso can use has code for what is here. */
  readonly build: TorchBuild | null;
  readonly reason: string;
}

/** Which build fits this machine, and why. Pure. */
export function chooseBuild(system: SystemFacts, gpu: GpuFacts): ChosenBuild {
  if (system.platform === "darwin") return chooseForMac(system);
  if (gpu.nvidia.status === "ok" && gpu.nvidia.value.gpus.length > 0) return chooseForNvidia(system, gpu);
  const amd = chooseForAmd(system, gpu);
  if (amd) return amd;
  const isThere = gpu.adapters.some(({ vendor }) => vendor === "NVIDIA");
  const why = isThere
    ? "the NVIDIA card does not answer: gesso doctor says why, and setup can be run again then"
    : "no card that PyTorch can use was found";
  return { build: buildNamed("cpu"), reason: why };
}

function chooseForMac({ arch, isTranslated }: SystemFacts): ChosenBuild {
  if (isTranslated)
    return { build: null, reason: "this Node is Intel's, translated by Rosetta: install Node for Apple silicon" };
  if (arch !== "arm64") return { build: null, reason: "PyTorch has no builds for Intel Macs any more" };
  return { build: buildNamed("mps"), reason: "PyTorch's builds for Apple silicon use its GPU" };
}

function chooseForNvidia(system: SystemFacts, gpu: GpuFacts): ChosenBuild {
  const { driver, gpus } = gpu.nvidia.status === "ok" ? gpu.nvidia.value : { driver: "0", gpus: [] };
  if (!["x64", "arm64"].includes(system.arch)) return { build: null, reason: `PyTorch has no CUDA builds for ${system.arch}` };
  // The first card is the one that a run takes.
  const card = gpus[0];
  const capability = card?.capability ?? null;
  const able = torchBuilds.filter((build) => build.driver !== null && compareVersions(driver, build.driver) >= 0);
  const build = able.find(({ capabilities }) => capability === null || hasCodeFor(capabilities, capability));
  const what = `${card?.name ?? "the card"}${capability === null ? "" : ` (compute capability ${capability})`}`;
  if (build) return { build, reason: `${what} with driver ${driver}` };
  const fitting = torchBuilds.filter(({ capabilities }) => capability !== null && hasCodeFor(capabilities, capability)).at(-1);
  if (fitting?.driver) {
    return { build: null, reason: `${what} needs driver ${fitting.driver} or newer, and this is ${driver}: update the driver` };
  }
  if (able.length === 0)
    return { build: null, reason: `driver ${driver} is older than all that PyTorch still supports: update it` };
  return { build: null, reason: `PyTorch has no code for ${what} any more` };
}

/** Compute capability 8.9 runs the code for 8.6 and 8.0, not that for 9.0 or 7.5. */
export function hasCodeFor(capabilities: readonly string[], card: string): boolean {
  const [major = 0, minor = 0] = card.split(".").map(Number);
  return capabilities.some((capability) => {
    const [codeMajor = -1, codeMinor = 0] = capability.split(".").map(Number);
    return codeMajor === major && codeMinor <= minor;
  });
}

function chooseForAmd(system: SystemFacts, gpu: GpuFacts): ChosenBuild | undefined {
  const isThere = gpu.adapters.some(({ vendor }) => vendor === "AMD");
  const answers = gpu.amd.status === "ok" && gpu.amd.value.gpus.length > 0;
  if (!answers && !(isThere && gpu.nodes?.kfd === "usable")) return undefined;
  if (system.platform !== "linux" || system.arch !== "x64") return undefined;
  const name = gpu.amd.status === "ok" ? gpu.amd.value.gpus[0]?.name : undefined;
  return { build: buildNamed("rocm6.4"), reason: `${name ?? "an AMD card"} with ROCm's driver` };
}
