import { describe, expect, test } from "vitest";
import { UserError } from "../../errors.ts";
import { Graph, sizeOf } from "../../graph/graph.ts";
import { createParams } from "../../nn/params.ts";
import { parseVaeConfig } from "./config.ts";
import { listVaeParameters, vaeDecode, vaeEncode } from "./model.ts";

/** The published vae/config.json of Stable Diffusion 1.5. */
const sd15 = {
  _class_name: "AutoencoderKL",
  act_fn: "silu",
  block_out_channels: [128, 256, 512, 512],
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
  in_channels: 3,
  latent_channels: 4,
  layers_per_block: 2,
  norm_num_groups: 32,
  out_channels: 3,
  sample_size: 512,
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
};

test("Stable Diffusion's autoencoder has 83,653,863 parameters in 248 tensors", () => {
  const parameters = listVaeParameters(parseVaeConfig(sd15));
  expect(parameters).toHaveLength(248);
  expect(parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0)).toBe(83_653_863);
});

test("parameter names are the checkpoint's keys", () => {
  const shapes = new Map(listVaeParameters(parseVaeConfig(sd15)).map(({ name, shape }) => [name, shape]));
  expect(shapes.get("vae.encoder.down_blocks.1.resnets.0.conv_shortcut.weight")).toEqual([256, 128, 1, 1]);
  expect(shapes.get("vae.encoder.mid_block.attentions.0.group_norm.weight")).toEqual([512]);
  expect(shapes.get("vae.decoder.mid_block.attentions.0.to_out.0.weight")).toEqual([512, 512]);
  expect(shapes.get("vae.decoder.up_blocks.0.upsamplers.0.conv.weight")).toEqual([512, 512, 3, 3]);
  expect(shapes.get("vae.quant_conv.weight")).toEqual([8, 8, 1, 1]);
});

test("a config can leave out the middle attention and the 1 x 1 convolutions around the latents", () => {
  const plain = { ...sd15, mid_block_add_attention: false, use_quant_conv: false, use_post_quant_conv: false };
  const names = listVaeParameters(parseVaeConfig(plain)).map(({ name }) => name);
  expect(names.filter((name) => /attentions|quant_conv/.test(name))).toEqual([]);
});

test("three halvings: 24 x 40 pixels are 3 x 5 latents and 24 x 40 pixels again", () => {
  const graph = new Graph();
  const params = createParams(graph, "vae");
  const config = parseVaeConfig({ ...sd15, block_out_channels: [4, 8, 8, 8], norm_num_groups: 2 });
  const { mean, logvar } = vaeEncode(params, graph.feed("x", [2, 3, 24, 40]), config);
  expect([mean.shape, logvar.shape]).toEqual([[2, 4, 3, 5], [2, 4, 3, 5]]);
  expect(vaeDecode(params, mean, config).shape).toEqual([2, 3, 24, 40]);
});

describe("parseVaeConfig", () => {
  test("a missing scaling factor is Stable Diffusion's, a null shift is none", () => {
    expect(parseVaeConfig({ ...sd15, shift_factor: null })).toMatchObject({ scalingFactor: 0.18215, shiftFactor: 0 });
    expect(parseVaeConfig({ ...sd15, scaling_factor: 0.3611, shift_factor: 0.1159 })).toMatchObject({ scalingFactor: 0.3611, shiftFactor: 0.1159 });
  });

  test.each([
    [{ latents_mean: [0, 0, 0, 0] }, "latents_mean is [0,0,0,0]; supported: null"],
    [{ latents_std: [1, 1, 1, 1] }, "latents_std is [1,1,1,1]; supported: null"],
    [{ act_fn: "gelu" }, 'act_fn is "gelu"; supported: "silu", "swish"'],
    [{ up_block_types: ["UpDecoderBlock2D"] }, 'up_block_types is ["UpDecoderBlock2D"]; 4 needed, one for each of block_out_channels'],
    [{ norm_num_groups: 48 }, "block_out_channels is [128,256,512,512]; each must divide into norm_num_groups = 48 groups"],
    [{ latent_channels: "4" }, 'latent_channels is "4"; a whole number of at least 1 is needed'],
    [{ use_quant_conv: "no" }, 'use_quant_conv is "no"; true or false is needed'],
  ])("%j is refused by name and value", (change, message) => {
    const parse = () => parseVaeConfig({ ...sd15, ...change });
    expect(parse).toThrow(`vae/config.json: ${message}.`);
    expect(parse).toThrow(UserError);
  });
});
