/** How long an engine will take for a graph, from what it does in a second. */
import { costOf } from "../graph/cost.ts";
import type { Graph, Node } from "../graph/graph.ts";
import type { DeviceProfile, OperationTime } from "./engine.ts";

/** Of one operator, beside its work. */
const dispatchSeconds = 5e-6;

/** @param profile measured: its rates are not 0 */
export function estimateSeconds(graph: Graph, profile: DeviceProfile): number {
  return graph.nodes.reduce((sum, node) => sum + estimateNodeSeconds(node, profile), 0);
}

function estimateNodeSeconds(node: Node, { flopsPerSecond, bytesPerSecond, kinds }: DeviceProfile): number {
  const { matmulFlops, bytesRead, bytesWritten } = costOf(node);
  const bytes = bytesRead + bytesWritten;
  // A view is no work, but engines come to it all the same.
  if (bytes === 0) return kinds && node.op === "Reshape" ? dispatchSeconds : 0;
  if (!kinds) return dispatchSeconds + Math.max(matmulFlops / flopsPerSecond, bytes / bytesPerSecond);
  if (matmulFlops === 0) return along(kinds.elementwise, bytes);
  if (node.op.startsWith("Conv2d")) return along(kinds.convolution, matmulFlops);
  return along(isLowRank(node) ? kinds.lowRank : kinds.product, matmulFlops);
}

/** A product that has a side as short as a LoRA's rank: it is over before it is at full speed. */
function isLowRank(node: Node): boolean {
  const sides = [...node.inputs, ...node.outputs].flatMap((value) => (value ? value.shape.slice(-2) : []));
  return node.op === "MatMul" && Math.min(...sides) <= longestLowRank;
}

const longestLowRank = 32;

function along({ fixedSeconds, workPerSecond }: OperationTime, work: number): number {
  return fixedSeconds + work / workPerSecond;
}
