/** Kohya's naming to PEFT's and back: what a file does to each layer stays, and what it says of itself. */
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { normal } from "../diffusion/philox.ts";
import { UserError } from "../errors.ts";
import { openSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import { convertAdapter } from "./convert.ts";
import { readDelta } from "./delta.ts";
import { openAdapter } from "./open.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-convert-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const at = (name: string): string => join(folder, `${name}.safetensors`);
const key = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k";
const query = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q";
const conv = "lora_unet_input_blocks_4_0_in_layers_2"; // 640 x 320 x 3 x 3
const text = "lora_te2_text_model_encoder_layers_3_self_attn_q_proj"; // 1280 x 1280

interface Stored {
  readonly shape: readonly number[];
  readonly value?: number;
}

const lora = (
  name: string,
  rank: number,
  alpha: number,
  [outputs = 0, inputs = 0, ...kernel]: readonly number[],
): Record<string, Stored> => ({
  [`${name}.lora_down.weight`]: { shape: [rank, inputs, ...kernel] },
  [`${name}.lora_up.weight`]: { shape: [outputs, rank, ...kernel.map(() => 1)] },
  [`${name}.alpha`]: { shape: [], value: alpha },
});
const plain = { ...lora(key, 4, 1, [640, 2048]), ...lora(query, 2, 2, [640, 640]), ...lora(conv, 2, 0.25, [640, 320, 3, 3]), ...lora(text, 4, 2, [1280, 1280]) }; // prettier-ignore

async function write(name: string, tensors: Record<string, Stored>, metadata: Record<string, string> = {}): Promise<string> {
  const list = Object.entries(tensors).map(([tensor, { shape, value }], step) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const data =
      value === undefined
        ? normal({ seed: 9, purpose: "init", step }, count).map((x) => Math.round(x * 16) / 64)
        : Float32Array.of(value);
    return { name: tensor, dtype: "F16", shape, data } as const;
  });
  await writeSafetensors(at(name), list, metadata);
  return at(name);
}

/** A digest of every layer's change: equal digests are equal bits. */
async function deltas(path: string): Promise<Record<string, string>> {
  const adapter = await openAdapter(path);
  const digests: Record<string, string> = {};
  for (const module of adapter.modules) {
    const change = await readDelta(adapter, module);
    digests[module.path ?? module.name] = createHash("sha256").update(new Uint8Array(change.buffer)).digest("hex").slice(0, 16);
  }
  return digests;
}

async function firstDelta(path: string): Promise<Float32Array> {
  const adapter = await openAdapter(path);
  const [module] = adapter.modules;
  return module ? readDelta(adapter, module) : new Float32Array();
}

describe("convertAdapter", () => {
  it("to PEFT and back leaves every layer's change as it was, to the bit where alpha / rank is a power of two", async () => {
    const from = await write("kohya", plain);
    const report = await convertAdapter(from, at("peft"), { to: "peft" });
    expect(report).toMatchObject({ from: "kohya-sgm", modules: 4, tensors: 8 });
    await convertAdapter(at("peft"), at("back"), { to: "kohya" });
    const before = await deltas(from);
    expect(await deltas(at("peft"))).toEqual(before);
    expect(await deltas(at("back"))).toEqual(before);
  });

  it("PEFT's file has paths, no alpha, and a LoraConfig for each component", async () => {
    await convertAdapter(await write("kohya", plain), at("peft"), { to: "peft" });
    const { tensors, metadata } = await openSafetensors(at("peft"));
    expect([...tensors].map(([name, { dtype, shape }]) => `${name} ${dtype} [${shape.join(", ")}]`)).toMatchInlineSnapshot(`
      [
        "text_encoder_2.text_model.encoder.layers.3.self_attn.q_proj.lora_A.weight F16 [4, 1280]",
        "text_encoder_2.text_model.encoder.layers.3.self_attn.q_proj.lora_B.weight F16 [1280, 4]",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight F16 [2, 640]",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight F16 [640, 2]",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight F16 [4, 2048]",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_B.weight F16 [640, 4]",
        "unet.down_blocks.1.resnets.0.conv1.lora_A.weight F16 [2, 320, 3, 3]",
        "unet.down_blocks.1.resnets.0.conv1.lora_B.weight F16 [640, 2, 1, 1]",
      ]
    `);
    expect(JSON.parse(metadata.lora_adapter_metadata ?? "")).toMatchObject({
      "unet.r": 2,
      "unet.lora_alpha": 2,
      "unet.rank_pattern": { "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": 4 },
      "unet.alpha_pattern": { "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": 4 },
      "text_encoder_2.r": 4,
      "text_encoder_2.target_modules": ["encoder.layers.3.self_attn.q_proj"],
    });
  });

  it("what the file said stays, hashes are new, and readers of the new naming find what they look for", async () => {
    const from = await write("told", plain, { ss_output_name: "ink", ss_network_alpha: "9", "modelspec.sai_model_spec": "1.0.1", sshs_model_hash: "old", other: "kept" }); // prettier-ignore
    await convertAdapter(from, at("peft"), { to: "peft" });
    const peft = (await openSafetensors(at("peft"))).metadata;
    expect(peft).toMatchObject({ ss_output_name: "ink", other: "kept" });
    expect(peft.sshs_model_hash).toBeUndefined();
    await convertAdapter(at("peft"), at("back"), { to: "kohya" });
    const bytes = await readFile(at("back"));
    const digest = createHash("sha256").update(bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)))).digest("hex"); // prettier-ignore
    expect((await openSafetensors(at("back"))).metadata).toMatchObject({
      ss_output_name: "ink",
      other: "kept",
      ss_base_model_version: "sdxl_base_v1-0",
      ss_network_dim: "Dynamic",
      "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
      sshs_model_hash: digest,
      "modelspec.hash_sha256": `0x${digest}`,
    });
  });

  it("DoRA's magnitudes take each naming's shape, and no other part is lost", async () => {
    const dora = { ...lora(conv, 2, 1, [640, 320, 3, 3]), [`${conv}.dora_scale`]: { shape: [640, 1, 1, 1] } };
    await convertAdapter(await write("dora", { ...dora, ...lora(key, 4, 4, [640, 2048]) }), at("peft"), { to: "peft" });
    const path = "unet.down_blocks.1.resnets.0.conv1.lora_magnitude_vector";
    expect((await openSafetensors(at("peft"))).tensors.get(path)?.shape).toEqual([1, 640, 1, 1]);
    await convertAdapter(at("peft"), at("back"), { to: "kohya" });
    expect((await openSafetensors(at("back"))).tensors.get(`${conv}.dora_scale`)?.shape).toEqual([640, 1, 1, 1]);
  });

  it("LoHa and LoKr move between namings that can hold them, part by part", async () => {
    const name = "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k";
    const lokr = { [`${name}.lokr_w1`]: { shape: [8, 8] }, [`${name}.lokr_w2_a`]: { shape: [80, 2] }, [`${name}.lokr_w2_b`]: { shape: [2, 256] }, [`${name}.alpha`]: { shape: [], value: 1 } }; // prettier-ignore
    await convertAdapter(await write("lokr", lokr), at("kohya"), { to: "kohya" });
    expect([...(await openSafetensors(at("kohya"))).tensors.keys()].map((tensor) => tensor.replace(key, ""))).toEqual([".alpha", ".lokr_w1", ".lokr_w2_a", ".lokr_w2_b"]); // prettier-ignore
    expect(await deltas(at("kohya"))).toEqual(await deltas(at("lokr")));
    await expect(convertAdapter(at("kohya"), at("no"), { to: "peft" })).rejects.toThrow(
      `${key} is LoKr, which PEFT's naming does not have`,
    );
  });

  it("an alpha that the type cannot hold goes into the weights", async () => {
    const config = JSON.stringify({ "unet.lora_alpha": 3, "unet.use_rslora": true });
    const path = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";
    const peft = { [`${path}.lora_A.weight`]: { shape: [2, 640] }, [`${path}.lora_B.weight`]: { shape: [640, 2] } };
    const metadata = { lora_adapter_metadata: config, ss_base_model_version: "sdxl_base_v1-0" };
    await convertAdapter(await write("stable", peft, metadata), at("kohya"), { to: "kohya" });
    const [before, after] = [await firstDelta(at("stable")), await firstDelta(at("kohya"))];
    const worst = before.reduce((most, value, i) => Math.max(most, Math.abs(value - (after[i] ?? NaN))), 0);
    // Of sums of two products of numbers up to 1; float16 has 11 bits.
    expect(worst).toBeLessThan(2 * 3 * 2 ** -11);
  });

  it("a wider or narrower type is written where it is asked for", async () => {
    await convertAdapter(await write("kohya", plain), at("wide"), { to: "kohya", dtype: "float32" });
    expect(new Set([...(await openSafetensors(at("wide"))).tensors.values()].map(({ dtype }) => dtype))).toEqual(
      new Set(["F32"]),
    );
    expect(await deltas(at("wide"))).toEqual(await deltas(at("kohya")));
  });

  it.each<[string, Record<string, Stored>, string]>([
    ["a model that is not known", { "lora_unet_x.lora_down.weight": { shape: [2, 8] }, "lora_unet_x.lora_up.weight": { shape: [8, 2] } }, "is for neither SD 1.5 nor SDXL"],
    ["Flux", { "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": { shape: [2, 8] }, "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": { shape: [8, 2] } }, "is for Flux"],
    ["a layer that the model does not have", { ...plain, ...lora("lora_unet_nothing", 2, 2, [8, 8]) }, "lora_unet_nothing is no layer of the model"],
    ["half a module", { ...plain, [`${query.replace("to_q", "to_v")}.lora_up.weight`]: { shape: [640, 2] } }, "attn1_to_v has no down"],
    ["an embedding beside it", { ...plain, "bundle_emb.cat": { shape: [2, 8] } }, "1 keys would be lost (first: bundle_emb.cat)"],
  ])("refuses %s and writes nothing", async (_, tensors, message) => {
    const attempt = convertAdapter(await write("bad", tensors), at("never"), { to: "kohya" });
    await expect(attempt).rejects.toThrow(message);
    await expect(attempt).rejects.toThrow(UserError);
    await expect(readFile(at("never"))).rejects.toThrow("ENOENT");
  }); // prettier-ignore
});
