/** A step's peak memory, predicted from its graph alone and measured in a process of its own. */
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { byteSizeOf, type Graph, type Value } from "../src/graph/graph.ts";
import { rewrite } from "../src/graph/rewrite.ts";
import { measureLiveness } from "../src/graph/schedule.ts";
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
  const inputs = graph.inputs.map(({ attrs, outputs: [value] }) => ({ ...attrs, value }));
  const isRead = new Set(inputs.map(({ name }) => name));
  const ofKind = (wanted: string): Value[] => inputs.flatMap(({ kind, value }) => (kind === wanted ? [value] : []));
  // AdamW writes over its buffers after the run; whatever else is written goes straight to a second array.
  const written = [...graph.updates].filter(([, { node }]) => node.op !== "AdamW");
  const second = written.map(([, value]) => value);
  const onlyWritten = written.flatMap(([name, value]) => (isRead.has(name) ? [] : [value]));
  const buffers = sumBytes([...ofKind("buffer"), ...second, ...onlyWritten]);
  const feeds = sumBytes(ofKind("feed"));
  const computed = withoutUpdates(graph);
  const activations = measureLiveness(computed, computed.nodes).peakBytes;
  return { buffers, feeds, activations, total: buffers + feeds + activations };
}

function sumBytes(values: readonly Value[]): number {
  return values.reduce((sum, value) => sum + byteSizeOf(value), 0);
}

/** The graph with the gradients that AdamW waits for as fetches, which live to the end of the run, and nothing written. */
function withoutUpdates(graph: Graph): Graph {
  const gradients: Value[] = [];
  const { graph: result } = rewrite(graph, (node, inputs) => {
    if (node.op !== "AdamW") return undefined;
    const [weight, m, v, gradient] = inputs;
    if (!weight || !m || !v || !gradient) throw new Error("withoutUpdates: AdamW needs four tensors");
    gradients.push(gradient);
    return [weight, m, v];
  });
  result.updates.clear();
  gradients.forEach((gradient, i) => result.fetches.set(`gradient ${i}`, gradient));
  return result;
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
