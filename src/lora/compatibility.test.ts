import { describe, expect, it } from "vitest";
import { checkCompatibility, describeHalfLoads, type AdapterFacts } from "./compatibility.ts";
import { standardBase } from "./layout.ts";
import { parseUnetConfig } from "../models/unet/config.ts";

const module = (
  name: string,
  shape: readonly number[] = [640, 640],
  kind: AdapterFacts["modules"][number]["kind"] = "lora",
) => {
  const form = kind === "locon" || kind === "dora" ? "lora" : kind;
  const parts = kind === "dora" ? { doraScale: { name: `${name}.dora_scale`, shape: [640, 1] } } : {};
  return { name, shape, kind, form, parts };
};
const cross = module("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", [640, 2048]);
const self = module("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q");
const sdxl: AdapterFacts = {
  family: "sdxl",
  naming: "kohya-sgm",
  metadata: { ss_base_model_version: "sdxl_base_v1-0", ss_v2: "False" },
  modules: [cross, self],
  unread: [],
};

/** Programs that do not load all of it, with the reason. */
const refusals = (change: Partial<AdapterFacts>): Record<string, string> =>
  Object.fromEntries(
    checkCompatibility({ ...sdxl, ...change }).flatMap(({ program, loads, reasons }) =>
      loads === "yes" ? [] : [[program, `${loads}: ${reasons.join("; ")}`]],
    ),
  );

describe("checkCompatibility", () => {
  it("Kohya's SGM naming with cross-attention and sd-scripts' metadata loads in all five", () => {
    expect(refusals({})).toEqual({});
  });

  it("Invoke takes SDXL without cross-attention for SD 1, unless a transformer is deeper than SD 1's", () => {
    expect(refusals({ modules: [self] })).toEqual({
      Invoke: "no: it takes it for SD 1: there is no cross-attention layer (attn2_to_k, attn2_to_v) to tell the width of SDXL",
    });
    expect(refusals({ modules: [module("lora_unet_input_blocks_8_1_transformer_blocks_2_attn1_to_q")] })).toEqual({});
  });

  it("A1111 hides SDXL adapters whose metadata does not say so, and shows those without metadata", () => {
    expect(refusals({ metadata: { ss_output_name: "x" } })).toEqual({
      A1111: "partly: it takes it for SD 1 and hides it beside SDXL models: ss_base_model_version is missing",
    });
    expect(refusals({ metadata: {} })).toEqual({});
  });

  it("PEFT's naming is diffusers' alone: attention has no effect in ComfyUI and Forge", () => {
    const peft = module("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", [640, 2048]);
    const got = refusals({ naming: "peft", modules: [peft] });
    expect(Object.keys(got)).toEqual(["A1111", "Forge", "ComfyUI", "Invoke"]);
    expect(got.ComfyUI).toMatch(/^partly: it knows PEFT's names of the UNet's attention not: 1 of 1 layers/);
    expect(got.Invoke).toMatch(/^no: it reads Kohya's names/);
  });

  it("mixed block numbers: Invoke refuses, diffusers drops the SGM ones", () => {
    const other = module("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_k");
    expect(refusals({ naming: "mixed", modules: [cross, other] })).toEqual({
      Invoke: "no: SGM and diffusers block numbers are mixed in it",
      diffusers: "partly: block numbers are mixed: it drops the layers in SGM blocks",
    });
  });

  it("diffusers refuses LoHa and LoKr, and leaves DoRA's magnitudes out", () => {
    expect(refusals({ modules: [cross, module(self.name, [640, 640], "lokr")] })).toEqual({
      diffusers: "no: it knows plain LoRA and LoCon only, and refuses the file for: lokr",
    });
    expect(refusals({ modules: [cross, module(self.name, [640, 640], "dora")] }).diffusers).toMatch(/^partly: it leaves DoRA's magnitudes out: 1 of 2 layers/); // prettier-ignore
  });

  it("Flux: A1111 has none, Invoke knows no T5, and diffusers drops it", () => {
    const flux = { family: "flux", modules: [module("lora_unet_double_blocks_0_img_attn_qkv")] } as const;
    expect(refusals(flux)).toEqual({ A1111: "no: it has no Flux" });
    const withT5 = [...flux.modules, module("lora_te3_encoder_block_0_layer_0_SelfAttention_q")];
    expect(refusals({ ...flux, modules: withT5 })).toEqual({
      A1111: "no: it has no Flux",
      Invoke: "no: it knows no lora_te3_encoder_block_0_layer_0_SelfAttention_q in a Flux LoRA, and then none of it",
      diffusers:
        "partly: it drops the T5 text encoder: 1 of 2 layers (first: lora_te3_encoder_block_0_layer_0_SelfAttention_q)",
    });
  });
});

describe("describeHalfLoads", () => {
  const base = standardBase("sdxl");
  const unet = { ...base.unet, crossAttentionDim: 2048 };
  const layer = (rest: string, weightShape: readonly number[]) => ({
    path: `unet.down_blocks.1.attentions.0.${rest}`,
    weightShape,
  });

  it("says that Invoke takes a file without cross-attention for SD 1, and nothing of one with it", () => {
    const own = layer("transformer_blocks.0.attn1.to_q", [640, 640]);
    expect(describeHalfLoads([own], { ...base, unet })).toEqual([expect.stringMatching(/^Invoke will not load this adapter: it takes it for SD 1/)]); // prettier-ignore
    expect(describeHalfLoads([own, layer("transformer_blocks.0.attn2.to_k", [640, 2048])], { ...base, unet })).toEqual([]);
  });

  it("is silent for a base of a size of its own", () => {
    const small = parseUnetConfig({
      block_out_channels: [8, 16, 32, 32],
      norm_num_groups: 4,
      attention_head_dim: 2,
      cross_attention_dim: 24,
    });
    expect(describeHalfLoads([layer("proj_in", [16, 16])], { family: "sdxl", unet: small })).toEqual([]);
  });
});
