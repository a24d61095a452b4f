/** Layers with weights: linear, convolution and the two norms. */
import { add, conv2d, groupNorm as groupNormOp, layerNorm as layerNormOp, matmul } from "../graph/build.ts";
import type { Value } from "../graph/graph.ts";
import type { Padding } from "../graph/ops.ts";
import type { Params } from "./params.ts";

/** Size of one axis; throws when there is no such axis. Negative axes count from the end. */
export function axisSize(x: Value, axis: number): number {
  const size = x.shape.at(axis);
  if (size === undefined) throw new Error(`axisSize: axis ${axis} needed, got shape [${x.shape.join(", ")}]`);
  return size;
}

/** x Wᵀ + b: x [.., in], `weight` [out, in], `bias` [out] -> [.., out]. */
export function linear(params: Params, x: Value, outFeatures: number, { bias = true } = {}): Value {
  return params.scope(() => {
    const y = matmul(x, params.get("weight", [outFeatures, axisSize(x, -1)]), { transB: true });
    return bias ? add(y, params.get("bias", [outFeatures])) : y;
  });
}

export interface ConvLayerOptions {
  readonly kernel: number;
  readonly stride?: number;
  /** One number for all four sides, or [top, left, bottom, right]. */
  readonly padding?: number | Padding;
}

/** A convolution: x [B, C, H, W], `weight` [out, C, kernel, kernel], `bias` [out] -> [B, out, H', W']. */
export function conv(params: Params, x: Value, outChannels: number, options: ConvLayerOptions): Value {
  const { kernel, stride = 1, padding = 0 } = options;
  return params.scope(() => {
    const weight = params.get("weight", [outChannels, axisSize(x, 1), kernel, kernel]);
    return conv2d(x, weight, params.get("bias", [outChannels]), { stride, padding });
  });
}

/** Wu and He (2018): x [B, C, ..], `weight` [C], `bias` [C]. */
export function groupNorm(params: Params, x: Value, groups: number, eps: number): Value {
  const channels = axisSize(x, 1);
  return params.scope(() => groupNormOp(x, params.get("weight", [channels]), params.get("bias", [channels]), groups, eps));
}

/** Ba et al. (2016): x [.., D], `weight` [D], `bias` [D]. */
export function layerNorm(params: Params, x: Value, eps: number): Value {
  const width = axisSize(x, -1);
  return params.scope(() => layerNormOp(x, params.get("weight", [width]), params.get("bias", [width]), eps));
}
