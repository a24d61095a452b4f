/** The autoencoder between pictures and latents: diffusers' AutoencoderKL (Rombach et al. 2022, section 3.1). */
import { add, reshape, silu, split, transpose } from "../../graph/build.ts";
import type { Value } from "../../graph/graph.ts";
import { attentionLayer } from "../../nn/attention.ts";
import { axisSize, conv, groupNorm } from "../../nn/layers.ts";
import { createParams, listParameters, type Params, type ParameterSpec } from "../../nn/params.ts";
import { downsample, resnetBlock, upsample } from "../../nn/resnet.ts";
import type { VaeConfig } from "./config.ts";

/** Of every norm in the autoencoder. */
const NORM_EPS = 1e-6;

/** The Gaussian that a picture is encoded to, per latent pixel: [B, latentChannels, h, w] each. */
export interface VaeMoments {
  readonly mean: Value;
  /** Log of the variance, as the network gives it: the reference clamps it to -30..20 before it draws from it. */
  readonly logvar: Value;
}

/**
 * Pictures to latents, before the scaling factor.
 *
 * @param x [B, inChannels, H, W] in -1..1; each of the blocks - 1 halvings of H and W rounds down
 * @example const { mean } = vaeEncode(createParams(graph, "vae"), graph.feed("picture", [1, 3, 512, 512]), config); // [1, 4, 64, 64]
 */
export function vaeEncode(params: Params, x: Value, config: VaeConfig): VaeMoments {
  const moments = encoder(params.at("encoder"), x, config); // [B, 2 latentChannels, h, w]
  const size = 2 * config.latentChannels;
  const quantised = config.useQuantConv ? conv(params.at("quant_conv"), moments, size, { kernel: 1 }) : moments;
  const [mean, logvar] = params.scope(() => split(quantised, 1, 2));
  if (!mean || !logvar) throw new Error("vaeEncode: two halves needed");
  return { mean, logvar };
}

/**
 * Latents, with the scaling factor taken off again, to pictures of about -1..1.
 *
 * @param latents [B, latentChannels, h, w]
 * @returns [B, outChannels, h * 2 ** (blocks - 1), w * 2 ** (blocks - 1)]
 */
export function vaeDecode(params: Params, latents: Value, config: VaeConfig): Value {
  const { latentChannels, usePostQuantConv } = config;
  const z = usePostQuantConv ? conv(params.at("post_quant_conv"), latents, latentChannels, { kernel: 1 }) : latents;
  return decoder(params.at("decoder"), z, config);
}

/** The weights of encoder and decoder. */
export function listVaeParameters(config: VaeConfig, component = "vae"): readonly ParameterSpec[] {
  const side = 2 ** (config.blockOutChannels.length - 1);
  return listParameters((graph) => {
    const params = createParams(graph, component);
    const { mean } = vaeEncode(params, graph.feed("x", [1, config.inChannels, side, side]), config);
    vaeDecode(params, mean, config);
  });
}

function encoder(params: Params, picture: Value, config: VaeConfig): Value {
  const { blockOutChannels, layersPerBlock, latentChannels } = config;
  const last = blockOutChannels.length - 1;
  let x = conv(params.at("conv_in"), picture, blockOutChannels[0] ?? 0, { kernel: 3, padding: 1 });
  blockOutChannels.forEach((channels, i) => {
    const block = params.at("down_blocks").at(i);
    x = resnets(block, x, channels, layersPerBlock, config);
    if (i < last) x = downsample(block.at("downsamplers.0"), x, 0);
  });
  x = midBlock(params.at("mid_block"), x, config);
  return outputLayers(params, x, 2 * latentChannels, config);
}

function decoder(params: Params, z: Value, config: VaeConfig): Value {
  const { blockOutChannels, layersPerBlock, outChannels } = config;
  const last = blockOutChannels.length - 1;
  let x = conv(params.at("conv_in"), z, blockOutChannels[last] ?? 0, { kernel: 3, padding: 1 });
  x = midBlock(params.at("mid_block"), x, config);
  blockOutChannels.toReversed().forEach((channels, i) => {
    const block = params.at("up_blocks").at(i);
    x = resnets(block, x, channels, layersPerBlock + 1, config);
    if (i < last) x = upsample(block.at("upsamplers.0"), x);
  });
  return outputLayers(params, x, outChannels, config);
}

function resnets(params: Params, x: Value, channels: number, count: number, { normNumGroups: groups }: VaeConfig): Value {
  let h = x;
  for (let j = 0; j < count; j++) {
    h = resnetBlock(params.at("resnets").at(j), h, undefined, { channels, groups, eps: NORM_EPS });
  }
  return h;
}

function midBlock(params: Params, x: Value, { normNumGroups: groups, midBlockAddAttention }: VaeConfig): Value {
  const resnet = { channels: axisSize(x, 1), groups, eps: NORM_EPS };
  let h = resnetBlock(params.at("resnets.0"), x, undefined, resnet);
  if (midBlockAddAttention) h = pixelAttention(params.at("attentions.0"), h, groups);
  return resnetBlock(params.at("resnets.1"), h, undefined, resnet);
}

/** Attention of every pixel to every pixel, in one head, with its own norm and residual: [B, C, H, W] -> the same. */
function pixelAttention(params: Params, x: Value, groups: number): Value {
  return params.block(() => {
    const [batch, channels, pixels] = [axisSize(x, 0), axisSize(x, 1), axisSize(x, 2) * axisSize(x, 3)];
    const normed = groupNorm(params.at("group_norm"), x, groups, NORM_EPS);
    const rows = transpose(reshape(normed, [batch, channels, pixels]), [0, 2, 1]); // [B, H W, C]
    const attended = attentionLayer(params, rows, rows, { heads: 1, qkvBias: true });
    return add(reshape(transpose(attended, [0, 2, 1]), x.shape), x);
  });
}

function outputLayers(params: Params, x: Value, channels: number, { normNumGroups }: VaeConfig): Value {
  const h = params.scope(() => silu(groupNorm(params.at("conv_norm_out"), x, normNumGroups, NORM_EPS)));
  return conv(params.at("conv_out"), h, channels, { kernel: 3, padding: 1 });
}
