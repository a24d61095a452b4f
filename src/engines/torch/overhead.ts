/** What the torch engine takes in memory besides the tensors of the graphs that it runs. */
import type { Graph } from "../../graph/graph.ts";
import { countMemory } from "../../graph/memory.ts";
import type { EngineOverhead } from "../engine.ts";

/** Python with PyTorch loaded. */
const workerBytes = 250e6;
/** Of the program's calls, as Python keeps them. */
const bytesPerNode = 3000;

/** @param device "cpu", "cuda:0", "mps": on a GPU only its own memory is counted */
export function overheadOf(device: string): EngineOverhead {
  const isCpu = device === "cpu";
  return {
    countMemory: (graph: Graph) => ({ ...countMemory(graph), compiled: isCpu ? bytesPerNode * graph.nodes.length : 0 }),
    startBytes: isCpu ? workerBytes : 0,
    sharesSizes: false,
    isInProcess: false,
  };
}
