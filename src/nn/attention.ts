/** Multi-head attention (Vaswani et al. 2017), and diffusers' `Attention` layer made of it. */
import { attention, cast, reshape, transpose } from "../graph/build.ts";
import type { Value } from "../graph/graph.ts";
import { axisSize, linear } from "./layers.ts";
import type { Params } from "./params.ts";

/** [B, L, H * D] -> [B, H, L, D]. */
function splitHeads(x: Value, heads: number): Value {
  const width = axisSize(x, 2) / heads;
  return transpose(reshape(x, [axisSize(x, 0), axisSize(x, 1), heads, width]), [0, 2, 1, 3]);
}

/** [B, H, L, D] -> [B, L, H * D]. */
function mergeHeads(x: Value): Value {
  return reshape(transpose(x, [0, 2, 1, 3]), [axisSize(x, 0), axisSize(x, 2), axisSize(x, 1) * axisSize(x, 3)]);
}

/**
 * softmax(q kᵀ / sqrt(D) + mask) v in `heads` parts of width D.
 *
 * @param q [B, L, C]; k and v are [B, S, C]
 * @param mask added to the scores; broadcasts to [B, heads, L, S]
 * @returns [B, L, C]
 */
export function multiHeadAttention(q: Value, k: Value, v: Value, heads: number, mask?: Value): Value {
  const scale = 1 / Math.sqrt(axisSize(q, 2) / heads);
  return mergeHeads(attention(splitHeads(q, heads), splitHeads(k, heads), splitHeads(v, heads), scale, mask));
}

export interface AttentionLayerOptions {
  readonly heads: number;
  /** Whether `to_q`, `to_k` and `to_v` have a bias; `to_out.0` always has. */
  readonly qkvBias: boolean;
  /** Whether the scores are computed in float32 whatever the weights' dtype. */
  readonly upcast?: boolean;
}

/**
 * diffusers' `Attention`: `to_q` of x, `to_k` and `to_v` of the context, `to_out.0` of the result.
 *
 * @param x [B, L, C]; `context` [B, S, contextWidth], x itself for self-attention
 * @returns [B, L, C]
 */
export function attentionLayer(params: Params, x: Value, context: Value, options: AttentionLayerOptions): Value {
  const { heads, qkvBias: bias, upcast = false } = options;
  return params.scope(() => {
    const channels = axisSize(x, 2);
    const prepared = (value: Value): Value => (upcast ? cast(value, "float32") : value);
    const q = prepared(linear(params.at("to_q"), x, channels, { bias }));
    const k = prepared(linear(params.at("to_k"), context, channels, { bias }));
    const v = prepared(linear(params.at("to_v"), context, channels, { bias }));
    return linear(params.at("to_out.0"), cast(multiHeadAttention(q, k, v, heads), x.dtype), channels);
  });
}
