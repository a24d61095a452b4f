/** What the CPU engine takes in memory: counted from the model that it makes of a graph. */
import type { Graph } from "../../graph/graph.ts";
import { countBuffers, countFeeds, type GraphMemory } from "../../graph/memory.ts";
import type { EngineOverhead } from "../engine.ts";
import { countThreads } from "./device.ts";
import { buildModel, type BuiltModel } from "./lower.ts";
import { countRun, type RunMemory } from "./run-memory.ts";

/** Node with Gesso, sharp and ONNX Runtime loaded and a first trivial graph run. */
const startBytes = 110e6;
/** Of a session: its threads, and for each node ONNX Runtime's node, kernel and part of the execution plan. Measured. */
const sessionBytes = 0.4e6;
const bytesPerNode = 4000;
/** Of a model for several sizes, which stays in JavaScript to be compiled again for the next one (sized-session.ts). Measured. */
const bytesPerKeptNode = 2500;

export function ortOverheadOf(threads: number): EngineOverhead {
  return {
    ...{ startBytes, isInProcess: true, sharesSizes: true },
    countMemory: (graph, { isSized = false } = {}) => countOrtMemory(graph, threads, isSized),
  };
}

/** For as many threads as an engine starts with, if it isn't told. */
export const ortOverhead: EngineOverhead = ortOverheadOf(countThreads());

/**
 * A session that holds no more than this keeps its memory unasked: small values are those that the C library's allocator leaves broken up,
 * and then holds too.
 */
const mostKeptUnasked = 32e6;

/** Whether a session is to have an arena. */
export function keepsMemory(heldBytes: number, isAsked: boolean): boolean {
  return isAsked || heldBytes <= mostKeptUnasked;
}

function countOrtMemory(graph: Graph, threads: number, isSized: boolean): GraphMemory {
  const built = buildModel(graph, { isSized });
  const { updates } = built;
  const contents = built.model.contents();
  const run = countModel(built, threads);
  const buffers = new Map(countBuffers(graph));
  // What a run writes goes to a second array, and the two change places. AdamW writes in place.
  for (const name of updates) buffers.set(name, 2 * (buffers.get(name) ?? 0));
  // Equal ones are one.
  const constants = [...new Set(contents.constants.map(({ rawData }) => rawData.buffer))];
  return {
    buffers,
    feeds: countFeeds(graph),
    results: run.outputBytes,
    activations: run.liveBytes,
    held: run.heldBytes,
    isKept: keepsMemory(run.heldBytes, false),
    compiled:
      sessionBytes +
      (bytesPerNode + (isSized ? bytesPerKeptNode : 0)) * contents.nodes.length +
      constants.reduce((sum, data) => sum + data.byteLength, 0),
  };
}

/** What runs of a model take; what they write goes to arrays that are there. */
export function countModel({ model, updates }: BuiltModel, threads: number): RunMemory {
  return countRun(model.contents(), threads, new Set(updates.map((name) => `update:${name}`)));
}
