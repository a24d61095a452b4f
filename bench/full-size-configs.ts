/** SDXL and SD 1.5 at their full size, as their published folders describe them. */

export type FullSizeFamily = "sdxl" | "sd15";

const vae = {
  _class_name: "AutoencoderKL",
  act_fn: "silu",
  block_out_channels: [128, 256, 512, 512],
  down_block_types: Array<string>(4).fill("DownEncoderBlock2D"),
  up_block_types: Array<string>(4).fill("UpDecoderBlock2D"),
  in_channels: 3,
  out_channels: 3,
  latent_channels: 4,
  layers_per_block: 2,
  norm_num_groups: 32,
};

const unet = {
  _class_name: "UNet2DConditionModel",
  act_fn: "silu",
  center_input_sample: false,
  downsample_padding: 1,
  flip_sin_to_cos: true,
  freq_shift: 0,
  in_channels: 4,
  out_channels: 4,
  layers_per_block: 2,
  norm_eps: 1e-5,
  norm_num_groups: 32,
};

const clipL = {
  model_type: "clip_text_model",
  architectures: ["CLIPTextModel"],
  hidden_act: "quick_gelu",
  hidden_size: 768,
  intermediate_size: 3072,
  num_attention_heads: 12,
  num_hidden_layers: 12,
  projection_dim: 768,
  max_position_embeddings: 77,
  layer_norm_eps: 1e-5,
  vocab_size: 49408,
  bos_token_id: 49406,
  eos_token_id: 49407,
  pad_token_id: 49407,
};

const openClipG = {
  ...clipL,
  architectures: ["CLIPTextModelWithProjection"],
  hidden_act: "gelu",
  hidden_size: 1280,
  intermediate_size: 5120,
  num_attention_heads: 20,
  num_hidden_layers: 32,
  projection_dim: 1280,
};

const scheduler = {
  _class_name: "EulerDiscreteScheduler",
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  beta_end: 0.012,
  num_train_timesteps: 1000,
  prediction_type: "epsilon",
  steps_offset: 1,
  timestep_spacing: "leading",
};

interface TextEncoderJson {
  readonly architectures: readonly string[];
}

export interface FullSizeConfigs {
  readonly pipeline: string;
  readonly unet: object;
  readonly vae: object;
  /** By the name of the component's folder. */
  readonly textEncoders: Readonly<Partial<Record<"text_encoder" | "text_encoder_2", TextEncoderJson>>>;
  readonly scheduler: object;
}

export const fullSizeConfigs: Readonly<Record<FullSizeFamily, FullSizeConfigs>> = {
  sdxl: {
    pipeline: "StableDiffusionXLPipeline",
    unet: {
      ...unet,
      addition_embed_type: "text_time",
      addition_time_embed_dim: 256,
      attention_head_dim: [5, 10, 20],
      block_out_channels: [320, 640, 1280],
      cross_attention_dim: 2048,
      down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
      up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
      projection_class_embeddings_input_dim: 2816,
      sample_size: 128,
      transformer_layers_per_block: [1, 2, 10],
      use_linear_projection: true,
    },
    vae: { ...vae, scaling_factor: 0.13025, sample_size: 1024 },
    textEncoders: { text_encoder: clipL, text_encoder_2: openClipG },
    scheduler,
  },
  sd15: {
    pipeline: "StableDiffusionPipeline",
    unet: {
      ...unet,
      attention_head_dim: 8,
      block_out_channels: [320, 640, 1280, 1280],
      cross_attention_dim: 768,
      down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
      up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
      sample_size: 64,
    },
    vae: { ...vae, scaling_factor: 0.18215, sample_size: 512 },
    textEncoders: { text_encoder: clipL },
    scheduler,
  },
};
