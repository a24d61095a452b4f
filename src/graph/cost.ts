/** What a graph costs to run: floating-point operations and bytes of memory traffic, exactly, before anything runs. */
import { byteSizeOf, type Graph, inputsOf, type Node, type Phase, type Shape, sizeOf, sumBytes, type Value } from "./graph.ts";
import type { OpName, Ops } from "./ops.ts";

/** What one node does. A multiply-add counts as two operations; an exponential, square root and the like as one. */
export interface NodeCost {
  readonly flops: number;
  /** The part of `flops` in matrix products and convolutions, which hardware does fastest. */
  readonly matmulFlops: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export interface CostSum {
  readonly flops: number;
  readonly matmulFlops: number;
  /** Bytes read and written, if every operator reads its inputs from memory and writes its outputs to it. */
  readonly bytes: number;
  readonly nodes: number;
}

export interface GraphCost extends CostSum {
  readonly byOp: ReadonlyMap<OpName, CostSum>;
  readonly byScope: ReadonlyMap<string, CostSum>;
  readonly byPhase: ReadonlyMap<Phase, CostSum>;
}

/** Adds up the nodes of a graph. Composites count as what they stand for, whether an engine runs them whole or not. */
export function countCost(graph: Graph): GraphCost {
  const byOp = new Map<OpName, CostSum>();
  const byScope = new Map<string, CostSum>();
  const byPhase = new Map<Phase, CostSum>();
  let total = nothing;
  for (const node of graph.nodes) {
    const cost = costOf(node);
    total = plus(total, cost);
    addTo(byOp, node.op, cost);
    addTo(byScope, node.scope, cost);
    addTo(byPhase, node.phase, cost);
  }
  return { ...total, byOp, byScope, byPhase };
}

/** The cost of one node. */
export function costOf(node: Node): NodeCost {
  const rule = costRules[node.op] as (inputs: readonly Value[], attrs: unknown, outputs: readonly Value[]) => OpCost;
  const inputs = inputsOf(node);
  const { flops = 0, matmulFlops = 0, bytesRead, bytesWritten } = rule(inputs, node.attrs, node.outputs);
  return {
    flops: flops + matmulFlops,
    matmulFlops,
    bytesRead: bytesRead ?? sumBytes([...new Set(inputs)]),
    bytesWritten: bytesWritten ?? sumBytes(node.outputs),
  };
}

const nothing: CostSum = { flops: 0, matmulFlops: 0, bytes: 0, nodes: 0 };

function plus(sum: CostSum, cost: NodeCost): CostSum {
  return {
    flops: sum.flops + cost.flops,
    matmulFlops: sum.matmulFlops + cost.matmulFlops,
    bytes: sum.bytes + cost.bytesRead + cost.bytesWritten,
    nodes: sum.nodes + 1,
  };
}

function addTo<K>(sums: Map<K, CostSum>, key: K, cost: NodeCost): void {
  sums.set(key, plus(sums.get(key) ?? nothing, cost));
}

/** What a rule says; the bytes default to all inputs and all outputs once. */
interface OpCost {
  /** Operations outside matrix products. */
  readonly flops?: number;
  readonly matmulFlops?: number;
  readonly bytesRead?: number;
  readonly bytesWritten?: number;
}
type CostRule<K extends OpName> = (inputs: Ops[K]["inputs"], attrs: Ops[K]["attrs"], outputs: Ops[K]["outputs"]) => OpCost;

const free = (): OpCost => ({ bytesRead: 0, bytesWritten: 0 });
const copy = (): OpCost => ({});

/** So many operations for each element of the output. */
function perOutput(flops: number) {
  return (_inputs: readonly Value[], _attrs: unknown, outputs: readonly [Value, ...Value[]]): OpCost => ({
    flops: flops * sizeOf(outputs[0].shape),
  });
}

/** So many operations for each element of the first input. */
function perInput(flops: number) {
  return (inputs: readonly Value[]): OpCost => ({ flops: flops * sizeOf(inputs[0]?.shape ?? [0]) });
}

/** A convolution and its two gradients do the same products: one of each output with each element under the kernel. */
function convFlops(output: Shape, channels: number, kernel: readonly [number, number]): number {
  return 2 * sizeOf(output) * channels * kernel[0] * kernel[1];
}

function kernelOf(w: Value): readonly [number, number] {
  return [w.shape[2] ?? 1, w.shape[3] ?? 1];
}

/** Products of L x S x D in an attention, each 2 B H L S D operations, and its operations on the scores. */
function attentionCost(q: Value, k: Value, mask: Value | undefined, products: number, perScore: number): OpCost {
  const [batch = 1, heads = 1, queries = 1, width = 1] = q.shape;
  const scores = batch * heads * queries * (k.shape[2] ?? 1);
  return { matmulFlops: products * 2 * scores * width, flops: (perScore + (mask ? 1 : 0)) * scores + sizeOf(q.shape) };
}

const costRules: { readonly [K in OpName]: CostRule<K> } = {
  Input: free,
  Constant: free,

  Add: perOutput(1),
  Sub: perOutput(1),
  Mul: perOutput(1),
  Div: perOutput(1),
  Min: perOutput(1),
  Max: perOutput(1),
  Neg: perOutput(1),
  Exp: perOutput(1),
  Log: perOutput(1),
  Sqrt: perOutput(1),
  Sin: perOutput(1),
  Cos: perOutput(1),
  Erf: perOutput(1),
  Tanh: perOutput(1),
  // 1 / (1 + exp(-x))
  Sigmoid: perOutput(4),
  Cast: copy,

  // As many as in their `decompose` rules.
  Silu: perOutput(5),
  SiluGrad: perOutput(9),
  Gelu: perOutput(5),
  GeluGrad: perOutput(10),
  QuickGelu: perOutput(6),
  QuickGeluGrad: perOutput(11),

  ReduceSum: perInput(1),
  ReduceMax: perInput(1),

  MatMul: ([a], { transA }, [y]) => ({ matmulFlops: 2 * sizeOf(y.shape) * (a.shape.at(transA ? -2 : -1) ?? 1) }),
  Conv2d: ([x, w, bias], _, [y]) => ({
    matmulFlops: convFlops(y.shape, x.shape[1] ?? 1, kernelOf(w)),
    flops: bias ? sizeOf(y.shape) : 0,
  }),
  Conv2dGradInput: ([ct, w]) => ({ matmulFlops: convFlops(ct.shape, w.shape[1] ?? 1, kernelOf(w)) }),
  Conv2dGradWeight: ([x, ct], { kernel }) => ({ matmulFlops: convFlops(ct.shape, x.shape[1] ?? 1, kernel) }),

  // A view: nothing is moved.
  Reshape: free,
  Transpose: copy,
  Expand: copy,
  Slice: (_inputs, _attrs, [y]) => ({ bytesRead: byteSizeOf(y) }),
  Pad: copy,
  Concat: copy,
  UpsampleNearest: copy,

  Gather: ([, indices], _, [y]) => ({ bytesRead: byteSizeOf(indices) + byteSizeOf(y) }),
  ScatterAdd: ([updates]) => ({ flops: sizeOf(updates.shape) }),

  // Maximum, difference, exponential, sum, quotient.
  Softmax: perOutput(5),
  SoftmaxGrad: perOutput(4),
  // Sum, difference, square and sum, product; a few more for each row.
  Normalize: perOutput(5),
  NormalizeGrad: perOutput(7),
  LayerNorm: perOutput(7),
  LayerNormGrad: perOutput(13),
  GroupNorm: perOutput(7),
  GroupNormGrad: perOutput(12),
  Attention: ([q, k, , mask]) => attentionCost(q, k, mask, 2, 5),
  // The scores once more, then dP, dQ, dK and dV; softmax and its gradient.
  AttentionGrad: ([, q, k, , mask]) => attentionCost(q, k, mask, 5, 8),

  Dequantise: perOutput(1),
  // What the network carries is not counted; the sum is.
  AllReduceMean: (inputs) => ({ flops: inputs.reduce((sum, { shape }) => sum + sizeOf(shape), 0) }),

  AdamW: perOutput(15),
};
