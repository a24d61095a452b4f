/** What the CPU engine takes in memory: counted from the model that it makes of a graph. */
import type { Graph } from "../../graph/graph.ts";
import { countBuffers, countFeeds, type GraphMemory } from "../../graph/memory.ts";
import type { EngineOverhead } from "../engine.ts";
import { countThreads } from "./device.ts";
import { buildModel } from "./lower.ts";
import { countRun } from "./run-memory.ts";

/** Node with Gesso, sharp and ONNX Runtime loaded and a first trivial graph run. */
const startBytes = 110e6;
/** Of a session: its threads, and for each node ONNX Runtime's node, kernel and part of the execution plan. Measured. */
const sessionBytes = 0.4e6;
const bytesPerNode = 4000;

export function ortOverheadOf(threads: number): EngineOverhead {
  return { startBytes, countMemory: (graph) => countOrtMemory(graph, threads) };
}

/** For as many threads as an engine starts with, if it isn't told. */
export const ortOverhead: EngineOverhead = ortOverheadOf(countThreads());

function countOrtMemory(graph: Graph, threads: number): GraphMemory {
  const { model, updates } = buildModel(graph);
  const contents = model.contents();
  const run = countRun(contents, threads, new Set(updates.map((name) => `update:${name}`)));
  const buffers = new Map(countBuffers(graph));
  // What a run writes goes to a second array, and the two change places. AdamW writes in place.
  for (const name of updates) buffers.set(name, 2 * (buffers.get(name) ?? 0));
  const constants = contents.constants.reduce((sum, { rawData }) => sum + rawData.byteLength, 0);
  return {
    buffers,
    feeds: countFeeds(graph),
    results: run.outputBytes,
    activations: run.liveBytes,
    held: run.heldBytes,
    compiled: sessionBytes + bytesPerNode * contents.nodes.length + constants,
  };
}
