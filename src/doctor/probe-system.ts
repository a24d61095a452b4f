/** The operating system, its processor and its memory. */
import { existsSync, readFileSync } from "node:fs";
import os from "node:os";
import { countThreads, findMemoryBytes } from "../engines/ort/device.ts";
import type { MemoryFacts, ProcessorFacts, SystemFacts } from "./facts.ts";
import { runTool, type ToolOptions } from "./run-tool.ts";

/** A small file's text, or "" where it is not there. */
function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

export async function probeSystem(options: ToolOptions): Promise<SystemFacts> {
  const kernel = os.release();
  return {
    platform: process.platform,
    name: await nameSystem(options),
    kernel,
    arch: process.arch,
    node: process.versions.node,
    hasGlibc: process.platform !== "linux" || usesGlibc(),
    wsl: process.platform === "linux" ? findWsl(kernel) : null,
    container: process.platform === "linux" ? findContainer() : null,
    isTranslated: process.platform === "darwin" && process.arch === "x64" && /apple/i.test(os.cpus()[0]?.model ?? ""),
  };
}

async function nameSystem(options: ToolOptions): Promise<string> {
  if (process.platform === "linux") return parseOsRelease(read("/etc/os-release")) ?? "Linux";
  if (process.platform === "win32") return os.version();
  if (process.platform !== "darwin") return `${os.type()} ${os.release()}`;
  const asked = await runTool("sw_vers", ["-productVersion"], options);
  return asked.status === "ok" ? `macOS ${asked.value.trim()}` : "macOS";
}

export function parseOsRelease(text: string): string | undefined {
  return /^PRETTY_NAME="?([^"\n]+)"?$/m.exec(text)?.[1];
}

function usesGlibc(): boolean {
  const report = process.report.getReport() as unknown as { header?: { glibcVersionRuntime?: string } };
  return report.header?.glibcVersionRuntime !== undefined;
}

export function findWsl(kernel: string): 1 | 2 | null {
  if (!/microsoft/i.test(kernel)) return null;
  // WSL 1 has no Linux kernel: it tells an old version, with a capital letter.
  return /-Microsoft$/.test(kernel) ? 1 : 2;
}

function findContainer(): string | null {
  if (existsSync("/.dockerenv")) return "Docker";
  if (existsSync("/run/.containerenv")) return "Podman";
  if (process.env.KUBERNETES_SERVICE_HOST !== undefined) return "Kubernetes";
  if (existsSync("/.singularity.d")) return "Apptainer";
  return /\b(docker|kubepods|lxc|containerd)\b/.exec(read("/proc/1/cgroup"))?.[1] ?? null;
}

export async function probeProcessor(options: ToolOptions): Promise<ProcessorFacts> {
  const cpus = os.cpus();
  return {
    model: cpus[0]?.model.trim() || os.arch(),
    logical: cpus.length,
    usable: countThreads(),
    instructions: await findInstructions(options),
  };
}

async function findInstructions(options: ToolOptions): Promise<readonly string[] | null> {
  if (process.platform === "linux") return parseFlags(read("/proc/cpuinfo"));
  if (process.platform !== "darwin") return null;
  if (process.arch === "arm64") return ["NEON"];
  const asked = await runTool("sysctl", ["-n", "machdep.cpu.features", "machdep.cpu.leaf7_features"], options);
  return asked.status === "ok" ? namesOf(asked.value.toLowerCase().split(/\s+/)) : null;
}

/** @param cpuinfo /proc/cpuinfo, where Intel and AMD have "flags" and ARM has "Features" */
export function parseFlags(cpuinfo: string): readonly string[] | null {
  const flags = /^(?:flags|Features)\s*:\s*(.+)$/m.exec(cpuinfo)?.[1];
  return flags === undefined ? null : namesOf(flags.split(/\s+/));
}

function namesOf(flags: readonly string[]): readonly string[] {
  const has = new Set(flags);
  const names: readonly (readonly [string, readonly string[]])[] = [
    ["AVX2", ["avx2"]],
    ["AVX-512", ["avx512f"]],
    ["AVX-512 BF16", ["avx512_bf16"]],
    ["AMX", ["amx_tile"]],
    ["NEON", ["asimd", "neon"]],
    ["SVE", ["sve"]],
  ];
  return names.filter(([, keys]) => keys.some((key) => has.has(key))).map(([name]) => name);
}

export function probeMemory(): MemoryFacts {
  const [totalBytes, allowed] = [os.totalmem(), findMemoryBytes()];
  const isLimited = allowed < totalBytes;
  const free = parseAvailable(read("/proc/meminfo")) ?? os.freemem();
  return {
    totalBytes,
    availableBytes: isLimited ? Math.min(free, Math.max(0, allowed - readUsage())) : free,
    limitBytes: isLimited ? allowed : null,
  };
}

/** What the control group of this process holds already. */
function readUsage(): number {
  const text = read("/sys/fs/cgroup/memory.current") || read("/sys/fs/cgroup/memory/memory.usage_in_bytes");
  return Number(text.trim()) || 0;
}

export function parseAvailable(meminfo: string): number | undefined {
  const kibibytes = /^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1];
  return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
}
