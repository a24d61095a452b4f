/** The denoiser of Stable Diffusion 1, 2 and XL: diffusers' UNet2DConditionModel (Rombach et al. 2022; Podell et al. 2023). */
import { add, cast, concat, reshape, silu } from "../../graph/build.ts";
import type { Value } from "../../graph/graph.ts";
import { sinusoidalEmbedding, timestepEmbedding } from "../../nn/embeddings.ts";
import { axisSize, conv, groupNorm } from "../../nn/layers.ts";
import { createParams, listParameters, type Params, type ParameterSpec } from "../../nn/params.ts";
import { downsample, resnetBlock, upsample } from "../../nn/resnet.ts";
import type { UnetBlock, UnetConfig, UnetTransformer } from "./config.ts";
import { transformer2d } from "./transformer.ts";

export interface UnetInputs {
  /** Noisy latents [B, inChannels, H, W]; any H and W. */
  readonly sample: Value;
  /** float32 [B] */
  readonly timesteps: Value;
  /** Text embeddings [B, L, crossAttentionDim]. */
  readonly encoderHiddenStates: Value;
  /** What SDXL sees besides: the pooled text [B, P] and its six numbers, original size, crop and target size, float32 [B, 6]. */
  readonly addedConditions?: { readonly textEmbeds: Value; readonly timeIds: Value };
}

/** What every block is conditioned on. */
interface Conditions {
  /** silu of the time embedding: [B, timeEmbedDim]. */
  readonly siluTime: Value;
  readonly context: Value;
}

/**
 * What the model predicts of the noisy latents: noise or velocity, as it was trained.
 *
 * @returns [B, outChannels, H, W]
 * @example
 * const prediction = unet(createParams(graph, "unet"), { sample, timesteps, encoderHiddenStates }, config);
 */
export function unet(params: Params, inputs: UnetInputs, config: UnetConfig): Value {
  const { downBlocks, upBlocks, midTransformer, convInKernel, convOutKernel, normNumGroups, normEps, outChannels } = config;
  const conditions = readConditions(params, inputs, config);
  const skips: Value[] = [];

  const first = downBlocks[0]?.channels ?? 0;
  let x = conv(params.at("conv_in"), inputs.sample, first, { kernel: convInKernel, padding: (convInKernel - 1) >> 1 });
  skips.push(x);
  downBlocks.forEach((block, i) => {
    const isLast = i === downBlocks.length - 1;
    const kept = downBlock(params.at("down_blocks").at(i), x, conditions, block, isLast, config);
    x = kept.at(-1) ?? x;
    skips.push(...kept);
  });
  x = midBlock(params.at("mid_block"), x, conditions, midTransformer, config);
  upBlocks.forEach((block, i) => {
    x = upBlock(params.at("up_blocks").at(i), x, skips, conditions, block, config);
  });
  x = params.scope(() => silu(groupNorm(params.at("conv_norm_out"), x, normNumGroups, normEps)));
  return conv(params.at("conv_out"), x, outChannels, { kernel: convOutKernel, padding: (convOutKernel - 1) >> 1 });
}

/** The weights of the network. */
export function listUnetParameters(config: UnetConfig, component = "unet"): readonly ParameterSpec[] {
  const { inChannels, crossAttentionDim, additionEmbed } = config;
  return listParameters((graph) => {
    const inputs = {
      sample: graph.feed("sample", [1, inChannels, 8, 8]),
      timesteps: graph.feed("timesteps", [1]),
      encoderHiddenStates: graph.feed("context", [1, 1, crossAttentionDim]),
    };
    if (!additionEmbed) {
      unet(createParams(graph, component), inputs, config);
      return;
    }
    const timeIds = graph.feed("time_ids", [1, TIME_IDS]);
    const textEmbeds = graph.feed("text_embeds", [1, additionEmbed.inputDim - TIME_IDS * additionEmbed.timeEmbedDim]);
    unet(createParams(graph, component), { ...inputs, addedConditions: { textEmbeds, timeIds } }, config);
  });
}

/** SDXL's numbers: original height and width, top and left of the crop, target height and width. */
const TIME_IDS = 6;

function readConditions(params: Params, inputs: UnetInputs, config: UnetConfig): Conditions {
  const { sample, timesteps, encoderHiddenStates, addedConditions } = inputs;
  const { downBlocks, timeEmbedDim, flipSinToCos, freqShift, crossAttentionDim, additionEmbed } = config;
  if (axisSize(encoderHiddenStates, 2) !== crossAttentionDim) {
    const got = encoderHiddenStates.shape.join(", ");
    throw new Error(`unet: text embeddings of width ${crossAttentionDim} needed, got [${got}]`);
  }
  if ((additionEmbed === undefined) !== (addedConditions === undefined)) {
    throw new Error(`unet: addedConditions must ${additionEmbed ? "be given" : "not be given"} to this model`);
  }
  return params.scope(() => {
    const sinusoids = { flipSinToCos, downscaleFreqShift: freqShift };
    const time = sinusoidalEmbedding(timesteps, { ...sinusoids, width: downBlocks[0]?.channels ?? 0 });
    let emb = timestepEmbedding(params.at("time_embedding"), cast(time, sample.dtype), timeEmbedDim);
    if (additionEmbed && addedConditions) {
      const { textEmbeds, timeIds } = addedConditions;
      const [batch, count] = [axisSize(timeIds, 0), axisSize(timeIds, 1)];
      const numbers = sinusoidalEmbedding(reshape(timeIds, [batch * count]), { ...sinusoids, width: additionEmbed.timeEmbedDim });
      const rows = cast(reshape(numbers, [batch, count * additionEmbed.timeEmbedDim]), sample.dtype);
      const added = concat([textEmbeds, rows], 1); // [B, inputDim]
      if (axisSize(added, 1) !== additionEmbed.inputDim) {
        throw new Error(`unet: added conditions of ${additionEmbed.inputDim} numbers needed, got ${axisSize(added, 1)}`);
      }
      emb = add(emb, timestepEmbedding(params.at("add_embedding"), added, timeEmbedDim));
    }
    return { siluTime: silu(emb), context: encoderHiddenStates };
  });
}

/** `CrossAttnDownBlock2D` and `DownBlock2D`. Returns what the up block of this resolution will want, the last being the output. */
function downBlock(
  params: Params,
  input: Value,
  conditions: Conditions,
  block: UnetBlock,
  isLast: boolean,
  config: UnetConfig,
): readonly Value[] {
  const kept: Value[] = [];
  let x = input;
  for (let j = 0; j < block.layers; j++) {
    x = layer(params, j, x, conditions, block, config);
    kept.push(x);
  }
  if (!isLast) kept.push(downsample(params.at("downsamplers.0"), x, config.downsamplePadding));
  return kept;
}

/** `UNetMidBlock2DCrossAttn` */
function midBlock(
  params: Params,
  input: Value,
  conditions: Conditions,
  transformer: UnetTransformer,
  config: UnetConfig,
): Value {
  const channels = axisSize(input, 1);
  const x = layer(params, 0, input, conditions, { channels, transformer }, config);
  return layer(params, 1, x, conditions, { channels, transformer: undefined }, config);
}

/** `CrossAttnUpBlock2D` and `UpBlock2D`: takes its values off the end of `skips`. */
function upBlock(
  params: Params,
  input: Value,
  skips: Value[],
  conditions: Conditions,
  block: UnetBlock,
  config: UnetConfig,
): Value {
  let x = input;
  for (let j = 0; j < block.layers; j++) {
    const skip = skips.pop();
    if (!skip) throw new Error(`unet: a value of the down blocks needed, got none\n  at ${params.key}`);
    const joined = params.scope(() => concat([x, skip], 1));
    x = layer(params, j, joined, conditions, block, config);
  }
  const next = skips.at(-1);
  if (!next) return x;
  // Sizes that do not halve evenly: the way up goes back to exactly what the way down came from.
  return upsample(params.at("upsamplers.0"), x, [axisSize(next, 2), axisSize(next, 3)]);
}

/** A residual block, and the transformer after it where the block has attention. */
function layer(
  params: Params,
  index: number,
  x: Value,
  { siluTime, context }: Conditions,
  { channels, transformer }: Pick<UnetBlock, "channels" | "transformer">,
  config: UnetConfig,
): Value {
  const { normNumGroups: groups, normEps: eps } = config;
  const h = resnetBlock(params.at("resnets").at(index), x, siluTime, { channels, groups, eps });
  return transformer ? transformer2d(params.at("attentions").at(index), h, context, transformer, config) : h;
}
