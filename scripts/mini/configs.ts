/**
 * What `mini` is: SDXL's architecture at small width, as diffusers and transformers write it. Only widths, depths and sizes differ from
 * SDXL's own files: 128 px pictures, 16 x 16 latents, 32 tokens.
 */

import type { OptimizerSettings } from "../../src/trainer/optimize.ts";

/** AdamW with a shorter memory of squared gradients than its default, as suits a run of a few thousand steps. */
export const optimizerSettings: OptimizerSettings = { beta1: 0.9, beta2: 0.98, eps: 1e-8, weightDecay: 0.01, maxGradNorm: 1 };

/** Words of a caption that mini reads; 30 and the two end marks. SDXL has 77: captions of emoji need far fewer. */
export const maxTokens = 32;
export const resolutionPx = 128;
export const latentChannels = 8;

const groups = 8;
const textWidth = 128;

export const vaeConfig = {
  _class_name: "AutoencoderKL",
  in_channels: 3,
  out_channels: 3,
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
  block_out_channels: [16, 32, 64, 128],
  layers_per_block: 1,
  act_fn: "silu",
  latent_channels: latentChannels,
  norm_num_groups: groups,
  sample_size: resolutionPx,
  // The latents' mean and deviation are folded into quant_conv and post_quant_conv after training.
  scaling_factor: 1,
  force_upcast: false,
};

export const unetConfig = {
  _class_name: "UNet2DConditionModel",
  act_fn: "silu",
  addition_embed_type: "text_time",
  addition_time_embed_dim: 32,
  attention_head_dim: [2, 4, 4],
  block_out_channels: [64, 128, 176],
  center_input_sample: false,
  cross_attention_dim: 2 * textWidth,
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
  downsample_padding: 1,
  flip_sin_to_cos: true,
  freq_shift: 0,
  in_channels: latentChannels,
  layers_per_block: 2,
  mid_block_type: "UNetMidBlock2DCrossAttn",
  norm_eps: 1e-5,
  norm_num_groups: groups,
  out_channels: latentChannels,
  projection_class_embeddings_input_dim: 6 * 32 + textWidth,
  sample_size: resolutionPx / 8,
  time_cond_proj_dim: null,
  transformer_layers_per_block: [1, 1, 1],
  up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
  use_linear_projection: true,
};

/** The two text encoders differ as SDXL's do: quick GELU against GELU, no projection against one. */
export function textConfigs(vocabularySize: number, bosId: number, eosId: number): { first: object; second: object } {
  const shared = {
    attention_dropout: 0,
    bos_token_id: bosId,
    eos_token_id: eosId,
    hidden_size: textWidth,
    intermediate_size: 4 * textWidth,
    layer_norm_eps: 1e-5,
    max_position_embeddings: maxTokens,
    num_attention_heads: 4,
    num_hidden_layers: 3,
    projection_dim: textWidth,
    vocab_size: vocabularySize,
  };
  return {
    first: {
      architectures: ["CLIPTextModel"],
      model_type: "clip_text_model",
      hidden_act: "quick_gelu",
      pad_token_id: eosId,
      ...shared,
    },
    second: {
      architectures: ["CLIPTextModelWithProjection"],
      model_type: "clip_text_model",
      hidden_act: "gelu",
      pad_token_id: 0,
      ...shared,
    },
  };
}

export const schedulerConfig = {
  _class_name: "EulerDiscreteScheduler",
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  interpolation_type: "linear",
  num_train_timesteps: 1000,
  prediction_type: "epsilon",
  sample_max_value: 1,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
  timestep_spacing: "leading",
  trained_betas: null,
  use_karras_sigmas: false,
};

export const modelIndex = {
  _class_name: "StableDiffusionXLPipeline",
  force_zeros_for_empty_prompt: false,
  scheduler: ["diffusers", "EulerDiscreteScheduler"],
  text_encoder: ["transformers", "CLIPTextModel"],
  text_encoder_2: ["transformers", "CLIPTextModelWithProjection"],
  tokenizer: ["transformers", "CLIPTokenizer"],
  tokenizer_2: ["transformers", "CLIPTokenizer"],
  unet: ["diffusers", "UNet2DConditionModel"],
  vae: ["diffusers", "AutoencoderKL"],
};
