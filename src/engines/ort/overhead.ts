/** What the CPU engine takes in memory besides the tensors of the graphs that it runs. */
import type { Graph } from "../../graph/graph.ts";
import type { EngineOverhead } from "../engine.ts";

/** Node with Gesso, sharp and ONNX Runtime loaded and a first trivial graph run. */
const startBytes = 110e6;
/** Of a session: ONNX Runtime's nodes, kernels and execution plan. */
const bytesPerNode = 3000;

export const ortOverhead: EngineOverhead = {
  memory: { keepsOutputs: true },
  startBytes,
  compiledBytes: (graph: Graph) => bytesPerNode * graph.nodes.length,
  keepsActivations: true,
};
