/** A LoRA training step of SDXL as the trainer makes it, before any pass: at its full size, or with fewer and narrower blocks. */
import type { BaseModel } from "../src/checkpoints/base.ts";
import { readClipVocabulary } from "../src/checkpoints/clip-vocabulary.ts";
import type { Graph } from "../src/graph/graph.ts";
import { adapterBufferNames, adapterShapes } from "../src/lora/inject.ts";
import { parseClipTextConfig } from "../src/models/clip/config.ts";
import { createClipTokenizer } from "../src/models/clip/tokenizer.ts";
import { parseUnetConfig } from "../src/models/unet/config.ts";
import { findAdapterTargets } from "../src/planner/targets.ts";
import { buildStep } from "../src/trainer/denoiser.ts";
import { fullSizeConfigs } from "./full-size-configs.ts";

export const sdxlUnet = fullSizeConfigs.sdxl.unet;

/** What a processor can step through in a second: the same kinds of blocks, a tenth as wide. */
export const reducedUnet = {
  ...sdxlUnet,
  attention_head_dim: [1, 2, 4],
  block_out_channels: [32, 64, 128],
  transformer_layers_per_block: [1, 1, 2],
};

/** SDXL's text encoders, of which a step on embeddings takes the widths only. */
export async function sdxlTextEncoders(): Promise<BaseModel["textEncoders"]> {
  const vocabulary = await readClipVocabulary();
  return (["text_encoder", "text_encoder_2"] as const).map((name) => {
    const config = parseClipTextConfig(fullSizeConfigs.sdxl.textEncoders[name]);
    return { name, config, tokenizer: createClipTokenizer({ ...vocabulary, maxLength: config.maxPositionEmbeddings }) };
  });
}

/** Batch 1, embeddings of SDXL's text encoders, adapters on the projections of every attention, AdamW. */
export async function buildSdxlStep(options: {
  /** A UNet's config.json; SDXL's own where absent. */
  readonly config?: object;
  /** Of the latents. */
  readonly side: number;
  readonly rank: number;
}): Promise<Graph> {
  const { config = sdxlUnet, side, rank } = options;
  const base = { unet: parseUnetConfig(config), textEncoders: await sdxlTextEncoders() };
  const targets = findAdapterTargets(base, "attention", false);
  const parameters = targets.flatMap(({ path, weightShape }) => {
    const [names, shapes] = [adapterBufferNames({ path }), adapterShapes(weightShape, rank)];
    return [
      { name: names.down, shape: shapes.down },
      { name: names.up, shape: shapes.up },
    ];
  });
  const adapters = targets.map(({ path }) => ({ path, rank, alpha: rank }));
  const optimizer = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, maxGradNorm: 1 };
  const shape = { batch: 1, height: side, width: side };
  const own = { shape, adapters, text: "embeddings", masked: false } as const;
  return buildStep(base, own, [{ name: "unet", parameters }], optimizer);
}
