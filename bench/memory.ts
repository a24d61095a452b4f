/** A step's peak memory, predicted from its graph alone and measured in a process of its own. */
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { ortFacts } from "../src/engines/ort/engine.ts";
import type { Graph } from "../src/graph/graph.ts";
import { countMemory } from "../src/graph/memory.ts";
import { formatMegabytes, row } from "./claim.ts";

/** What a graph will take in memory, in bytes. */
export interface MemoryPrediction {
  /** Weights, optimizer state and the like; those that the graph itself writes have two arrays (docs/decisions/0002). */
  readonly buffers: number;
  readonly feeds: number;
  /** The most that is alive at once of all that a run computes. */
  readonly activations: number;
  readonly total: number;
}

/** The figure that is compared with what the process takes. */
export function predictMemory(graph: Graph): MemoryPrediction {
  const counted = countMemory(graph, ortFacts.overhead.memory);
  const buffers = counted.gradients + [...counted.buffers.values()].reduce((sum, bytes) => sum + bytes, 0);
  const { feeds, activations } = counted;
  return { buffers, feeds, activations, total: buffers + feeds + activations };
}

/** What memory-child.ts prints: resident bytes of its process. */
export interface MemoryMeasurement {
  readonly prediction: MemoryPrediction;
  /** With the graph made and the engine having run a trivial one, before buffers and compilation: node, the libraries, the graph itself. */
  readonly before: number;
  /** Right after compilation, buffers filled. */
  readonly compiled: number;
  /** The most that it ever was. */
  readonly peak: number;
}

/** Measures in a fresh process, in which nothing else was ever allocated. */
export async function measureMemory(name: string, threads: number, numbersFile: string): Promise<MemoryMeasurement> {
  const child = path.join(import.meta.dirname, "memory-child.ts");
  const args = [...process.execArgv, "--expose-gc", child, name, String(threads), numbersFile];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return JSON.parse(stdout) as MemoryMeasurement;
}

/** Lines of a report. */
export function describeMemory({ prediction, before, compiled, peak }: MemoryMeasurement): readonly string[] {
  const mb = formatMegabytes;
  const { buffers, feeds, activations, total } = prediction;
  const taken = peak - before;
  return [
    row("predicted", `${mb(total)}: buffers ${mb(buffers)}, feeds ${mb(feeds)}, activations at most ${mb(activations)}`),
    row("peak", `${mb(taken)} above the ${mb(before)} before buffers and compilation (${mb(compiled - before)} when compiled)`),
    row("ratio", `${(taken / total).toFixed(3)} peak / predicted`),
  ];
}
