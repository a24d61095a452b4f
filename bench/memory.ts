/** A step's peak memory, predicted from its graph alone and measured in a process of its own. */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import type { BufferSpec } from "../src/engines/engine.ts";
import { lowerGraph } from "../src/engines/ort/lower.ts";
import type { CompiledModel } from "../src/engines/ort/messages.ts";
import { ortOverheadOf } from "../src/engines/ort/overhead.ts";
import { add } from "../src/graph/build.ts";
import { Graph, type TensorType } from "../src/graph/graph.ts";
import { formatMegabytes, row } from "./claim.ts";
import { bufferSpecs } from "./workload.ts";

/** What a graph will take in memory, in bytes. */
export interface MemoryPrediction {
  /** Weights, optimizer state and the like; those that the graph itself writes have two arrays (docs/decisions/0002). */
  readonly buffers: number;
  readonly feeds: number;
  /** Copies of what a run gives. */
  readonly results: number;
  /** What ONNX Runtime's arena holds for all that a run computes. */
  readonly activations: number;
  /** The session, without tensors. */
  readonly compiled: number;
  readonly total: number;
}

/** The figure that is compared with what the process takes. */
export function predictMemory(graph: Graph, threads: number): MemoryPrediction {
  const { buffers: counted, feeds, results, held, compiled } = ortOverheadOf(threads).countMemory(graph);
  const buffers = [...counted.values()].reduce((sum, bytes) => sum + bytes, 0);
  return { buffers, feeds, results, activations: held, compiled, total: buffers + feeds + results + held + compiled };
}

/** What memory-child.ts prints: resident bytes of its process. */
export interface MemoryMeasurement {
  /** With the engine having run a trivial graph, before buffers and compilation: node, and the libraries. */
  readonly before: number;
  /** Right after compilation, buffers filled. */
  readonly compiled: number;
  /** The most that it ever was. */
  readonly peak: number;
}

/** What memory-child.ts reads: models that are lowered already, because making a graph takes memory of its own. */
export interface MemoryTask {
  readonly threads: number;
  readonly trivial: StoredModel;
  readonly step: StoredModel;
  readonly buffers: readonly BufferSpec[];
  /** Every buffer is read from its start. */
  readonly numbersFile: string;
}

/** A model whose bytes are in a file. */
export interface StoredModel {
  readonly file: string;
  readonly model: Omit<CompiledModel, "bytes">;
  readonly feeds: readonly (readonly [name: string, type: TensorType])[];
}

/** Measures in a fresh process, in which nothing else was ever allocated. */
export async function measureMemory(graph: Graph, threads: number, numbersFile: string): Promise<MemoryMeasurement> {
  const folder = path.dirname(numbersFile);
  const trivial = new Graph();
  trivial.fetches.set("y", add(trivial.feed("x", [1]), 1));
  const task: MemoryTask = {
    threads,
    trivial: await store(trivial, path.join(folder, "trivial.onnx")),
    step: await store(graph, path.join(folder, "step.onnx")),
    buffers: bufferSpecs(graph),
    numbersFile,
  };
  const taskFile = path.join(folder, "memory.json");
  await writeFile(taskFile, JSON.stringify(task));
  const child = path.join(import.meta.dirname, "memory-child.ts");
  const { stdout } = await promisify(execFile)(process.execPath, [...process.execArgv, "--expose-gc", child, taskFile]);
  return JSON.parse(stdout) as MemoryMeasurement;
}

async function store(graph: Graph, file: string): Promise<StoredModel> {
  const { bytes, ...model } = lowerGraph(graph);
  await writeFile(file, bytes);
  const feeds = graph.inputs.flatMap(({ attrs, outputs: [{ shape, dtype }] }) =>
    attrs.kind === "feed" ? [[attrs.name, { shape, dtype }] as const] : [],
  );
  return { file, model: { ...model, feedShapes: Object.fromEntries(feeds.map(([name, { shape }]) => [name, shape])) }, feeds };
}

/** Lines of a report. */
export function describeMemory(prediction: MemoryPrediction, { before, compiled, peak }: MemoryMeasurement): readonly string[] {
  const mb = formatMegabytes;
  const { buffers, feeds, results, activations, total } = prediction;
  const taken = peak - before;
  const parts = `buffers ${mb(buffers)}, feeds and results ${mb(feeds + results)}, activations ${mb(activations)}`;
  return [
    row("predicted", `${mb(total)}: ${parts}, session ${mb(prediction.compiled)}`),
    row("peak", `${mb(taken)} above the ${mb(before)} before buffers and compilation (${mb(compiled - before)} when compiled)`),
    row("ratio", `${(taken / total).toFixed(3)} peak / predicted`),
  ];
}
