import { describe, expect, it } from "vitest";
import { parseUnetConfig } from "../models/unet/config.ts";
import { listUnetParameters } from "../models/unet/model.ts";
import { createNameIndex, kohyaName, peftNames, type NamingBase } from "./names.ts";

/** What the UNets' own config.json files say, as far as names depend on it. */
const sdxlUnet = parseUnetConfig({
  block_out_channels: [320, 640, 1280],
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
  up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
  layers_per_block: 2,
  transformer_layers_per_block: [1, 2, 10],
  attention_head_dim: [5, 10, 20],
  cross_attention_dim: 2048,
  use_linear_projection: true,
  addition_embed_type: "text_time",
  addition_time_embed_dim: 256,
  projection_class_embeddings_input_dim: 2816,
});
const sd15Unet = parseUnetConfig({ block_out_channels: [320, 640, 1280, 1280], cross_attention_dim: 768 });
const sdxl: NamingBase = { family: "sdxl", unet: sdxlUnet };
const sd15: NamingBase = { family: "sd15", unet: sd15Unet };

/** Layers of a UNet by a pattern over their paths. */
function layersOf(config: typeof sdxlUnet, pattern: RegExp): string[] {
  return listUnetParameters(config)
    .filter(({ name, shape }) => name.endsWith(".weight") && shape.length >= 2)
    .map(({ name }) => name.slice(0, -".weight".length))
    .filter((path) => pattern.test(path));
}

describe("kohyaName for SDXL", () => {
  it.each([
    [
      "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
      "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
    ],
    [
      "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
      "lora_unet_middle_block_1_transformer_blocks_0_ff_net_0_proj",
    ],
    [
      "unet.up_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k",
      "lora_unet_output_blocks_1_1_transformer_blocks_0_attn2_to_k",
    ],
    [
      "unet.down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_out.0",
      "lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_out_0",
    ],
    ["unet.up_blocks.1.attentions.2.proj_out", "lora_unet_output_blocks_5_1_proj_out"],
    ["unet.conv_in", "lora_unet_input_blocks_0_0"],
    ["unet.conv_out", "lora_unet_out_2"],
    ["unet.time_embedding.linear_1", "lora_unet_time_embed_0"],
    ["unet.time_embedding.linear_2", "lora_unet_time_embed_2"],
    ["unet.add_embedding.linear_1", "lora_unet_label_emb_0_0"],
    ["unet.add_embedding.linear_2", "lora_unet_label_emb_0_2"],
    ["unet.down_blocks.0.resnets.1.conv1", "lora_unet_input_blocks_2_0_in_layers_2"],
    ["unet.down_blocks.0.downsamplers.0.conv", "lora_unet_input_blocks_3_0_op"],
    ["unet.down_blocks.1.resnets.0.conv_shortcut", "lora_unet_input_blocks_4_0_skip_connection"],
    ["unet.down_blocks.1.downsamplers.0.conv", "lora_unet_input_blocks_6_0_op"],
    ["unet.mid_block.resnets.0.time_emb_proj", "lora_unet_middle_block_0_emb_layers_1"],
    ["unet.mid_block.resnets.1.conv2", "lora_unet_middle_block_2_out_layers_3"],
    ["unet.up_blocks.0.upsamplers.0.conv", "lora_unet_output_blocks_2_2_conv"],
    ["unet.up_blocks.1.upsamplers.0.conv", "lora_unet_output_blocks_5_2_conv"],
    ["unet.up_blocks.2.resnets.2.conv1", "lora_unet_output_blocks_8_0_in_layers_2"],
    ["text_encoder.text_model.encoder.layers.0.mlp.fc1", "lora_te1_text_model_encoder_layers_0_mlp_fc1"],
    [
      "text_encoder_2.text_model.encoder.layers.31.self_attn.out_proj",
      "lora_te2_text_model_encoder_layers_31_self_attn_out_proj",
    ],
  ])("calls %s %s", (path, name) => {
    expect(kohyaName(path, sdxl)).toBe(name);
  });

  it("the 722 layers in SDXL's transformers have 722 names of input, middle and output blocks, and each name finds its layer", () => {
    const paths = layersOf(sdxlUnet, /\.attentions\./);
    const names = paths.map((path) => kohyaName(path, sdxl));
    expect(paths).toHaveLength(722);
    expect(new Set(names).size).toBe(722);
    expect(names.every((name) => /^lora_unet_(input_blocks_[4578]_1|middle_block_1|output_blocks_[0-5]_1)_/.test(name))).toBe(
      true,
    );
    const index = createNameIndex(paths, sdxl);
    expect(names.map((name) => index.get(name))).toEqual(paths);
  });

  it("every layer of the UNet has a name of its own, and one for the diffusers blocks", () => {
    const paths = layersOf(sdxlUnet, /./);
    const index = createNameIndex(paths, sdxl);
    for (const path of paths) {
      expect(index.get(kohyaName(path, sdxl))).toBe(path);
      expect(index.get(`lora_${path.replaceAll(".", "_")}`)).toBe(path);
      expect(index.get(path)).toBe(path);
    }
  });

  it("block numbers follow the layout: one layer a block and attention everywhere count differently", () => {
    const unet = parseUnetConfig({
      block_out_channels: [32, 64],
      down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
      up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
      layers_per_block: 1,
      norm_num_groups: 8,
      cross_attention_dim: 16,
    });
    const base: NamingBase = { family: "sdxl", unet };
    expect(kohyaName("unet.down_blocks.0.attentions.0.proj_in", base)).toBe("lora_unet_input_blocks_1_1_proj_in");
    expect(kohyaName("unet.down_blocks.0.downsamplers.0.conv", base)).toBe("lora_unet_input_blocks_2_0_op");
    expect(kohyaName("unet.down_blocks.1.attentions.0.proj_in", base)).toBe("lora_unet_input_blocks_3_1_proj_in");
    expect(kohyaName("unet.up_blocks.0.upsamplers.0.conv", base)).toBe("lora_unet_output_blocks_1_1_conv"); // no transformer before it
    expect(kohyaName("unet.up_blocks.1.attentions.1.proj_in", base)).toBe("lora_unet_output_blocks_3_1_proj_in");
    const paths = layersOf(unet, /./);
    const index = createNameIndex(paths, base);
    expect(paths.map((path) => index.get(kohyaName(path, base)))).toEqual(paths);
  });

  it.each([
    "unet.down_blocks.0.attentions.0.proj_in", // the first block has no attention
    "unet.down_blocks.2.downsamplers.0.conv", // nor the last a downsampler
    "unet.down_blocks.1.resnets.2.conv1",
    "unet.up_blocks.2.upsamplers.0.conv",
    "unet.mid_block.attentions.1.proj_in",
    "unet.down_blocks.0.resnets.0.norm3",
    "unet.nonsense",
  ])("refuses %s, which SDXL does not have", (path) => {
    expect(() => kohyaName(path, sdxl)).toThrow(`no layer ${path.slice("unet.".length)} in this UNet's layout`);
  });

  it("refuses a path of the VAE", () => {
    expect(() => kohyaName("vae.decoder.conv_in", sdxl)).toThrow(
      "unet, text_encoder, text_encoder_2 needed, got vae.decoder.conv_in",
    );
  });
});

describe("kohyaName for SD 1.5", () => {
  it.each([
    [
      "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
      "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
    ],
    ["text_encoder.text_model.encoder.layers.0.self_attn.q_proj", "lora_te_text_model_encoder_layers_0_self_attn_q_proj"],
  ])("calls %s %s", (path, name) => {
    expect(kohyaName(path, sd15)).toBe(name);
  });

  it("the 192 layers in its transformers have 192 names, and each name finds its layer", () => {
    const paths = layersOf(sd15Unet, /\.attentions\./);
    const names = paths.map((path) => kohyaName(path, sd15));
    expect(paths).toHaveLength(192);
    expect(new Set(names).size).toBe(192);
    const index = createNameIndex(paths, sd15);
    expect(names.map((name) => index.get(name))).toEqual(paths);
  });
});

it("PEFT's names are the path with lora_A and lora_B", () => {
  expect(peftNames("unet.conv_in")).toEqual({ down: "unet.conv_in.lora_A.weight", up: "unet.conv_in.lora_B.weight" });
});

it("two layers that flatten to one name are refused", () => {
  expect(() => createNameIndex(["text_encoder.a.b_c", "text_encoder.a_b.c"], sd15)).toThrow("are both called lora_te_a_b_c");
});
