import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { normal } from "../diffusion/philox.ts";
import { UserError } from "../errors.ts";
import { openSafetensors, writeSafetensors, type TensorToWrite } from "../formats/safetensors.ts";
import { parseUnetConfig } from "../models/unet/config.ts";
import { listUnetParameters } from "../models/unet/model.ts";
import { hashAdapter } from "./file-hashes.ts";
import { writeAdapter, type AdapterDType, type AdapterModule } from "./file.ts";
import { countTags, type AdapterMetadata } from "./metadata.ts";
import { kohyaName, peftNames } from "./names.ts";
import { readAdapter, type AdapterBase } from "./read.ts";

const unet = parseUnetConfig({
  block_out_channels: [8, 16],
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"],
  up_block_types: ["CrossAttnUpBlock2D", "UpBlock2D"],
  layers_per_block: 1,
  norm_num_groups: 4,
  attention_head_dim: 2,
  cross_attention_dim: 24,
  use_linear_projection: true,
});
const textWeights = [
  ["text_encoder.text_model.encoder.layers.0.self_attn.q_proj.weight", { shape: [24, 24] }],
  ["text_encoder.text_model.embeddings.token_embedding.weight", { shape: [100, 24] }],
  ["vae.decoder.conv_in.weight", { shape: [8, 4, 3, 3] }],
] as const;
const base: AdapterBase = {
  family: "sdxl",
  unet,
  weights: new Map<string, { readonly shape: readonly number[] }>([...listUnetParameters(unet).map((weight) => [weight.name, weight] as const), ...textWeights]), // prettier-ignore
};

const paths = {
  query: "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", // 16 x 16
  key: "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", // 16 x 24
  conv: "unet.down_blocks.0.resnets.0.conv1", // 8 x 8 x 3 x 3
  text: "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
};

function makeModule(layer: string, rank: number, alpha: number): AdapterModule {
  const [outputs = 0, inputs = 0, ...kernel] = base.weights.get(`${layer}.weight`)?.shape ?? [];
  const sample = Object.values(paths).indexOf(layer);
  const matrix = (shape: number[], step: number): AdapterModule["down"] => {
    const count = shape.reduce((product, size) => product * size, 1);
    // Multiples of 1/64 below 4 are exact in every type.
    return { shape, data: normal({ seed: 1, purpose: "init", step, sample }, count).map((x) => Math.round(x * 16) / 64) };
  };
  return {
    path: layer,
    rank,
    alpha,
    down: matrix([rank, inputs, ...kernel], 0),
    up: matrix([outputs, rank, ...kernel.map(() => 1)], 1),
  };
}
const modules = [
  makeModule(paths.conv, 2, 1),
  makeModule(paths.query, 4, 2),
  makeModule(paths.key, 4, 2),
  makeModule(paths.text, 4, 2),
];

const metadata: AdapterMetadata = {
  name: "inkwash",
  version: "0.1.0",
  base: { name: "mini", sha256: "ab".repeat(32), vaeSha256: "cd".repeat(32) },
  predictionType: "epsilon",
  widthPx: 128,
  heightPx: 96,
  triggerWord: "inkwash",
  description: "Ink wash — a style",
  startedAt: new Date("2026-01-02T03:04:05.678Z"),
  savedAt: new Date("2026-01-02T04:04:05.678Z"),
  training: {
    step: 300,
    totalSteps: 400,
    epoch: 3,
    totalEpochs: 4,
    seed: 7,
    batchSize: 4,
    gradientAccumulationSteps: 1,
    learningRate: 1e-4,
    optimizer: "AdamW",
    learningRateSchedule: "cosine",
    warmupSteps: 20,
    maxGradNorm: 1,
    minSnrGamma: 5,
  },
  dataset: {
    pictures: 20,
    folders: { pictures: { repeats: 2, pictures: 20 } },
    tags: { pictures: countTags(["inkwash, cat", "inkwash, dog", "inkwash, cat, hat"]) },
    buckets: [{ widthPx: 128, heightPx: 96, pictures: 20 }],
  },
};

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "gesso-lora-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

async function write(name: string, change: Partial<Parameters<typeof writeAdapter>[1]> = {}): Promise<string> {
  const file = path.join(folder, name);
  await writeAdapter(file, { modules, base, metadata, dtype: "float16", ...change });
  return file;
}

/** The bytes after the header. */
function dataOf(file: string): Buffer {
  const bytes = readFileSync(file);
  return bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)));
}

describe("writeAdapter", () => {
  it("writes each module as down, up and alpha under Kohya's name, with SGM blocks", async () => {
    const { tensors } = await openSafetensors(await write("keys.safetensors"));
    expect(Object.fromEntries([...tensors].map(([name, { dtype, shape }]) => [name, `${dtype} [${shape.join(", ")}]`])))
      .toMatchInlineSnapshot(`
      {
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.alpha": "F16 []",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight": "F16 [4, 24]",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight": "F16 [24, 4]",
        "lora_unet_input_blocks_1_0_in_layers_2.alpha": "F16 []",
        "lora_unet_input_blocks_1_0_in_layers_2.lora_down.weight": "F16 [2, 8, 3, 3]",
        "lora_unet_input_blocks_1_0_in_layers_2.lora_up.weight": "F16 [8, 2, 1, 1]",
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q.alpha": "F16 []",
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q.lora_down.weight": "F16 [4, 16]",
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q.lora_up.weight": "F16 [16, 4]",
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn2_to_k.alpha": "F16 []",
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn2_to_k.lora_down.weight": "F16 [4, 24]",
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn2_to_k.lora_up.weight": "F16 [16, 4]",
      }
    `);
  });

  it("writes the fields that A1111, Forge and ModelSpec ask for, all of them text", async () => {
    const file = await openSafetensors(await write("metadata.safetensors"));
    expect(file.metadata).toMatchInlineSnapshot(`
      {
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.date": "2026-01-02T04:04:05Z",
        "modelspec.description": "Ink wash — a style",
        "modelspec.hash_sha256": "0x5f557ec16208002a0d9e43e40b28b647804ed0b0a210400f697f4fd4292b1f90",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.implementation_version": "gesso/0.1.0",
        "modelspec.prediction_type": "epsilon",
        "modelspec.resolution": "128x96",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": "inkwash",
        "modelspec.trigger_phrase": "inkwash",
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_bucket_info": "{"buckets":{"0":{"resolution":[128,96],"count":20}}}",
        "ss_caption_dropout_rate": "0",
        "ss_clip_skip": "None",
        "ss_dataset_dirs": "{"pictures":{"n_repeats":2,"img_count":20}}",
        "ss_epoch": "3",
        "ss_gradient_accumulation_steps": "1",
        "ss_learning_rate": "0.0001",
        "ss_lr_scheduler": "cosine",
        "ss_lr_warmup_steps": "20",
        "ss_max_grad_norm": "1",
        "ss_max_token_length": "None",
        "ss_max_train_steps": "400",
        "ss_min_snr_gamma": "5",
        "ss_network_alpha": "2",
        "ss_network_args": "{"conv_dim":"2","conv_alpha":"1"}",
        "ss_network_dim": "4",
        "ss_network_module": "networks.lora",
        "ss_new_sd_model_hash": "abababababababababababababababababababababababababababababababab",
        "ss_new_vae_hash": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        "ss_noise_offset": "None",
        "ss_num_epochs": "4",
        "ss_num_reg_images": "0",
        "ss_num_train_images": "20",
        "ss_optimizer": "AdamW",
        "ss_output_name": "inkwash",
        "ss_resolution": "(128, 96)",
        "ss_sd_model_name": "mini",
        "ss_seed": "7",
        "ss_steps": "300",
        "ss_tag_frequency": "{"pictures":{"inkwash":3,"cat":2,"dog":1,"hat":1}}",
        "ss_text_encoder_lr": "None",
        "ss_total_batch_size": "4",
        "ss_training_finished_at": "1767326645.678",
        "ss_training_started_at": "1767323045.678",
        "ss_unet_lr": "0.0001",
        "ss_v2": "False",
        "sshs_legacy_hash": "e3b0c442",
        "sshs_model_hash": "5f557ec16208002a0d9e43e40b28b647804ed0b0a210400f697f4fd4292b1f90",
      }
    `);
    expect(JSON.parse(file.metadata["ss_tag_frequency"] ?? "")).toEqual({ pictures: { inkwash: 3, cat: 2, dog: 1, hat: 1 } });
  });

  it("SD 1.5 is marked as such, and keeps diffusers blocks", async () => {
    const file = await openSafetensors(
      await write("sd15.safetensors", { base: { family: "sd15", unet }, modules: modules.slice(1) }),
    );
    expect([...file.tensors.keys()][3]).toBe("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.alpha");
    expect(file.metadata).toMatchObject({
      ss_base_model_version: "sd_v1",
      ss_v2: "False",
      ss_network_args: "{}",
      "modelspec.architecture": "stable-diffusion-v1/lora",
      "modelspec.implementation": "diffusers",
    });
  });

  it.each(["float16", "bfloat16", "float32"] as const)(
    "the hash in a %s file is the SHA-256 of the tensors' bytes as they lie there",
    async (dtype) => {
      const file = await write(`hash-${dtype}.safetensors`, { dtype });
      const digest = createHash("sha256").update(dataOf(file)).digest("hex");
      const opened = await openSafetensors(file);
      expect(opened.metadata["sshs_model_hash"]).toBe(digest);
      expect(opened.metadata["modelspec.hash_sha256"]).toBe(`0x${digest}`);
    },
  );

  it("the hashes stay when only the title or description changes", async () => {
    const hashesOf = async (change: Partial<AdapterMetadata>): Promise<unknown[]> => {
      const file = await openSafetensors(await write("again.safetensors", { metadata: { ...metadata, ...change } }));
      return [file.metadata["sshs_model_hash"], file.metadata["sshs_legacy_hash"]];
    };
    expect(await hashesOf({ description: "another" })).toEqual(await hashesOf({}));
  });

  it("a trigger word that no caption holds is put into the tag cloud", async () => {
    const file = await openSafetensors(await write("trigger.safetensors", { metadata: { ...metadata, triggerWord: "zxc" } }));
    expect(JSON.parse(file.metadata["ss_tag_frequency"] ?? "")).toMatchObject({ inkwash: { zxc: 1 }, pictures: { cat: 2 } });
  });

  it("the same adapter gives the same bytes in whatever order its modules come", async () => {
    const first = readFileSync(await write("a.safetensors"));
    expect(readFileSync(await write("b.safetensors", { modules: [...modules].reverse() })).equals(first)).toBe(true);
  });

  const changed = (change: (module: AdapterModule) => AdapterModule): AdapterModule[] =>
    modules.map((module, i) => (i === 1 ? change(module) : module));
  const withValue = (part: "down" | "up", value: number): AdapterModule[] =>
    changed((module) => ({ ...module, [part]: { ...module[part], data: module[part].data.with(5, value) } }));
  it.each<[string, { modules: AdapterModule[]; dtype?: AdapterDType }, string]>([
    ["a NaN", { modules: withValue("down", NaN) }, `down of ${paths.query} holds NaN at position 5, which is not finite`],
    ["an infinity", { modules: withValue("up", -Infinity), dtype: "float32" }, "holds -Infinity at position 5, which is not finite"],
    ["a number beyond float16", { modules: withValue("up", 70000) }, "holds 70000 at position 5, which is beyond float16, which ends at 65504"],
    ["zeros in every up", { modules: modules.map((m) => ({ ...m, up: { ...m.up, data: m.up.data.map(() => 0) } })) }, "it would change nothing"],
    ["ups that float16 rounds to zero", { modules: modules.map((m) => ({ ...m, up: { ...m.up, data: m.up.data.map(() => 2 ** -25) } })) }, "it would change nothing, as one matrix of every layer is zero in float16"],
  ])("refuses %s and leaves no file", async (_, change, message) => {
    const attempt = write("refused.safetensors", change);
    await expect(attempt).rejects.toThrow(message);
    await expect(attempt).rejects.toThrow(UserError);
    expect(readdirSync(folder).filter((name) => name.includes("refused"))).toEqual([]);
  }); // prettier-ignore

  it("refuses shapes that do not hang together, with the layer", async () => {
    await expect(write("x.safetensors", { modules: changed((m) => ({ ...m, rank: 5 })) })).rejects.toThrow(
      `rank 5 on axis 0 needed, got [4, 16] with 64 numbers\n  at ${paths.query}`,
    );
    await expect(write("x.safetensors", { modules: changed((m) => ({ ...m, alpha: 0 })) })).rejects.toThrow(
      "alpha above 0 needed, got 0",
    );
    await expect(write("x.safetensors", { modules: [] })).rejects.toThrow("at least one module needed");
  });
});

describe("hashAdapter", () => {
  it("the legacy hash is over 64 KiB from 1 MiB on, of the file with the training fields alone", async () => {
    const bytes = new Uint8Array(3_000_000).map((_, i) => (i * 31) % 251);
    const tensors: TensorToWrite[] = ["a", "b", "c"].map((name, i) => ({
      name,
      dtype: "F32",
      shape: [250_000],
      data: new Float32Array(bytes.buffer, i * 1_000_000, 250_000),
    }));
    const fields = { ss_v2: "False", ss_output_name: "wörk" };
    const file = path.join(folder, "legacy.safetensors");
    await writeSafetensors(file, tensors, fields);
    const encoded = tensors.map(({ name, dtype, shape }, i) => ({ name, dtype, shape, bytes: bytes.subarray(i * 1_000_000, (i + 1) * 1_000_000) })); // prettier-ignore
    const expected = createHash("sha256").update(readFileSync(file).subarray(0x100000, 0x110000)).digest("hex").slice(0, 8);
    expect(hashAdapter(encoded, fields).legacy).toBe(expected);
  });
});

describe("readAdapter", () => {
  it.each(["float16", "bfloat16", "float32"] as const)(
    "gives back what was written in %s, in the order of the base",
    async (dtype) => {
      const read = await readAdapter(await write(`read-${dtype}.safetensors`, { dtype }), base);
      const order = [...base.weights.keys()];
      const expected = [...modules].sort((a, b) => order.indexOf(`${a.path}.weight`) - order.indexOf(`${b.path}.weight`));
      expect(read.modules).toEqual(expected);
      expect(read.metadata["ss_output_name"]).toBe("inkwash");
    },
  );

  /** A file with one module, under any names and shapes. */
  async function writeRaw(
    name: string,
    tensors: readonly (readonly [key: string, shape: readonly number[], value?: number])[],
  ): Promise<string> {
    const file = path.join(folder, name);
    await writeSafetensors(file, tensors.map(([key, shape, value = 0.5]) => ({ name: key, dtype: "F16", shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value) }))); // prettier-ignore
    return file;
  }
  const sgm = kohyaName(paths.query, base);

  it.each([
    ["SGM blocks", `${sgm}.lora_down.weight`, `${sgm}.lora_up.weight`],
    [
      "diffusers blocks",
      `lora_${paths.query.replaceAll(".", "_")}.lora_down.weight`,
      `lora_${paths.query.replaceAll(".", "_")}.lora_up.weight`,
    ],
    ["PEFT's names", peftNames(paths.query).down, peftNames(paths.query).up],
  ])("reads %s; without an alpha the scale is 1", async (_, down, up) => {
    const { modules: read } = await readAdapter(await writeRaw("form.safetensors", [[down, [3, 16]], [up, [16, 3]]]), base); // prettier-ignore
    expect(read).toMatchObject([{ path: paths.query, rank: 3, alpha: 3, down: { shape: [3, 16] }, up: { shape: [16, 3] } }]);
  });

  it("reads a linear layer that the file holds as a 1 x 1 convolution", async () => {
    const file = await writeRaw("conv.safetensors", [[`${sgm}.lora_down.weight`, [3, 16, 1, 1]], [`${sgm}.lora_up.weight`, [16, 3, 1, 1]], [`${sgm}.alpha`, [1], 6]]); // prettier-ignore
    expect((await readAdapter(file, base)).modules).toMatchObject([
      { alpha: 6, down: { shape: [3, 16] }, up: { shape: [16, 3] } },
    ]);
  });

  it.each([
    ["a layer of another model", [["lora_unet_input_blocks_8_1_proj_in.lora_down.weight", [3, 16]]], "1 of 1 keys are no layer of this base model (first: lora_unet_input_blocks_8_1_proj_in.lora_down.weight)"],
    ["a mistyped layer", [[`${sgm}x.lora_down.weight`, [3, 16]]], `The nearest layer is ${sgm}.`],
    ["a lookup table", [["lora_te1_text_model_embeddings_token_embedding.lora_down.weight", [3, 24]]], "no layer of this base model"],
    ["an OFT", [[`${sgm}.oft_blocks`, [4, 4, 4]]], `not supported: OFT or BOFT (first key: ${sgm}.oft_blocks)`],
    ["a LoRA with an embedding", [[`${sgm}.lora_down.weight`, [3, 16]], [`${sgm}.lora_up.weight`, [16, 3]], ["bundle_emb.cat.clip_l", [2, 24]]], "not supported: an embedding (key bundle_emb.cat.clip_l)"],
    ["half a LoHa", [[`${sgm}.hada_w1_a`, [16, 3]], [`${sgm}.hada_w1_b`, [3, 16]]], `hada_w1_b but no w2a`],
    ["a down without an up", [[`${sgm}.lora_down.weight`, [3, 16]]], "lora_down.weight but no up"],
    ["a down for another width", [[`${sgm}.lora_down.weight`, [3, 32]], [`${sgm}.lora_up.weight`, [16, 3]]], `${sgm} is for a layer of [16, 32]; in this base model ${paths.query} is [16, 16]`],
    ["an up of another rank", [[`${sgm}.lora_down.weight`, [3, 16]], [`${sgm}.lora_up.weight`, [16, 4]]], `the parts of ${sgm} do not fit together: rank 4, of down [3, 16], up [16, 4]`],
    ["a layer twice", [[`${sgm}.lora_down.weight`, [3, 16]], [`lora_${paths.query.replaceAll(".", "_")}.lora_down.weight`, [3, 16]]], "are the same layer"],
    ["a NaN", [[`${sgm}.lora_down.weight`, [3, 16], NaN], [`${sgm}.lora_up.weight`, [16, 3]]], "holds NaN at position 0"],
    ["an alpha of two numbers", [[`${sgm}.lora_down.weight`, [3, 16]], [`${sgm}.lora_up.weight`, [16, 3]], [`${sgm}.alpha`, [2]]], "alpha holds 2 numbers"],
    ["no tensors", [], "holds no tensors"],
  ] as const)("refuses %s, by name", async (_, tensors, message) => {
    const attempt = readAdapter(await writeRaw("bad.safetensors", tensors), base);
    await expect(attempt).rejects.toThrow(message);
    await expect(attempt).rejects.toThrow(UserError);
  }); // prettier-ignore
});

it("countTags counts what stands between commas, most frequent first", () => {
  expect(Object.entries(countTags(["a, b", "b,c ", "", " b"]))).toEqual([["b", 3], ["a", 1], ["c", 1]]); // prettier-ignore
});
