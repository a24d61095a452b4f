/** Writes small random base models and datasets into a folder: real files in the real layouts, with nothing learnt. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { uniform } from "../src/diffusion/philox.ts";
import { writePng } from "../src/formats/images.ts";
import { writeSafetensors } from "../src/formats/safetensors.ts";
import { sizeOf } from "../src/graph/graph.ts";
import { parseClipTextConfig } from "../src/models/clip/config.ts";
import { listClipTextParameters } from "../src/models/clip/model.ts";
import { parseUnetConfig } from "../src/models/unet/config.ts";
import { listUnetParameters } from "../src/models/unet/model.ts";
import { parseVaeConfig } from "../src/models/vae/config.ts";
import { listVaeParameters } from "../src/models/vae/model.ts";
import type { ParameterSpec } from "../src/nn/params.ts";

export type ToyFamily = "sd15" | "sdxl";

const textWidth = 16;
const groups = 8;

const vae = {
  _class_name: "AutoencoderKL",
  block_out_channels: [8, 16],
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D"],
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D"],
  latent_channels: 4,
  layers_per_block: 1,
  norm_num_groups: groups,
  scaling_factor: 0.5,
};

const unet = {
  _class_name: "UNet2DConditionModel",
  block_out_channels: [16, 32],
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"],
  up_block_types: ["CrossAttnUpBlock2D", "UpBlock2D"],
  in_channels: 4,
  out_channels: 4,
  layers_per_block: 1,
  norm_num_groups: groups,
  attention_head_dim: [2, 4],
  sample_size: 16,
};

const unets: Readonly<Record<ToyFamily, object>> = {
  sd15: { ...unet, cross_attention_dim: textWidth },
  sdxl: {
    ...unet,
    cross_attention_dim: 2 * textWidth,
    use_linear_projection: true,
    transformer_layers_per_block: [1, 1],
    addition_embed_type: "text_time",
    addition_time_embed_dim: 8,
    projection_class_embeddings_input_dim: 6 * 8 + textWidth,
  },
};

const text = {
  model_type: "clip_text_model",
  hidden_size: textWidth,
  intermediate_size: 2 * textWidth,
  num_attention_heads: 2,
  num_hidden_layers: 2,
  max_position_embeddings: 16,
  projection_dim: textWidth,
  vocab_size: 84,
  bos_token_id: 82,
  eos_token_id: 83,
};

const scheduler = {
  _class_name: "DDPMScheduler",
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  prediction_type: "epsilon",
};

/** Latents of 16 x 16 for 32 px pictures. @returns the folder */
export async function writeToyBase(folder: string, family: ToyFamily): Promise<string> {
  const pipeline = family === "sdxl" ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline";
  await writeJson(folder, "model_index.json", { _class_name: pipeline });
  await writeJson(folder, "scheduler/scheduler_config.json", scheduler);
  await writeComponent(folder, "vae", vae, listVaeParameters(parseVaeConfig(vae)));
  const unetConfig = unets[family];
  await writeComponent(folder, "unet", unetConfig, listUnetParameters(parseUnetConfig(unetConfig)));
  const names = family === "sdxl" ? (["text_encoder", "text_encoder_2"] as const) : (["text_encoder"] as const);
  for (const name of names) {
    const config = { ...text, architectures: [name === "text_encoder" ? "CLIPTextModel" : "CLIPTextModelWithProjection"] };
    await writeComponent(folder, name, config, listClipTextParameters(parseClipTextConfig(config), name));
    await writeTokenizer(folder, name.replace("text_encoder", "tokenizer"));
  }
  return folder;
}

/** Lower-case letters and digits are tokens, inside a word and at its end; nothing is merged. */
async function writeTokenizer(folder: string, name: string): Promise<void> {
  const bytes = [..."abcdefghijklmnopqrstuvwxyz0123456789,.-_\u0120"];
  const tokens = [...bytes, ...bytes.map((byte) => `${byte}</w>`), "<|startoftext|>", "<|endoftext|>"];
  await writeJson(folder, `${name}/vocab.json`, Object.fromEntries(tokens.map((token, id) => [token, id])));
  await writeJson(folder, `${name}/tokenizer_config.json`, { model_max_length: 16 });
  await writeFile(join(folder, name, "merges.txt"), "#version: 0.2\n");
}

async function writeComponent(folder: string, name: string, config: object, specs: readonly ParameterSpec[]): Promise<void> {
  await writeJson(folder, `${name}/config.json`, config);
  const stem = name.startsWith("text") ? "model" : "diffusion_pytorch_model";
  const tensors = specs.map(
    (spec, index) =>
      ({ name: spec.name.slice(name.length + 1), dtype: "F32", shape: spec.shape, data: toyWeight(spec, index) }) as const,
  );
  await writeSafetensors(join(folder, name, `${stem}.safetensors`), tensors);
}

/** Norms start as the identity; the rest is uniform with a variance of one over the inputs. */
function toyWeight({ name, shape }: ParameterSpec, index: number): Float32Array {
  const size = sizeOf(shape);
  const isNormScale = shape.length === 1 && /norm[^.]*\.weight$/.test(name);
  if (isNormScale) return new Float32Array(size).fill(1);
  const bound = shape.length === 1 ? 0.05 : Math.sqrt(3 / (size / (shape[0] ?? 1)));
  return uniform({ seed: 7, purpose: "init", sample: index }, size).map((u) => (2 * u - 1) * bound);
}

async function writeJson(folder: string, name: string, json: object): Promise<void> {
  const path = join(folder, name);
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, JSON.stringify(json));
}

/** Pictures of coloured squares with captions, 40 x 40 and one of 64 x 32. @returns the folder */
export async function writeToyDataset(folder: string, count: number): Promise<string> {
  await mkdir(folder, { recursive: true });
  for (let i = 0; i < count; i++) {
    const [widthPx, heightPx] = i === 1 ? [64, 32] : [40, 40];
    const data = new Uint8Array(widthPx * heightPx * 3);
    for (let p = 0; p < data.length; p++)
      data[p] = Math.floor(p / 3) % widthPx > 8 + 4 * i ? 40 * i + 30 * (p % 3) : 220 - 20 * i;
    await writePng(join(folder, `square-${i}.png`), { widthPx, heightPx, channels: 3, data });
    await writeFile(join(folder, `square-${i}.txt`), `square ${i}`);
  }
  return folder;
}
