/** The process in which memory.ts measures: runs a few steps of a workload and prints what its memory came to, as a line of JSON. */
import type { Engine } from "../src/engines/engine.ts";
import { createOrtEngine } from "../src/engines/ort/engine.ts";
import { add } from "../src/graph/build.ts";
import { Graph } from "../src/graph/graph.ts";
import { type MemoryMeasurement, predictMemory } from "./memory.ts";
import { findWorkload } from "./workloads.ts";
import { load, prepare } from "./workload.ts";

/** The second run may allocate what the first did not; buffers change places from run to run. */
const steps = 4;

async function main(name: string, threads: number, numbersFile: string): Promise<MemoryMeasurement> {
  const workload = findWorkload(name);
  const engine = await createOrtEngine({ threads });
  const graph = await prepare(workload, engine);
  const prediction = predictMemory(graph);
  await runTrivialGraph(engine);
  // Garbage of making the graph, and later of compiling it, is JavaScript's, which would collect it when memory is short.
  globalThis.gc?.();
  const before = process.memoryUsage.rss();
  const peakBefore = readPeak();
  const { step } = await load(engine, workload, graph, numbersFile);
  globalThis.gc?.();
  const compiled = process.memoryUsage.rss();
  for (let i = 0; i < steps; i++) await step();
  const peak = readPeak();
  if (peak === peakBefore) throw new Error(`memory-child: ${name} takes less than starting up did; nothing was measured`);
  await engine.dispose();
  return { prediction, before, compiled, peak };
}

/** What ONNX Runtime allocates once for a process belongs to no step. */
async function runTrivialGraph(engine: Engine): Promise<void> {
  const graph = new Graph();
  graph.fetches.set("y", add(graph.feed("x", [1]), 1));
  const executable = await engine.compile(graph, { name: "trivial" });
  await executable.run({ x: Float32Array.of(1) });
  await executable.dispose();
}

/** The most that was ever resident, in bytes. */
function readPeak(): number {
  return process.resourceUsage().maxRSS * 1024;
}

const [name = "", threads = "1", numbersFile = ""] = process.argv.slice(2);
console.log(JSON.stringify(await main(name, Number(threads), numbersFile)));
