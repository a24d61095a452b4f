/** How long an engine will take for a graph, from what it does in a second. */
import { costOf } from "../graph/cost.ts";
import type { Graph, Node } from "../graph/graph.ts";
import type { DeviceProfile } from "./engine.ts";

/** Of one operator, beside its work. */
const dispatchSeconds = 5e-6;

/** @param profile measured: its rates are not 0 */
export function estimateSeconds(graph: Graph, profile: DeviceProfile): number {
  return graph.nodes.reduce((sum, node) => sum + estimateNodeSeconds(node, profile), 0);
}

function estimateNodeSeconds(node: Node, { flopsPerSecond, bytesPerSecond }: DeviceProfile): number {
  const { matmulFlops, bytesRead, bytesWritten } = costOf(node);
  if (bytesRead + bytesWritten === 0) return 0;
  return dispatchSeconds + Math.max(matmulFlops / flopsPerSecond, (bytesRead + bytesWritten) / bytesPerSecond);
}
