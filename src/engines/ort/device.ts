/** What this machine offers to the CPU engine. */
import { readFileSync } from "node:fs";
import os from "node:os";

/** Processors that this process may use: fewer than the machine has, where a container limits its time. */
export function countThreads(): number {
  const parallelism = os.availableParallelism();
  return Math.max(1, Math.min(parallelism, Math.ceil(readCpuQuota() ?? parallelism)));
}

/** Processors' worth of time that Linux control groups (version 2) grant, or undefined for no limit. */
function readCpuQuota(): number | undefined {
  try {
    return parseCpuQuota(readFileSync("/sys/fs/cgroup/cpu.max", "utf8"));
  } catch {
    return undefined; // Not Linux, or no control groups.
  }
}

/** "200000 100000" is 200 ms of processor time in every 100 ms: two processors. "max 100000" is no limit. */
export function parseCpuQuota(text: string): number | undefined {
  const [quota, period] = text.trim().split(/\s+/).map(Number);
  return quota !== undefined && period !== undefined && quota > 0 && period > 0 ? quota / period : undefined;
}

/** The machine's memory, or a container's limit where that is lower. */
export function findMemoryBytes(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(os.totalmem(), limit) : os.totalmem();
}

/** "AMD EPYC (2 threads)" */
export function nameDevice(threads: number): string {
  const model = os.cpus()[0]?.model.trim() || os.arch();
  return `${model} (${threads} ${threads === 1 ? "thread" : "threads"})`;
}
