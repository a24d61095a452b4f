/** The process in which memory.ts measures: runs a few steps of a model and prints what its memory came to, as a line of JSON. */
import { readFile } from "node:fs/promises";
import type { TensorData } from "../src/engines/engine.ts";
import { peakResidentBytes } from "../src/engines/resident-memory.ts";
import { ThreadClient } from "../src/engines/ort/thread-client.ts";
import { sizeOf } from "../src/graph/graph.ts";
import type { MemoryMeasurement, MemoryTask, StoredModel } from "./memory.ts";

/** The second run may allocate what the first did not; buffers change places from run to run. */
const steps = 6;

async function main(taskFile: string): Promise<MemoryMeasurement> {
  const { threads, trivial, step, buffers, numbersFile } = JSON.parse(await readFile(taskFile, "utf8")) as MemoryTask;
  const thread = new ThreadClient({ threads });
  // What ONNX Runtime allocates once for a process belongs to no step.
  await compile(thread, 0, trivial);
  await run(thread, 0, trivial);
  await thread.call("release", { id: 0 });
  globalThis.gc?.();
  const before = process.memoryUsage.rss();
  const peakBefore = peakResidentBytes();
  for (const spec of buffers) {
    const byteLength = 4 * sizeOf(spec.shape);
    const source = { kind: "file", path: numbersFile, offset: 0, byteLength, storedDtype: "F32" } as const;
    await thread.call("allocate", { spec, source });
  }
  await compile(thread, 1, step);
  globalThis.gc?.();
  const compiled = process.memoryUsage.rss();
  for (let i = 0; i < steps; i++) await run(thread, 1, step);
  const peak = peakResidentBytes();
  if (peak === peakBefore) throw new Error("memory-child: the step takes less than starting up did; nothing was measured");
  await thread.close();
  return { before, compiled, peak };
}

async function compile(thread: ThreadClient, id: number, { file, model }: StoredModel): Promise<void> {
  const bytes = Uint8Array.from(await readFile(file));
  await thread.call("compile", { id, name: file, keepsMemory: true, model: { ...model, bytes } }, [bytes.buffer]);
}

/** On numbers that do not matter: they do not change what a step takes. */
async function run(thread: ThreadClient, id: number, { model, feeds }: StoredModel): Promise<void> {
  const read = feeds.filter(([name]) => model.feeds.includes(name));
  const arrays = read.map(([name, { shape, dtype }]): [string, TensorData] => [
    name,
    dtype === "int32" ? new Int32Array(sizeOf(shape)) : new Float32Array(sizeOf(shape)).fill(0.01),
  ]);
  await thread.call(
    "run",
    { id, feeds: Object.fromEntries(arrays) },
    arrays.map(([, { buffer }]) => buffer as ArrayBuffer),
  );
}

const [taskFile = ""] = process.argv.slice(2);
console.log(JSON.stringify(await main(taskFile)));
