/** What a UNet's config.json says, as diffusers' UNet2DConditionModel reads it, with its quirks resolved. */
import { readConfigFields, type ConfigFields } from "../../nn/config-fields.ts";

/** The attention of a block: `depth` transformer blocks after each residual block. */
export interface UnetTransformer {
  readonly heads: number;
  readonly depth: number;
}

/** One resolution of the network. */
export interface UnetBlock {
  readonly channels: number;
  /** Number of residual blocks. */
  readonly layers: number;
  /** Undefined for the blocks without attention (`DownBlock2D`, `UpBlock2D`). */
  readonly transformer: UnetTransformer | undefined;
}

/** The shape of a UNet2DConditionModel (Rombach et al. 2022; Podell et al. 2023 for `additionEmbed`). */
export interface UnetConfig {
  readonly inChannels: number;
  readonly outChannels: number;
  /** Side of the latents that the model was made for; undefined when the file does not say. */
  readonly sampleSize: number | undefined;
  /** From the finest resolution down. */
  readonly downBlocks: readonly UnetBlock[];
  readonly midTransformer: UnetTransformer;
  /** From the coarsest resolution up. */
  readonly upBlocks: readonly UnetBlock[];
  /** Width of the text embeddings. */
  readonly crossAttentionDim: number;
  readonly useLinearProjection: boolean;
  readonly upcastAttention: boolean;
  readonly normNumGroups: number;
  readonly normEps: number;
  readonly downsamplePadding: number;
  readonly convInKernel: number;
  readonly convOutKernel: number;
  readonly timeEmbedDim: number;
  readonly flipSinToCos: boolean;
  readonly freqShift: number;
  /** SDXL's micro-conditioning ("text_time"): width of each number's sinusoids, and of them and the pooled text together. */
  readonly additionEmbed: { readonly timeEmbedDim: number; readonly inputDim: number } | undefined;
}

/**
 * @param json the parsed config.json of a diffusers `unet` folder
 * @param where the file, for messages
 * @throws UserError naming the first field that is wrong or not supported
 */
export function parseUnetConfig(json: unknown, where = "unet/config.json"): UnetConfig {
  const fields = readConfigFields(json, where);
  refuseUnsupported(fields);
  const channels = fields.integers("block_out_channels", [320, 640, 1280, 1280]);
  const normNumGroups = fields.integer("norm_num_groups", 32);
  if (channels.some((count) => count % normNumGroups !== 0)) {
    throw fields.refuse("block_out_channels", `each must divide into norm_num_groups = ${normNumGroups} groups`);
  }
  return {
    ...readBlocks(fields, channels),
    inChannels: fields.integer("in_channels", 4),
    outChannels: fields.integer("out_channels", 4),
    sampleSize: fields.optionalInteger("sample_size"),
    crossAttentionDim: readCrossAttentionDim(fields, channels.length),
    useLinearProjection: fields.boolean("use_linear_projection", false),
    upcastAttention: fields.boolean("upcast_attention", false),
    normNumGroups,
    normEps: fields.number("norm_eps", 1e-5),
    downsamplePadding: readDownsamplePadding(fields),
    convInKernel: fields.integer("conv_in_kernel", 3),
    convOutKernel: fields.integer("conv_out_kernel", 3),
    timeEmbedDim: fields.optionalInteger("time_embedding_dim") ?? 4 * (channels[0] ?? 0),
    flipSinToCos: fields.boolean("flip_sin_to_cos", true),
    freqShift: fields.number("freq_shift", 0),
    additionEmbed: readAdditionEmbed(fields),
  };
}

const DOWN_BLOCK_TYPES = ["CrossAttnDownBlock2D", "DownBlock2D"] as const;
const UP_BLOCK_TYPES = ["CrossAttnUpBlock2D", "UpBlock2D"] as const;

function readBlocks(
  fields: ConfigFields,
  channels: readonly number[],
): Pick<UnetConfig, "downBlocks" | "midTransformer" | "upBlocks"> {
  const count = channels.length;
  const cross = "CrossAttnDownBlock2D";
  const downTypes = fields.choices("down_block_types", DOWN_BLOCK_TYPES, [cross, cross, cross, "DownBlock2D"], count);
  const crossUp = "CrossAttnUpBlock2D";
  const upTypes = fields.choices("up_block_types", UP_BLOCK_TYPES, ["UpBlock2D", crossUp, crossUp, crossUp], count);
  fields.only("mid_block_type", ["UNetMidBlock2DCrossAttn"]);
  const layers = fields.integerPerItem("layers_per_block", count, 2);
  const depths = fields.integerPerItem("transformer_layers_per_block", count, 1);
  // Named a width, the field has always held the number of heads (huggingface/diffusers issue 2011).
  const heads = fields.integerPerItem("attention_head_dim", count, 8);
  const blockAt = (i: number, extraLayers: number, hasAttention: boolean): UnetBlock => {
    const transformer = { heads: heads[i] ?? 0, depth: depths[i] ?? 0 };
    const block = { channels: channels[i] ?? 0, layers: (layers[i] ?? 0) + extraLayers };
    if (hasAttention && block.channels % transformer.heads !== 0) {
      throw fields.refuse("attention_head_dim", `${block.channels} channels do not divide into ${transformer.heads} heads`);
    }
    return { ...block, transformer: hasAttention ? transformer : undefined };
  };
  return {
    downBlocks: downTypes.map((type, i) => blockAt(i, 0, type === "CrossAttnDownBlock2D")),
    midTransformer: blockAt(count - 1, 0, true).transformer ?? { heads: 0, depth: 0 },
    // An up block takes one residual block more: one for each value that the down block of its resolution and its sampler kept.
    upBlocks: upTypes.map((type, i) => blockAt(count - 1 - i, 1, type === "CrossAttnUpBlock2D")),
  };
}

function readCrossAttentionDim(fields: ConfigFields, count: number): number {
  const [first = 0, ...others] = fields.integerPerItem("cross_attention_dim", count, 1280);
  if (others.some((dim) => dim !== first)) throw fields.refuse("cross_attention_dim", "one width for all blocks is supported");
  return first;
}

/** 0 has a meaning here: asymmetric padding. */
function readDownsamplePadding(fields: ConfigFields): number {
  const padding = fields.number("downsample_padding", 1);
  if (padding !== 0 && padding !== 1) throw fields.refuse("downsample_padding", "supported: 0, 1");
  return padding;
}

function readAdditionEmbed(fields: ConfigFields): UnetConfig["additionEmbed"] {
  const type = fields.optionalChoice("addition_embed_type", ["text_time"]);
  if (type === undefined) return undefined;
  const timeEmbedDim = fields.optionalInteger("addition_time_embed_dim");
  const inputDim = fields.optionalInteger("projection_class_embeddings_input_dim");
  if (timeEmbedDim === undefined) throw fields.refuse("addition_time_embed_dim", `${type} needs it`);
  if (inputDim === undefined) throw fields.refuse("projection_class_embeddings_input_dim", `${type} needs it`);
  return { timeEmbedDim, inputDim };
}

/** Options of other models than Stable Diffusion's, by the value that turns each off. */
const UNSUPPORTED: Readonly<Record<string, readonly (string | number | boolean | null)[]>> = {
  _class_name: ["UNet2DConditionModel"],
  act_fn: ["silu", "swish"],
  attention_type: ["default"],
  center_input_sample: [false],
  class_embed_type: [null],
  class_embeddings_concat: [false],
  cross_attention_norm: [null],
  dropout: [0],
  dual_cross_attention: [false],
  encoder_hid_dim: [null],
  encoder_hid_dim_type: [null],
  mid_block_only_cross_attention: [null, false],
  mid_block_scale_factor: [1],
  num_attention_heads: [null],
  num_class_embeds: [null],
  only_cross_attention: [false],
  resnet_out_scale_factor: [1],
  resnet_skip_time_act: [false],
  resnet_time_scale_shift: ["default"],
  reverse_transformer_layers_per_block: [null],
  time_cond_proj_dim: [null],
  time_embedding_act_fn: [null],
  time_embedding_type: ["positional"],
  timestep_post_act: [null],
};

function refuseUnsupported(fields: ConfigFields): void {
  for (const [name, supported] of Object.entries(UNSUPPORTED)) fields.only(name, supported);
}
