/** What the planner is told in tests: full-size bases by their configurations alone, and a dataset of 20 pictures. */
import { parseClipTextConfig } from "../src/models/clip/config.ts";
import { parseUnetConfig } from "../src/models/unet/config.ts";
import type { BaseFacts, DatasetFacts } from "../src/planner/plan.ts";

/** SD 1.5's own configuration. */
export const sd15: BaseFacts = {
  name: "sd15",
  folder: "base",
  family: "sd15",
  unet: parseUnetConfig({ cross_attention_dim: 768, sample_size: 64 }),
  textEncoders: [
    {
      name: "text_encoder",
      config: parseClipTextConfig({
        architectures: ["CLIPTextModel"],
        hidden_size: 768,
        intermediate_size: 3072,
        num_attention_heads: 12,
        model_type: "clip_text_model",
      }),
    },
  ],
  schedule: { predictionType: "epsilon", trainTimesteps: 1000 },
  nativeResolutionPx: 512,
  pixelsPerLatent: 8,
  hashes: { all: "0" },
};
export const narrow: BaseFacts = {
  ...sd15,
  unet: parseUnetConfig({ block_out_channels: [32, 64, 64, 64], cross_attention_dim: 16 }),
};

export const datasetFacts: DatasetFacts = {
  folder: "data",
  pictures: 20,
  picturesPerEpoch: 20,
  captions: ["a fox", "a hen", "an owl", "a cat"],
  maxAspect: 1.5,
};

/** With SDXL's second text encoder. */
export const sdxl: BaseFacts = {
  ...sd15,
  name: "sdxl",
  family: "sdxl",
  textEncoders: sd15.textEncoders.flatMap((first) => [first, { ...first, name: "text_encoder_2" }]),
  nativeResolutionPx: 1024,
};
