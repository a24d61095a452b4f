/** Single files: what is found in them, what they are taken for, and what every other file is called. */
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type FileTensorToWrite, listFileTensors, writeSingleFile, writeTensors } from "../../test/single-file.ts";
import { readFileRange } from "../engines/ort/file-range.ts";
import { UserError } from "../errors.ts";
import { sizeOf } from "../graph/graph.ts";
import { openBase } from "./open-base.ts";

let folder = "";
let sd15 = "";
let sdxl = "";
const options = { hashCacheFile: undefined };
const inside = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-single-"));
  sd15 = await writeSingleFile(inside("model.safetensors"), "sd15");
  sdxl = await writeSingleFile(inside("xl.safetensors"), "sdxl");
}, 120_000);
afterAll(() => rm(folder, { recursive: true }));

const CONV_IN = "model.diffusion_model.input_blocks.0.0.weight";
const vector = (key: string): FileTensorToWrite => ({ key, shape: [1] });
const isVae = ({ key }: FileTensorToWrite): boolean => key.startsWith("first_stage_model.");

/** What openBase says of a file that it refuses, with the file called FILE. */
async function refusal(path: string, given: Parameters<typeof openBase>[1] = options): Promise<string> {
  const error: unknown = await openBase(path, given).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof UserError)) throw new Error(`a UserError needed, got ${String(error)}`);
  expect(error.fix).toMatch(/^[A-Z].*\.$/);
  return error.message.replaceAll(path, "FILE");
}

async function refusalOf(name: string, tensors: readonly FileTensorToWrite[]): Promise<string> {
  return refusal(await writeTensors(inside(`${name}.safetensors`), tensors));
}

async function refusalOfChanged(change: (tensors: FileTensorToWrite[]) => FileTensorToWrite[]): Promise<string> {
  return refusal(await writeSingleFile(inside("changed.safetensors"), "sd15", { change }));
}

test("an SD 1.5 file is known by its keys, and what a file does not say is the family's", async () => {
  const base = await openBase(sd15, options);
  expect(base).toMatchObject({
    name: "model.safetensors",
    folder: sd15,
    family: "sd15",
    lineage: { name: "sd15" },
    pixelsPerLatent: 8,
    nativeResolutionPx: 512,
    zerosForEmptyPrompt: false,
    schedule: { predictionType: "epsilon", zeroTerminalSnr: false },
  });
  expect(base.unet.downBlocks.map(({ channels, transformer }) => [channels, transformer])).toEqual([
    [32, { heads: 8, depth: 1 }],
    [32, { heads: 8, depth: 1 }],
    [64, { heads: 8, depth: 1 }],
    [64, undefined],
  ]);
  expect(base.notes).toEqual([
    "model.safetensors is of the family of Stable Diffusion 1.5: its keys and shapes; nothing says that it is another. If it is an anime model, say so with --family.",
  ]);
  expect(base.hashes.file).toBe(
    createHash("sha256")
      .update(await readFile(sd15))
      .digest("hex"),
  );
});

test("an SDXL file has two encoders, of which the second pads with the first token", async () => {
  const base = await openBase(sdxl, options);
  expect(base).toMatchObject({ family: "sdxl", nativeResolutionPx: 1024, zerosForEmptyPrompt: true });
  expect(
    base.textEncoders.map(({ config, tokenizer }) => [config.hiddenSize, config.numAttentionHeads, tokenizer.padId]),
  ).toEqual([
    [64, 1, 49407],
    [128, 2, 0],
  ]);
  expect(base.unet.additionEmbed).toEqual({ timeEmbedDim: 32, inputDim: 320 });
});

describe("what a file was trained from", () => {
  async function lineageOf(name: string, metadata: Readonly<Record<string, string>> = {}, markers: readonly string[] = []) {
    const path = await writeSingleFile(inside(`${name}.safetensors`), "sdxl", {
      metadata,
      change: (tensors) => [...tensors, ...markers.map(vector)],
    });
    const { lineage, schedule, notes } = await openBase(path, options);
    await rm(path);
    const { predictionType, zeroTerminalSnr, timestepSpacing } = schedule;
    return { lineage: lineage.name, reason: lineage.reason, predictionType, zeroTerminalSnr, timestepSpacing, note: notes[0] };
  }

  test("is told by its name", async () => {
    expect(await lineageOf("waiNSFWIllustrious_v140")).toMatchObject({ lineage: "illustrious", reason: "its name says so" });
    expect(await lineageOf("ponyDiffusionV6XL")).toMatchObject({ lineage: "pony", predictionType: "epsilon" });
    expect(await lineageOf("ponytail-style")).toMatchObject({ lineage: "sdxl" });
  });

  test("is told by its metadata before its name", async () => {
    expect(await lineageOf("pony", { "modelspec.title": "NoobAI-XL Epsilon-pred 1.1" })).toMatchObject({
      lineage: "noobai",
      reason: "its metadata says so (modelspec.title)",
      predictionType: "epsilon",
    });
  });

  test("v_pred and ztsnr mark velocity on a schedule that ends in pure noise", async () => {
    const found = await lineageOf("some-merge", {}, ["v_pred", "ztsnr"]);
    expect(found).toMatchObject({ predictionType: "v_prediction", zeroTerminalSnr: true, timestepSpacing: "trailing" });
    expect(found.note).toContain(
      "It predicts velocity on a schedule that ends in pure noise: the file holds the tensors v_pred and ztsnr.",
    );
    expect(await lineageOf("some-merge", {}, ["v_pred"])).toMatchObject({
      predictionType: "v_prediction",
      zeroTerminalSnr: false,
    });
    expect(await lineageOf("x", { "modelspec.prediction_type": "v" })).toMatchObject({ predictionType: "v_prediction" });
  });

  test("is what the user says, within the family", async () => {
    expect((await openBase(sd15, { ...options, lineage: "sd15-anime" })).lineage.name).toBe("sd15-anime");
    expect((await openBase(sdxl, { ...options, lineage: "noobai-vpred" })).schedule.zeroTerminalSnr).toBe(true);
    expect(await refusal(sd15, { ...options, lineage: "pony" })).toBe(
      "model.safetensors is Stable Diffusion 1.5 by its keys, which pony is not.",
    );
  });
});

test("averaged weights are left aside and said to be; buffers of the training code need no words; other keys are named", async () => {
  const path = await writeSingleFile(inside("full.safetensors"), "sd15", {
    metadata: { "modelspec.resolution": "768x768" },
    change: (tensors) => [
      ...tensors,
      ...["model_ema.diffusion_modelinput_blocks00weight", "model_ema.decay", "alphas_cumprod", "extra"].map(vector),
      vector("cond_stage_model.transformer.text_model.embeddings.position_ids"),
    ],
  });
  const { notes, nativeResolutionPx } = await openBase(path, options);
  expect(nativeResolutionPx).toBe(768);
  expect(notes.slice(1)).toEqual([
    "The averaged weights of training (1 tensors model_ema.*) are not used; the others are.",
    "1 tensor of the file not used: extra.",
  ]);
});

describe("a VAE", () => {
  test("that is missing can be given besides, under either naming", async () => {
    const all = await listFileTensors("sd15");
    const without = await writeTensors(
      inside("without.safetensors"),
      all.filter((tensor) => !isVae(tensor)),
    );
    expect(await refusal(without)).toBe("FILE lacks a VAE: no key begins with first_stage_model.encoder.");
    const alone = all.filter(isVae).map((tensor) => ({ ...tensor, key: tensor.key.replace("first_stage_model.", "") }));
    const vaeFile = await writeTensors(inside("vae.safetensors"), alone, { dtype: "F32" });
    const base = await openBase(without, { ...options, vaeFile });
    expect(base.weights.get("vae.encoder.conv_in.weight")?.source).toMatchObject({
      path: vaeFile,
      key: "encoder.conv_in.weight",
    });
    expect(base.hashes.vaeFile).toBe(
      createHash("sha256")
        .update(await readFile(vaeFile))
        .digest("hex"),
    );
    expect(base.notes).toContain("The VAE is that of vae.safetensors.");
    // A whole model has one too.
    const other = await openBase(without, { ...options, vaeFile: sd15 });
    expect(other.weights.get("vae.encoder.conv_in.weight")?.source.path).toBe(sd15);
    expect(other.hashes.vae).not.toBe(base.hashes.vae);
    expect(await refusal(vaeFile)).toBe("FILE is a VAE alone.");
  });

  test("that is none is refused", async () => {
    const vaeFile = await writeTensors(inside("novae.safetensors"), [vector("a")]);
    expect(await refusal(sd15, { ...options, vaeFile })).toBe(`${vaeFile} holds no VAE of Stable Diffusion's kind.`);
  });
});

describe("a damaged file is refused by the key as the file has it", () => {
  test("when a weight is missing, also one that Gesso would take apart", async () => {
    const drop = (key: string) => refusalOfChanged((tensors) => tensors.filter((tensor) => tensor.key !== key));
    expect(await drop("model.diffusion_model.out.0.bias")).toBe("FILE lacks model.diffusion_model.out.0.bias [32].");
    const fused = "conditioner.embedders.1.model.transformer.resblocks.2.attn.in_proj_weight";
    const path = await writeSingleFile(inside("fused.safetensors"), "sdxl", {
      change: (tensors) => tensors.filter(({ key }) => key !== fused),
    });
    expect(await refusal(path)).toBe(`FILE lacks ${fused} [384, 128], and 2 more.`);
  });

  test("when a weight has another shape, or is quantised", async () => {
    const key = "model.diffusion_model.middle_block.0.in_layers.2.weight";
    const change = (other: Partial<FileTensorToWrite>) =>
      refusalOfChanged((tensors) => tensors.map((tensor) => (tensor.key === key ? { ...tensor, ...other } : tensor)));
    expect(await change({ shape: [64, 32, 3, 3] })).toBe(
      `FILE: ${key} is [64, 32, 3, 3]; to fit the rest of the file it must be [64, 64, 3, 3].`,
    );
    expect(await change({ dtype: "U8" })).toBe(
      `FILE: ${key} is stored as U8, in which weights are quantised; Gesso reads float weights.`,
    );
  });

  test("when a weight is not a number, as it is loaded", async () => {
    const key = "model.diffusion_model.time_embed.0.weight";
    const spoil = (tensors: FileTensorToWrite[]): FileTensorToWrite[] =>
      tensors.map((tensor) => {
        if (tensor.key !== key) return tensor;
        const values = new Float32Array(sizeOf(tensor.shape));
        values[5] = NaN;
        return { ...tensor, values };
      });
    const path = await writeSingleFile(inside("nan.safetensors"), "sd15", { change: spoil });
    const weight = (await openBase(path, options)).weights.get("unet.time_embedding.linear_1.weight");
    if (!weight) throw new Error("the weight is needed");
    const loading = readFileRange(weight.source, new Float32Array(sizeOf(weight.shape)), "unet.time_embedding.linear_1.weight");
    await expect(loading).rejects.toThrow(`${path}: ${key} holds NaN at position 5, which is no weight.`);
  });

  test("when its widths are no Stable Diffusion's", async () => {
    const thin = (shape: readonly number[]) => ({ key: "model.diffusion_model.input_blocks.1.0.out_layers.3.weight", shape });
    const found = await refusalOfChanged((tensors) =>
      tensors.map((tensor) => (tensor.key === thin([]).key ? thin([24, 24, 3, 3]) : tensor)),
    );
    // The second block of the stage is what counts; the first then does not fit it.
    expect(found).toMatch(/^FILE: model\.diffusion_model\.input_blocks\.1\.0\.out_layers\.3\.weight is \[24, 24, 3, 3\]; /);
  });
});

test.each([
  ["a LoRA, not a base model", "lora_unet_input_blocks_4_1_proj_in.lora_down.weight"],
  ["a LoRA, not a base model", "unet.conv_in.lora_A.weight"],
  ["a LoRA, not a base model", "lora_unet_conv_in.hada_w1_a"],
  ["Flux.1, another architecture", "model.diffusion_model.double_blocks.0.img_attn.qkv.weight"],
  ["Stable Diffusion 3, another architecture", "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"],
  ["Stable Diffusion 2, whose text encoder is another one", "cond_stage_model.model.ln_final.weight"],
  ["the SDXL refiner", "conditioner.embedders.0.model.ln_final.weight"],
  ["a ControlNet", "control_model.time_embed.0.weight"],
  ["a textual inversion embedding", "emb_params"],
  ["a model with quantised weights (scaled float8, int8 or NF4)", "scaled_fp8"],
])("a file is refused as %s by %s", async (what, key) => {
  expect(await refusalOf("other", [vector(key)])).toBe(`FILE is ${what} (it holds ${key}).`);
});

test.each([
  ["a UNet alone", ["input_blocks.0.0.weight"]],
  ["a UNet alone", ["down_blocks.0.resnets.0.conv1.weight"]],
  ["a text encoder alone", ["text_model.final_layer_norm.weight"]],
  ["no model that Gesso knows (its tensors: a, b, c, ...)", ["a", "b", "c", "d"]],
  ["no model that Gesso knows (it holds no tensors)", []],
])("a file is refused as %s", async (what, keys) => {
  expect(await refusalOf("part", keys.map(vector))).toBe(`FILE is ${what}.`);
});

test("a model without text encoders, or for inpainting, is refused by that", async () => {
  expect(await refusalOf("bare", [{ key: CONV_IN, shape: [32, 4, 3, 3] }])).toBe(
    "FILE lacks a text encoder: no key begins with cond_stage_model.transformer.",
  );
  expect(await refusalOf("inpaint", [{ key: CONV_IN, shape: [32, 9, 3, 3] }])).toBe(
    `FILE is an inpainting model: ${CONV_IN} is [32, 9, 3, 3], not [.., 4, 3, 3].`,
  );
});

test("keys of two models in one file are refused with a key of each", async () => {
  const clip = "cond_stage_model.transformer.text_model.final_layer_norm.weight";
  const added = "model.diffusion_model.label_emb.0.0.weight";
  expect(await refusalOf("mixed", [vector(clip), vector(added)])).toBe(
    `FILE mixes two models: ${clip} is of SD 1.5, ${added} of SDXL.`,
  );
  const second = "conditioner.embedders.1.model.ln_final.weight";
  expect(await refusalOf("mixed", [vector(CONV_IN), vector(second)])).toBe(
    `FILE mixes two models: ${CONV_IN} is of SD 1.5, ${second} of SDXL.`,
  );
});

test.each([
  ["model.ckpt", "", "a pickle, which can run any code when it is opened"],
  [
    "zip.safetensors",
    "PK\x03\x04 and the rest",
    "a zip file with a pickle, which can run any code when it is opened, as PyTorch saves models",
  ],
  ["pickle.safetensors", "\x80\x02}q\x00(X\x05\x00", "a pickle, which can run any code when it is opened"],
  ["model.gguf", "GGUF\x03\x00\x00\x00", "a GGUF file, whose weights are quantised"],
  ["page.safetensors", "<!DOCTYPE html><html>", "a web page: a download that failed"],
])("%s is refused before it is opened", async (name, bytes, what) => {
  await writeFile(inside(name), Buffer.from(bytes, "latin1"));
  expect(await refusal(inside(name))).toBe(`FILE is ${what}.`);
});

test("a path with nothing there, and a variant of a single file, are refused", async () => {
  expect(await refusal(inside("nowhere.safetensors"))).toBe("There is no base model at FILE.");
  expect(await refusal(sd15, { ...options, variant: "fp16" })).toBe(
    "FILE is a single file, which has no variants such as fp16.",
  );
});
