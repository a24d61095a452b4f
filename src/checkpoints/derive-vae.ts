/** The autoencoder's configuration from the keys and shapes of a file that carries none. */
import { UserError } from "../errors.ts";
import { parseVaeConfig, type VaeConfig } from "../models/vae/config.ts";
import type { BaseFamily } from "./base.ts";
import type { FileTensors } from "./locate-weights.ts";
import { createShapeReader } from "./shape-reader.ts";

/** Of every group norm in the original code. */
const GROUPS = 32;

/** Measured by the models' authors over their training pictures; shapes do not show it. */
const scalingFactors: { readonly [F in BaseFamily]: number } = { sd15: 0.18215, sdxl: 0.13025 };

/** Which names a file's VAE has. */
export type VaeNaming = "original" | "diffusers";

/** Where each naming keeps a residual block of the encoder. */
const blocks: { readonly [N in VaeNaming]: (stage: number, layer: number) => string } = {
  original: (stage, layer) => `encoder.down.${stage}.block.${layer}`,
  diffusers: (stage, layer) => `encoder.down_blocks.${stage}.resnets.${layer}`,
};

const middles: { readonly [N in VaeNaming]: readonly [first: string, attention: string] } = {
  original: ["encoder.mid.block_1", "encoder.mid.attn_1"],
  diffusers: ["encoder.mid_block.resnets.0", "encoder.mid_block.attentions.0"],
};

/** The naming of the VAE whose keys begin with `prefix`; undefined where there is none. */
export function findVaeNaming(tensors: FileTensors, prefix: string): VaeNaming | undefined {
  const namings = Object.keys(middles) as VaeNaming[];
  return namings.find((naming) => tensors.has(`${prefix}${middles[naming][0]}.conv1.weight`));
}

/**
 * Derived: widths, number of blocks, latent channels, attention in the middle. Assumed: norms of 32 groups, and the family's scaling
 * factor.
 *
 * @param where the file, for messages
 * @throws UserError naming the key that is missing
 */
export function deriveVaeConfig(
  tensors: FileTensors,
  { prefix, naming, family, where }: { prefix: string; naming: VaeNaming; family: BaseFamily; where: string },
): VaeConfig {
  const read = createShapeReader(tensors, prefix, where);
  const conv = (stage: number, layer: number): string => `${blocks[naming](stage, layer)}.conv1.weight`;
  const stages = read.count((stage) => conv(stage, 0));
  const channels = Array.from({ length: stages }, (_, stage) => read.size(conv(stage, 0), 0));
  const odd = channels.find((count) => count % GROUPS !== 0);
  if (odd !== undefined || stages === 0) {
    throw new UserError(`${where}: a stage of its VAE has ${odd ?? 0} channels; a multiple of ${GROUPS} is needed.`, {
      fix: "Use a VAE of SD 1.5's or SDXL's architecture, or a diffusers folder, whose config.json says what this one is.",
    });
  }
  return parseVaeConfig(
    {
      in_channels: read.size("encoder.conv_in.weight", 1),
      out_channels: read.size("decoder.conv_out.weight", 0),
      latent_channels: read.size("decoder.conv_in.weight", 1),
      block_out_channels: channels,
      down_block_types: channels.map(() => "DownEncoderBlock2D"),
      up_block_types: channels.map(() => "UpDecoderBlock2D"),
      layers_per_block: read.count((layer) => conv(0, layer)),
      norm_num_groups: GROUPS,
      mid_block_add_attention: read.hasUnder(`${middles[naming][1]}.`),
      use_quant_conv: read.has("quant_conv.weight"),
      use_post_quant_conv: read.has("post_quant_conv.weight"),
      scaling_factor: scalingFactors[family],
    },
    where,
  );
}
