/** A step's peak memory, predicted from its graph alone and measured in a process of its own. */
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { byteSizeOf, type Graph, type Value } from "../src/graph/graph.ts";
import { rewrite } from "../src/graph/rewrite.ts";
import { measureLiveness } from "../src/graph/schedule.ts";
import { formatMegabytes, row } from "./claim.ts";
import { liveness } from "./workload.ts";

/** What a graph will take in memory, in bytes. */
export interface MemoryPrediction {
  /** Weights, optimizer state and the like; those that a step writes have two arrays (docs/decisions/0002). */
  readonly buffers: number;
  readonly feeds: number;
  /** The most that is alive at once of all that a run computes. */
  readonly activations: number;
  readonly total: number;
}

/** The figure that is compared with what the process takes. */
export function predictMemory(graph: Graph): MemoryPrediction {
  const inputs = graph.inputs.map(({ attrs, outputs: [value] }) => ({ ...attrs, value }));
  const isRead = new Set(inputs.map(({ name }) => name));
  const bytesOf = (values: readonly Value[]): number => values.reduce((sum, value) => sum + byteSizeOf(value), 0);
  const written = [...graph.updates.values()];
  const onlyWritten = [...graph.updates].flatMap(([name, value]) => (isRead.has(name) ? [] : [value]));
  const ofKind = (wanted: string): Value[] => inputs.flatMap(({ kind, value }) => (kind === wanted ? [value] : []));
  const buffers = bytesOf([...ofKind("buffer"), ...onlyWritten, ...written]);
  // What a step writes goes straight to the buffers' second arrays, which are counted already.
  const { graph: withoutUpdates } = rewrite(graph, () => undefined);
  withoutUpdates.updates.clear();
  const activations = measureLiveness(withoutUpdates, withoutUpdates.nodes, liveness).peakBytes;
  const feeds = bytesOf(ofKind("feed"));
  return { buffers, feeds, activations, total: buffers + feeds + activations };
}

/** What memory-child.ts prints: resident bytes of its process. */
export interface MemoryMeasurement {
  readonly prediction: MemoryPrediction;
  /** With the engine started and the graph made, before buffers and compilation. */
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
