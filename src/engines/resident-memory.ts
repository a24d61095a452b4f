/** How much memory this process has taken at most. */
import { readFileSync } from "node:fs";

/**
 * The most that was ever resident of this process, in bytes. Linux counts the parent's memory at the moment of the fork into `maxRSS`, so
 * there the program's own high-water mark is read.
 */
export function peakResidentBytes(): number {
  try {
    const [, kilobytes] = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
    if (kilobytes !== undefined) return Number(kilobytes) * 1024;
  } catch {
    // Not Linux.
  }
  return process.resourceUsage().maxRSS * 1024;
}
