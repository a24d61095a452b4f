/** What single files call the UNet's weights: the names of the original code (CompVis/latent-diffusion, Stability-AI/generative-models). */
import { sgmPath } from "../lora/names.ts";
import type { UnetConfig } from "../models/unet/config.ts";
import type { KeyMap } from "./locate-weights.ts";

/** With which every key of the UNet begins. */
export const UNET_PREFIX = "model.diffusion_model.";

/**
 * diffusers name                                    file key, after the prefix
 *
 * conv_in                                           input_blocks.0.0
 * time_embedding.linear_1, .linear_2                time_embed.0, .2
 * add_embedding.linear_1, .linear_2 (SDXL)          label_emb.0.0, .0.2
 * down_blocks.B.resnets.R                           input_blocks.N.0     N counts conv_in, every residual block and every downsampler
 * down_blocks.B.attentions.R                        input_blocks.N.1
 * down_blocks.B.downsamplers.0.conv                 input_blocks.N.0.op
 * mid_block.resnets.0, attentions.0, resnets.1      middle_block.0, .1, .2
 * up_blocks.B.resnets.R                             output_blocks.N.0    N counts every residual block
 * up_blocks.B.attentions.R                          output_blocks.N.1
 * up_blocks.B.upsamplers.0.conv                     output_blocks.N.1.conv, or .2.conv after an attention
 * conv_norm_out, conv_out                           out.0, out.2
 *
 * in a residual block: norm1, conv1                 in_layers.0, .2
 *                      time_emb_proj                emb_layers.1
 *                      norm2, conv2                 out_layers.0, .3
 *                      conv_shortcut                skip_connection
 * in an attention: the same names
 *
 * Adapter files use the same block numbers, so that the table itself stands in lora/names.ts.
 */
export function unetKeys(unet: Pick<UnetConfig, "downBlocks" | "upBlocks">): KeyMap {
  return (path) => {
    const end = path.lastIndexOf(".");
    return { keys: [`${UNET_PREFIX}${sgmPath(`unet.${path.slice(0, end)}`, { unet })}${path.slice(end)}`] };
  };
}
