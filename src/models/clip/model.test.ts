import { describe, expect, test } from "vitest";
import { UserError } from "../../errors.ts";
import { Graph, sizeOf, type NodeOf } from "../../graph/graph.ts";
import { createParams } from "../../nn/params.ts";
import { parseClipTextConfig } from "./config.ts";
import { clipText, findEosRows, listClipTextParameters } from "./model.ts";

/** From the published text_encoder/config.json of Stable Diffusion 1.5 and SDXL (CLIP ViT-L/14). */
const clipL = {
  architectures: ["CLIPTextModel"],
  eos_token_id: 2,
  hidden_act: "quick_gelu",
  hidden_size: 768,
  intermediate_size: 3072,
  layer_norm_eps: 1e-5,
  max_position_embeddings: 77,
  model_type: "clip_text_model",
  num_attention_heads: 12,
  num_hidden_layers: 12,
  projection_dim: 768,
  vocab_size: 49408,
};

/** From the published text_encoder_2/config.json of SDXL (OpenCLIP ViT-bigG/14). */
const bigG = {
  ...clipL,
  architectures: ["CLIPTextModelWithProjection"],
  hidden_act: "gelu",
  hidden_size: 1280,
  intermediate_size: 5120,
  num_attention_heads: 20,
  num_hidden_layers: 32,
  projection_dim: 1280,
};

const tiny = { ...bigG, hidden_size: 16, intermediate_size: 32, num_attention_heads: 2, num_hidden_layers: 3, projection_dim: 12, vocab_size: 50 };

function countNumbers(json: unknown): number {
  return listClipTextParameters(parseClipTextConfig(json), "text_encoder").reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

test("CLIP ViT-L/14 has 123,060,480 parameters, OpenCLIP ViT-bigG/14 with its projection 694,659,840", () => {
  expect(countNumbers(clipL)).toBe(123_060_480);
  expect(countNumbers(bigG)).toBe(694_659_840);
});

test("parameter names are the checkpoint's keys", () => {
  const names = listClipTextParameters(parseClipTextConfig(tiny), "text_encoder_2").map(({ name }) => name);
  expect(names).toHaveLength(2 + 3 * 16 + 2 + 1);
  expect(names).toContain("text_encoder_2.text_model.embeddings.token_embedding.weight");
  expect(names).toContain("text_encoder_2.text_model.encoder.layers.2.self_attn.out_proj.bias");
  expect(names).toContain("text_encoder_2.text_projection.weight");
});

describe("the graph", () => {
  function build(json: unknown, length = 5) {
    const graph = new Graph();
    const inputs = { inputIds: graph.feed("ids", [2, length], "int32"), eosRows: graph.feed("eos", [2], "int32") };
    return { graph, ...clipText(createParams(graph, "text_encoder"), inputs, parseClipTextConfig(json)) };
  }

  test("there is a hidden state before the layers and after each, and a projection only where the model has one", () => {
    const { hiddenStates, lastHiddenState, pooled, textEmbeds } = build(tiny);
    expect(hiddenStates.map(({ shape }) => shape)).toEqual(Array(4).fill([2, 5, 16]));
    expect(lastHiddenState.shape).toEqual([2, 5, 16]);
    expect(pooled?.shape).toEqual([2, 16]);
    expect(textEmbeds?.shape).toEqual([2, 12]);
    expect(build({ ...tiny, architectures: ["CLIPTextModel"] }).textEmbeds).toBeUndefined();
  });

  test("the mask hides later tokens and nothing else", () => {
    const { graph } = build(tiny, 3);
    const mask = graph.nodes.find((node) => node.op === "Constant" && node.attrs.shape.length === 4) as NodeOf<"Constant">;
    expect(mask.attrs.data.map((score) => score < 0)).toEqual([false, true, true, false, false, true, false, false, false]);
  });

  test("more tokens than positions are refused", () => {
    expect(() => build(tiny, 78)).toThrow("at most 77 tokens fit, got 78");
  });
});

test("findEosRows finds the first end token, or the largest id where the file says 2", () => {
  const ids = Int32Array.of(48, 7, 49, 49, 48, 49, 1, 1);
  expect([...findEosRows(ids, 4, parseClipTextConfig({ ...tiny, eos_token_id: 49 }))]).toEqual([2, 5]);
  expect([...findEosRows(ids, 4, parseClipTextConfig(tiny))]).toEqual([2, 5]);
  expect(() => findEosRows(ids, 4, parseClipTextConfig({ ...tiny, eos_token_id: 40 }))).toThrow("text 0 has no end token 40");
});

test.each([
  [{ architectures: ["T5EncoderModel"] }, 'architectures is ["T5EncoderModel"]; supported: CLIPTextModel, CLIPTextModelWithProjection, null'],
  [{ architectures: null }, "architectures is null; CLIPTextModel or CLIPTextModelWithProjection is needed"],
  [{ hidden_act: "relu" }, 'hidden_act is "relu"; supported: quick_gelu, gelu'],
  [{ model_type: "clip" }, 'model_type is "clip"; supported: "clip_text_model"'],
  [{ hidden_size: 770 }, "hidden_size is 770; it must divide into num_attention_heads = 12 heads"],
  [{ layer_norm_eps: "small" }, 'layer_norm_eps is "small"; a number is needed'],
])("%j is refused by name and value", (change, message) => {
  const parse = () => parseClipTextConfig({ ...clipL, ...change });
  expect(parse).toThrow(`text_encoder/config.json: ${message}.`);
  expect(parse).toThrow(UserError);
});
