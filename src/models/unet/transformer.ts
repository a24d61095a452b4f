/** The UNet's attention over pixels and text: diffusers' Transformer2DModel and BasicTransformerBlock. */
import { add, gelu, mul, reshape, split, transpose } from "../../graph/build.ts";
import type { Value } from "../../graph/graph.ts";
import { attentionLayer } from "../../nn/attention.ts";
import { axisSize, conv, groupNorm, layerNorm, linear } from "../../nn/layers.ts";
import type { Params } from "../../nn/params.ts";
import type { UnetConfig, UnetTransformer } from "./config.ts";

/** Fixed in the reference, whatever norm_eps the residual blocks have. */
const GROUP_NORM_EPS = 1e-6;
const LAYER_NORM_EPS = 1e-5;

/** The feed-forward layers are this much wider than the block. */
const FEED_FORWARD_FACTOR = 4;

/**
 * `Transformer2DModel`: norm, `proj_in`, the blocks on a row per pixel, `proj_out`, and the input added.
 *
 * @param x [B, C, H, W]; `context` [B, L, crossAttentionDim]
 * @returns [B, C, H, W]
 */
export function transformer2d(
  params: Params,
  x: Value,
  context: Value,
  transformer: UnetTransformer,
  config: UnetConfig,
): Value {
  const { normNumGroups, useLinearProjection } = config;
  const channels = axisSize(x, 1);
  return params.scope(() => {
    const normed = groupNorm(params.at("norm"), x, normNumGroups, GROUP_NORM_EPS);
    let rows = useLinearProjection
      ? linear(params.at("proj_in"), toRows(normed), channels)
      : toRows(conv(params.at("proj_in"), normed, channels, { kernel: 1 }));
    for (let k = 0; k < transformer.depth; k++) {
      const block = params.at("transformer_blocks").at(k);
      rows = basicTransformerBlock(block, rows, context, transformer.heads, config);
    }
    const out = useLinearProjection
      ? toPixels(linear(params.at("proj_out"), rows, channels), x)
      : conv(params.at("proj_out"), toPixels(rows, x), channels, { kernel: 1 });
    return add(out, x);
  });
}

/** [B, C, H, W] -> [B, H W, C] */
function toRows(x: Value): Value {
  return transpose(reshape(x, [axisSize(x, 0), axisSize(x, 1), axisSize(x, 2) * axisSize(x, 3)]), [0, 2, 1]);
}

/** [B, H W, C] -> the shape [B, C, H, W] of `like` */
function toPixels(rows: Value, like: Value): Value {
  return reshape(transpose(rows, [0, 2, 1]), like.shape);
}

/** `BasicTransformerBlock`: attention among pixels, attention to the text, feed-forward. One block for rematerialisation. */
function basicTransformerBlock(
  params: Params,
  x: Value,
  context: Value,
  heads: number,
  { upcastAttention: upcast }: UnetConfig,
): Value {
  const options = { heads, qkvBias: false, upcast };
  return params.block(() => {
    const norm1 = layerNorm(params.at("norm1"), x, LAYER_NORM_EPS);
    let h = add(x, attentionLayer(params.at("attn1"), norm1, norm1, options));
    const norm2 = layerNorm(params.at("norm2"), h, LAYER_NORM_EPS);
    h = add(h, attentionLayer(params.at("attn2"), norm2, context, options));
    return add(h, feedForward(params.at("ff"), layerNorm(params.at("norm3"), h, LAYER_NORM_EPS)));
  });
}

/** GEGLU (Shazeer 2020): half of `net.0.proj`'s output times gelu of the other half, then `net.2`. */
function feedForward(params: Params, x: Value): Value {
  const width = axisSize(x, -1);
  return params.scope(() => {
    const projected = linear(params.at("net.0.proj"), x, 2 * FEED_FORWARD_FACTOR * width);
    const [hidden, gate] = split(projected, projected.shape.length - 1, 2);
    if (!hidden || !gate) throw new Error("feedForward: two halves needed");
    return linear(params.at("net.2"), mul(hidden, gelu(gate)), width);
  });
}
