/** Which layers of a finished graph an adapter is put on. */
import type { Graph, Shape, Value } from "../graph/graph.ts";

/**
 * The sets users know from other trainers:
 * `attention` = the projections of every attention; `attention+ff` = whatever linear or 1x1 convolution lies in a transformer
 * block (what sd-scripts trains by default: 722 layers of SDXL's UNet, 192 of SD 1.5's); `all-linear` = every linear layer;
 * `locon` = `attention+ff` and the linear and convolution layers of residual blocks, down- and upsamplers (LyCORIS' LoCon).
 */
export type TargetSet = (typeof targetSets)[number];
export const targetSets = ["attention", "attention+ff", "all-linear", "locon"] as const;

export interface AdapterTarget {
  /** Buffer name of the weight without ".weight". */
  readonly path: string;
  /** [out, in] or [out, in, kh, kw]. */
  readonly weightShape: Shape;
  readonly kind: "linear" | "conv";
}

/** The node that applies a weight, when it is one that an adapter can be put on. */
export function findWeightUse(
  node: Graph["nodes"][number],
): { weight: Value; kind: "linear" | "conv"; path: string } | undefined {
  const isLinear = node.op === "MatMul" && node.attrs.transB && node.inputs[1].shape.length === 2;
  if (!isLinear && node.op !== "Conv2d") return undefined;
  const weight = node.inputs[1];
  if (weight.node.op !== "Input" || weight.node.attrs.kind !== "buffer") return undefined;
  const { name } = weight.node.attrs;
  if (!name.endsWith(".weight")) return undefined;
  return { weight, kind: isLinear ? "linear" : "conv", path: name.slice(0, -".weight".length) };
}

/** The layers of a forward graph that belong to a target set, in the order they run, each once. */
export function findTargets(graph: Graph, set: TargetSet): readonly AdapterTarget[] {
  const found = new Map<string, AdapterTarget>();
  for (const node of graph.nodes) {
    const use = findWeightUse(node);
    if (!use || found.has(use.path) || !belongsTo[set](use.path, use.kind)) continue;
    found.set(use.path, { path: use.path, weightShape: use.weight.shape, kind: use.kind });
  }
  return [...found.values()];
}

const isAttentionProjection = (path: string): boolean =>
  /\.attn[12]\.(to_q|to_k|to_v|to_out\.0)$/.test(path) || /\.self_attn\.(q|k|v|out)_proj$/.test(path);

/** Inside a Transformer2DModel of the UNet, or an encoder layer of a text encoder. */
const isInTransformer = (path: string): boolean =>
  /^unet\..*\battentions\.\d+\./.test(path) || /\.encoder\.layers\.\d+\./.test(path);

const isInConvolutionBlock = (path: string): boolean => /^unet\..*\b(resnets|downsamplers|upsamplers)\.\d+\./.test(path);

/** Whether a layer belongs to a set. */
export const belongsTo: { readonly [K in TargetSet]: (path: string, kind: "linear" | "conv") => boolean } = {
  attention: isAttentionProjection,
  "attention+ff": isInTransformer,
  "all-linear": (path, kind) => isInTransformer(path) || kind === "linear",
  locon: (path) => isInTransformer(path) || isInConvolutionBlock(path),
};
