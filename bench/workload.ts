/** A piece of work to measure, brought to the CPU engine as the trainer brings it: the passes, the buffers, the compiled graph. */
import { open } from "node:fs/promises";
import path from "node:path";
import { normal } from "../src/diffusion/philox.ts";
import type { BufferSpec, Engine, TensorData, TensorSource } from "../src/engines/engine.ts";
import { type Graph, sizeOf } from "../src/graph/graph.ts";
import { optimise } from "../src/graph/passes.ts";

export interface Workload {
  /** The claim's name, by which a child process finds it. */
  readonly name: string;
  readonly title: string;
  /** All that one step does, before any pass. */
  build(): Promise<Graph>;
  /** New arrays for one run: an engine may take them over. */
  feeds(step: number): Record<string, TensorData>;
  /** The script of bench/torch that does the same, and its arguments. `folder` is for files that it needs. */
  torch(folder: string): Promise<readonly string[]>;
}

/** What the engine will run, made as the trainer makes it. */
export async function prepare(workload: Workload, engine: Engine): Promise<Graph> {
  return optimise(await workload.build(), { keep: engine.composites });
}

/** A file of small normal numbers that is as large as the largest weight: every weight is read from its start. */
export async function writeRandomNumbers(folder: string, graph: Graph): Promise<string> {
  const largest = Math.max(...graph.inputs.map(({ attrs }) => sizeOf(attrs.shape)));
  const block = normal({ seed: 1, purpose: "init" }, Math.min(largest, 2 ** 20)).map((x) => 0.03 * x);
  const file = path.join(folder, "random.bin");
  const handle = await open(file, "w");
  for (let left = largest; left > 0; left -= block.length) await handle.write(block.subarray(0, Math.min(left, block.length)));
  await handle.close();
  return file;
}

/** Norms scale by 1 and moments start at 0; all else is random: values do not change what a step costs. */
function sourceOf({ name, shape }: BufferSpec, file: string): TensorSource {
  if (/norm[^.]*\.weight$/.test(name)) return { kind: "data", data: new Float32Array(sizeOf(shape)).fill(1) };
  if (/\.(m|v|grad)$/.test(name)) return { kind: "zeros" };
  return { kind: "file", path: file, offset: 0, byteLength: 4 * sizeOf(shape), storedDtype: "F32" };
}

/** Every buffer that a graph reads or writes. */
export function bufferSpecs(graph: Graph): readonly BufferSpec[] {
  const buffers = new Map<string, BufferSpec>();
  for (const { attrs } of graph.inputs) {
    if (attrs.kind === "buffer") buffers.set(attrs.name, { name: attrs.name, shape: attrs.shape, dtype: attrs.dtype });
  }
  for (const [name, { shape, dtype }] of graph.updates) buffers.set(name, { name, shape, dtype });
  return [...buffers.values()];
}

/** A workload that is ready to run. */
export interface LoadedWorkload {
  /** Runs one step, and gives its loss and how long it took. */
  readonly step: () => Promise<{ readonly loss: number; readonly ms: number }>;
}

export async function load(engine: Engine, workload: Workload, graph: Graph, file: string): Promise<LoadedWorkload> {
  for (const { name, shape, dtype } of bufferSpecs(graph)) {
    await engine.allocate({ name, shape, dtype }, sourceOf({ name, shape, dtype }, file));
  }
  const executable = await engine.compile(graph, { name: workload.name, keepsMemory: true });
  let count = 0;
  return {
    async step() {
      const feeds = workload.feeds(++count);
      const start = performance.now();
      const { loss } = await executable.run(feeds);
      const ms = performance.now() - start;
      const value = loss?.[0] ?? NaN;
      if (!Number.isFinite(value)) throw new Error(`bench: the loss of ${workload.name} is ${value} at step ${count}`);
      return { loss: value, ms };
    },
  };
}
