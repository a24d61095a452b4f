/** Configurations that are worked out from keys and shapes, at the size of the published models. */
import { describe, expect, test } from "vitest";
import type { ParameterSpec } from "../nn/params.ts";
import { parseClipTextConfig } from "../models/clip/config.ts";
import { listClipTextParameters } from "../models/clip/model.ts";
import { parseUnetConfig } from "../models/unet/config.ts";
import { listUnetParameters } from "../models/unet/model.ts";
import { deriveClipConfig, deriveOpenClipConfig } from "./derive-clip.ts";
import { deriveUnetConfig } from "./derive-unet.ts";
import { clipKeys, SDXL_CLIP_PREFIX } from "./keys-clip.ts";
import { openClipKeys } from "./keys-open-clip.ts";
import { unetKeys } from "./keys-unet.ts";
import type { FileTensors, KeyMap } from "./locate-weights.ts";

/** The headers that a file with these weights would have. */
function headers(component: string, specs: readonly ParameterSpec[], keys: KeyMap): FileTensors {
  const tensors = specs.map(({ name, shape }) => {
    const { keys: [key = ""], part, isTransposed } = keys(name.slice(component.length + 1)); // prettier-ignore
    const [rows = 1, ...rest] = shape;
    const stored = part ? [rows * part[1], ...rest] : isTransposed ? [...shape].reverse() : shape;
    return [key, { name: key, path: "model.safetensors", dtype: "F16", shape: stored, offset: 0, byteLength: 0 }] as const;
  });
  return new Map(tensors);
}

/** unet/config.json of stable-diffusion-v1-5 and of stable-diffusion-xl-base-1.0, as far as it matters. */
const sd15 = { block_out_channels: [320, 640, 1280, 1280], cross_attention_dim: 768, attention_head_dim: 8, sample_size: 64 };
const sdxl = {
  block_out_channels: [320, 640, 1280],
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
  up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
  transformer_layers_per_block: [1, 2, 10],
  attention_head_dim: [5, 10, 20],
  cross_attention_dim: 2048,
  use_linear_projection: true,
  addition_embed_type: "text_time",
  addition_time_embed_dim: 256,
  projection_class_embeddings_input_dim: 2816,
  sample_size: 128,
};

describe("deriveUnetConfig", () => {
  test.each([
    ["sd15", sd15, 686, undefined],
    ["sdxl", sdxl, 1680, 1280],
  ] as const)("finds the published UNet of %s in its keys and shapes", (family, json, count, pooledWidth) => {
    const config = parseUnetConfig(json);
    const tensors = headers("unet", listUnetParameters(config), unetKeys(config));
    expect(tensors.size).toBe(count);
    expect(deriveUnetConfig(tensors, family, pooledWidth, "model.safetensors")).toEqual(config);
  });

  test("refuses widths that norms of 32 groups cannot have, and heads that 64 channels do not divide into", () => {
    const of = (json: object, family: "sd15" | "sdxl") => () => {
      const config = parseUnetConfig(json);
      const tensors = headers("unet", listUnetParameters(config), unetKeys(config));
      deriveUnetConfig(tensors, family, family === "sdxl" ? 1280 : undefined, "FILE");
    };
    const narrow = { ...sd15, block_out_channels: [16, 32, 64, 64], norm_num_groups: 16 };
    expect(of(narrow, "sd15")).toThrow("FILE: a stage of its UNet has 16 channels; a multiple of 32 is needed.");
    const odd = { ...sdxl, block_out_channels: [64, 96, 128], attention_head_dim: 4 };
    expect(of(odd, "sdxl")).toThrow("FILE: a stage of its UNet has 96 channels; a multiple of 64 is needed.");
  });
});

const clip = { vocab_size: 49408, max_position_embeddings: 77, bos_token_id: 49406, eos_token_id: 49407 };

test("CLIP-L is found in its keys and shapes, with text_model. and without", () => {
  const config = parseClipTextConfig({
    ...clip,
    architectures: ["CLIPTextModel"],
    hidden_size: 768,
    intermediate_size: 3072,
    num_attention_heads: 12,
    num_hidden_layers: 12,
  });
  const tensors = headers("text_encoder", listClipTextParameters(config, "text_encoder"), clipKeys(SDXL_CLIP_PREFIX));
  expect(deriveClipConfig(tensors, SDXL_CLIP_PREFIX, "FILE")).toEqual(config);
  const short = new Map([...tensors].map(([key, entry]) => [key.replace("text_model.", ""), entry]));
  expect(deriveClipConfig(short, SDXL_CLIP_PREFIX, "FILE")).toEqual(config);
});

test("OpenCLIP-G is found in its keys and shapes", () => {
  const config = parseClipTextConfig({
    ...clip,
    architectures: ["CLIPTextModelWithProjection"],
    hidden_act: "gelu",
    hidden_size: 1280,
    intermediate_size: 5120,
    num_attention_heads: 20,
    num_hidden_layers: 32,
    projection_dim: 1280,
  });
  const tensors = headers("text_encoder_2", listClipTextParameters(config, "text_encoder_2"), openClipKeys);
  expect(deriveOpenClipConfig(tensors, "FILE")).toEqual(config);
});
