/**
 * Low-rank adaptation (Hu et al. 2021, eq. 3) as a rewrite of a finished graph: h = W x + (alpha / rank) up(down(x)).
 * Models do not know of it.
 */
import { UserError } from "../errors.ts";
import { add, conv2d, matmul, mul } from "../graph/build.ts";
import type { Graph, Node, Shape, Value } from "../graph/graph.ts";
import { copyNode, rewrite } from "../graph/rewrite.ts";
import { findWeightUse } from "./targets.ts";

export interface AdapterSpec {
  /** Buffer name of the adapted weight without ".weight". */
  readonly path: string;
  readonly rank: number;
  readonly alpha: number;
  /**
   * Strength: multiplies alpha / rank. 1 in training. "fed" makes it a feed of the graph (see `strengthFeeds`), so that one compiled
   * graph draws at every strength.
   */
  readonly weight?: number | "fed";
  /** What the adapter's buffers' names start with, so that several fit in one graph. Default "adapter". */
  readonly prefix?: string;
}

/** Names of an adapter's two buffers. */
export function adapterBufferNames({ path, prefix = "adapter" }: Pick<AdapterSpec, "path" | "prefix">): {
  down: string;
  up: string;
} {
  return { down: `${prefix}.${path}.down`, up: `${prefix}.${path}.up` };
}

/** down: [rank, in] or [rank, in, kh, kw]; up: [out, rank] or [out, rank, 1, 1]. */
export function adapterShapes(weightShape: Shape, rank: number): { down: Shape; up: Shape } {
  const [outputs = 1, inputs = 1, ...kernel] = weightShape;
  return { down: [rank, inputs, ...kernel], up: [outputs, rank, ...kernel.map(() => 1)] };
}

/**
 * A copy of `graph` with adapters on the named layers. Several specs may name one layer: their changes add up.
 *
 * @throws Error when a path is no linear or convolution layer of the graph
 * @throws UserError when a rank is larger than the layer is wide
 */
export function addAdapters(graph: Graph, specs: readonly AdapterSpec[]): Graph {
  const byPath = groupByPath(specs);
  const used = new Set<string>();
  const result = rewrite(graph, (node, inputs, out) => {
    const use = findWeightUse(node);
    const adapters = use && byPath.get(use.path);
    if (!adapters) return undefined;
    used.add(use.path);
    const [plain] = copyNode(node, inputs, out) as readonly [Value];
    const [x] = inputs as readonly [Value];
    return [adapters.reduce((sum, spec) => add(sum, adapterBranch(node, x, use.weight.shape, spec)), plain)];
  });
  const missing = specs.find((spec) => !used.has(spec.path));
  if (missing) throw new Error(`addAdapters: ${missing.path} is no linear or convolution layer of this graph`);
  return result.graph;
}

/** (alpha / rank) up(down(x)). The scale goes on the narrow middle, where it is least work. */
function adapterBranch(node: Node, x: Value, weightShape: Shape, spec: AdapterSpec): Value {
  checkRank(spec, weightShape);
  const shapes = adapterShapes(weightShape, spec.rank);
  const names = adapterBufferNames(spec);
  const down = x.graph.buffer(names.down, shapes.down);
  const up = x.graph.buffer(names.up, shapes.up);
  const scale = spec.weight === "fed" ? x.graph.feed(strengthFeedName(spec), []) : scaleOf(spec.weight, spec);
  if (node.op !== "Conv2d") return matmul(mul(matmul(x, down, { transB: true }), scale), up, { transB: true });
  const { stride, padding } = node.attrs;
  return conv2d(mul(conv2d(x, down, undefined, { stride, padding }), scale), up);
}

function scaleOf(weight = 1, { alpha, rank }: AdapterSpec): number {
  return weight * (alpha / rank);
}

/** One feed for each ratio of alpha to rank, not one for each layer: the graph then multiplies by the number that would be built in. */
function strengthFeedName({ alpha, rank, prefix = "adapter" }: AdapterSpec): string {
  return `${prefix}.strength.${alpha / rank}`;
}

/**
 * What a graph whose adapters are "fed" needs at a run. The specs of one prefix have one weight.
 *
 * @param specs as the graph has them, with the weights of this run
 * @returns new arrays at every call
 */
export function strengthFeeds(specs: readonly AdapterSpec[]): Record<string, Float32Array> {
  const feeds: Record<string, Float32Array> = {};
  for (const spec of specs) {
    if (spec.weight === "fed") throw new Error(`strengthFeeds: the weight of this run needed at ${spec.path}`);
    feeds[strengthFeedName(spec)] ??= Float32Array.of(scaleOf(spec.weight, spec));
  }
  return feeds;
}

function checkRank({ path, rank }: AdapterSpec, [outputs = 1, ...inputs]: Shape): void {
  const width = Math.min(
    outputs,
    inputs.reduce((product, size) => product * size, 1),
  );
  if (!Number.isInteger(rank) || rank < 1 || rank > width) {
    throw new UserError(`Rank ${rank} does not fit ${path}, which is ${width} wide.`, {
      fix: `Give --rank a whole number from 1 to ${width}.`,
    });
  }
}

function groupByPath(specs: readonly AdapterSpec[]): ReadonlyMap<string, readonly AdapterSpec[]> {
  const groups = new Map<string, AdapterSpec[]>();
  for (const spec of specs) groups.set(spec.path, [...(groups.get(spec.path) ?? []), spec]);
  return groups;
}
