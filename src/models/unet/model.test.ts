import { describe, expect, test } from "vitest";
import { UserError } from "../../errors.ts";
import { Graph, sizeOf } from "../../graph/graph.ts";
import { createParams } from "../../nn/params.ts";
import { parseUnetConfig } from "./config.ts";
import { listUnetParameters, unet } from "./model.ts";

/** The published unet/config.json of Stable Diffusion 1.5. */
const sd15 = {
  _class_name: "UNet2DConditionModel",
  _diffusers_version: "0.6.0",
  act_fn: "silu",
  attention_head_dim: 8,
  block_out_channels: [320, 640, 1280, 1280],
  center_input_sample: false,
  cross_attention_dim: 768,
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
  downsample_padding: 1,
  flip_sin_to_cos: true,
  freq_shift: 0,
  in_channels: 4,
  layers_per_block: 2,
  mid_block_scale_factor: 1,
  norm_eps: 1e-5,
  norm_num_groups: 32,
  out_channels: 4,
  sample_size: 64,
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
};

/** What the published unet/config.json of SDXL says besides the defaults. */
const sdxl = {
  _class_name: "UNet2DConditionModel",
  addition_embed_type: "text_time",
  addition_embed_type_num_heads: 64,
  addition_time_embed_dim: 256,
  attention_head_dim: [5, 10, 20],
  block_out_channels: [320, 640, 1280],
  class_embed_type: null,
  cross_attention_dim: 2048,
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
  mid_block_only_cross_attention: null,
  mid_block_type: "UNetMidBlock2DCrossAttn",
  num_attention_heads: null,
  only_cross_attention: false,
  projection_class_embeddings_input_dim: 2816,
  sample_size: 128,
  transformer_layers_per_block: [1, 2, 10],
  up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
  upcast_attention: null,
  use_linear_projection: true,
};

function countNumbers(json: unknown): number {
  return listUnetParameters(parseUnetConfig(json)).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

describe("parameters", () => {
  test("Stable Diffusion 1.5 has 859,520,964 in 686 tensors", () => {
    expect(listUnetParameters(parseUnetConfig(sd15))).toHaveLength(686);
    expect(countNumbers(sd15)).toBe(859_520_964);
  });

  test("SDXL has 2,567,463,684 in 1,680 tensors", () => {
    expect(listUnetParameters(parseUnetConfig(sdxl))).toHaveLength(1680);
    expect(countNumbers(sdxl)).toBe(2_567_463_684);
  });

  test("their names are the checkpoint's keys", () => {
    const shapes = new Map(listUnetParameters(parseUnetConfig(sdxl)).map(({ name, shape }) => [name, shape]));
    expect(shapes.get("unet.down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_k.weight")).toEqual([1280, 2048]);
    expect(shapes.get("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0.bias")).toEqual([640]);
    expect(shapes.get("unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.weight")).toEqual([10240, 1280]);
    expect(shapes.get("unet.up_blocks.0.resnets.2.conv_shortcut.weight")).toEqual([1280, 1920, 1, 1]);
    expect(shapes.get("unet.add_embedding.linear_1.weight")).toEqual([1280, 2816]);
    expect(shapes.has("unet.down_blocks.0.attentions.0.norm.weight")).toBe(false);
  });

  test("Stable Diffusion 1.5 projects with 1 x 1 convolutions, models with use_linear_projection with matrices", () => {
    const shapeOf = (json: unknown, name: string) => listUnetParameters(parseUnetConfig(json)).find((spec) => spec.name === name)?.shape;
    const name = "unet.down_blocks.1.attentions.0.proj_in.weight";
    expect(shapeOf(sd15, name)).toEqual([640, 640, 1, 1]);
    expect(shapeOf({ ...sd15, use_linear_projection: true }, name)).toEqual([640, 640]);
  });
});

describe("the graph", () => {
  const tiny = { ...sd15, block_out_channels: [8, 16, 16, 16], norm_num_groups: 4, attention_head_dim: 2, cross_attention_dim: 12 };

  function build(json: unknown, height: number, width: number) {
    const graph = new Graph();
    const inputs = {
      sample: graph.feed("sample", [2, 4, height, width]),
      timesteps: graph.feed("timesteps", [2]),
      encoderHiddenStates: graph.feed("context", [2, 77, 12]),
    };
    return unet(createParams(graph, "unet"), inputs, parseUnetConfig(json));
  }

  test("any size of latents comes back at that size", () => {
    for (const [height, width] of [[8, 8], [13, 9], [1, 1], [10, 31]] as const)
      expect(build(tiny, height, width).shape).toEqual([2, 4, height, width]);
  });

  test("residual and transformer blocks are marked, each as a whole", () => {
    const blocks = new Set(build(tiny, 8, 8).graph.nodes.map((node) => node.block));
    expect(blocks).toContain("unet.down_blocks.0.resnets.1");
    expect(blocks).toContain("unet.mid_block.attentions.0.transformer_blocks.0");
    expect([...blocks].filter((block) => block?.includes("resnets"))).toHaveLength(4 * 2 + 2 + 4 * 3);
    expect([...blocks].filter((block) => block?.includes("transformer_blocks"))).toHaveLength(3 * 2 + 1 + 3 * 3);
  });

  test("attention_head_dim is the number of heads, so the scale is that of channels / heads", () => {
    const scales = build(tiny, 8, 8).graph.nodes.flatMap((node) => (node.op === "Attention" ? [node.attrs.scale] : []));
    expect(new Set(scales)).toEqual(new Set([1 / Math.sqrt(8 / 2), 1 / Math.sqrt(16 / 2)]));
  });

  test("text embeddings of another model's width are refused", () => {
    expect(() => build({ ...tiny, cross_attention_dim: 24 }, 8, 8)).toThrow("text embeddings of width 24 needed, got [2, 77, 12]");
  });

  test("a model without micro-conditioning refuses it, one with it asks for it", () => {
    expect(() => build({ ...tiny, ...additionEmbed }, 8, 8)).toThrow("addedConditions must be given to this model");
  });

  test("float16 weights give a float16 prediction", () => {
    const graph = new Graph();
    const inputs = {
      sample: graph.feed("sample", [1, 4, 8, 8], "float16"),
      timesteps: graph.feed("timesteps", [1]),
      encoderHiddenStates: graph.feed("context", [1, 77, 12], "float16"),
    };
    expect(unet(createParams(graph, "unet", "float16"), inputs, parseUnetConfig({ ...tiny, upcast_attention: true })).dtype).toBe("float16");
    const attention = graph.nodes.find((node) => node.op === "Attention");
    expect(attention?.inputs[0].dtype).toBe("float32");
  });
});

const additionEmbed = { addition_embed_type: "text_time", addition_time_embed_dim: 4, projection_class_embeddings_input_dim: 40 };

describe("parseUnetConfig", () => {
  test("an empty object has the reference's defaults", () => {
    expect(parseUnetConfig({})).toMatchObject({ crossAttentionDim: 1280, normNumGroups: 32, sampleSize: undefined, timeEmbedDim: 1280 });
    expect(parseUnetConfig({}).upBlocks.map(({ channels, layers }) => [channels, layers])).toEqual([[1280, 3], [1280, 3], [640, 3], [320, 3]]);
  });

  test.each([
    [{ down_block_types: ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"] }, "down_block_types is [\"DownBlock2D\",\"AttnDownBlock2D\",\"DownBlock2D\",\"DownBlock2D\"]; supported: CrossAttnDownBlock2D, DownBlock2D"],
    [{ dual_cross_attention: true }, "dual_cross_attention is true; supported: false"],
    [{ class_embed_type: "timestep" }, 'class_embed_type is "timestep"; supported: null'],
    [{ addition_embed_type: "image" }, 'addition_embed_type is "image"; supported: text_time, null'],
    [{ resnet_time_scale_shift: "scale_shift" }, 'resnet_time_scale_shift is "scale_shift"; supported: "default"'],
    [{ only_cross_attention: [true, false, false, false] }, "only_cross_attention is [true,false,false,false]; supported: false"],
    [{ attention_head_dim: [5, 10] }, "attention_head_dim is [5,10]; a whole number of at least 1 or a list of 4 of them is needed"],
    [{ attention_head_dim: 7 }, "attention_head_dim is 7; 320 channels do not divide into 7 heads"],
    [{ up_block_types: ["UpBlock2D"] }, 'up_block_types is ["UpBlock2D"]; 4 needed, one for each of block_out_channels'],
    [{ cross_attention_dim: 0 }, "cross_attention_dim is 0; a whole number of at least 1 or a list of 4 of them is needed"],
    [{ addition_embed_type: "text_time" }, "addition_time_embed_dim is missing; text_time needs it"],
    [{ _class_name: "FluxTransformer2DModel" }, '_class_name is "FluxTransformer2DModel"; supported: "UNet2DConditionModel"'],
  ])("%j is refused by name and value", (change, message) => {
    const parse = () => parseUnetConfig({ ...sd15, ...change }, "model/unet/config.json");
    expect(parse).toThrow(`model/unet/config.json: ${message}.`);
    expect(parse).toThrow(UserError);
  });

  test("what is no object at all is refused", () => {
    expect(() => parseUnetConfig(null)).toThrow("unet/config.json does not hold a JSON object.");
    expect(() => parseUnetConfig([sd15])).toThrow("unet/config.json does not hold a JSON object.");
  });
});
