/** What an autoencoder's config.json says, as diffusers' AutoencoderKL reads it. */
import { readConfigFields, type ConfigFields } from "../../nn/config-fields.ts";

/** The shape of an AutoencoderKL (Rombach et al. 2022, appendix E.1). */
export interface VaeConfig {
  /** Channels of a picture going in and coming out. */
  readonly inChannels: number;
  readonly outChannels: number;
  readonly latentChannels: number;
  /** Channels of each resolution, the finest first. */
  readonly blockOutChannels: readonly number[];
  readonly layersPerBlock: number;
  readonly normNumGroups: number;
  readonly midBlockAddAttention: boolean;
  readonly useQuantConv: boolean;
  readonly usePostQuantConv: boolean;
  /** What a UNet sees is (latents - shiftFactor) * scalingFactor. */
  readonly scalingFactor: number;
  readonly shiftFactor: number;
}

/**
 * @param json the parsed config.json of a diffusers `vae` folder
 * @param where the file, for messages
 * @throws UserError naming the first field that is wrong or not supported
 */
export function parseVaeConfig(json: unknown, where = "vae/config.json"): VaeConfig {
  const fields = readConfigFields(json, where);
  refuseUnsupported(fields);
  const blockOutChannels = fields.integers("block_out_channels", [64]);
  const normNumGroups = fields.integer("norm_num_groups", 32);
  if (blockOutChannels.some((channels) => channels % normNumGroups !== 0)) {
    throw fields.refuse("block_out_channels", `each must divide into norm_num_groups = ${normNumGroups} groups`);
  }
  // One kind of block each way, so that only their number can be wrong.
  fields.choices("down_block_types", ["DownEncoderBlock2D"], ["DownEncoderBlock2D"], blockOutChannels.length);
  fields.choices("up_block_types", ["UpDecoderBlock2D"], ["UpDecoderBlock2D"], blockOutChannels.length);
  return {
    inChannels: fields.integer("in_channels", 3),
    outChannels: fields.integer("out_channels", 3),
    latentChannels: fields.integer("latent_channels", 4),
    blockOutChannels,
    layersPerBlock: fields.integer("layers_per_block", 1),
    normNumGroups,
    midBlockAddAttention: fields.boolean("mid_block_add_attention", true),
    useQuantConv: fields.boolean("use_quant_conv", true),
    usePostQuantConv: fields.boolean("use_post_quant_conv", true),
    scalingFactor: fields.number("scaling_factor", 0.18215),
    shiftFactor: fields.optionalNumber("shift_factor") ?? 0,
  };
}

function refuseUnsupported(fields: ConfigFields): void {
  fields.only("_class_name", ["AutoencoderKL"]);
  fields.only("act_fn", ["silu", "swish"]);
  fields.only("latents_mean", [null]);
  fields.only("latents_std", [null]);
}
