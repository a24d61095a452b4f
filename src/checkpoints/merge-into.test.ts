import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { randomModules, type RandomLayers, writeRandomAdapter } from "../../test/random-adapter.ts";
import { writeSingleFile } from "../../test/single-file.ts";
import { writeToyBase } from "../../test/toy-base.ts";
import { copySafetensors } from "../formats/safetensors-copy.ts";
import { openSafetensors, readTensor, writeSafetensors } from "../formats/safetensors.ts";
import { addProduct } from "../lora/matrix.ts";
import { readAdapter } from "../lora/read.ts";
import type { BaseModel } from "./base.ts";
import { extractAdapter } from "./extract-adapter.ts";
import { mergeIntoBase } from "./merge-into.ts";
import { openBase } from "./open-base.ts";
import { readBaseWeight } from "./read-weight.ts";

let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "gesso-merge-into-"));
});
afterAll(() => rm(root, { recursive: true }));
const inside = (...name: string[]): string => join(root, ...name);
const open = (path: string): Promise<BaseModel> => openBase(path, { hashCacheFile: undefined });

/** A linear layer, a convolution, both text encoders, a third of a fused matrix, and the projection that single files hold transposed. */
const layers: RandomLayers = {
  "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q": [4, 2],
  "unet.mid_block.resnets.0.conv1": [2, 2],
  "text_encoder.text_model.encoder.layers.0.self_attn.v_proj": [2, 2],
  "text_encoder_2.text_model.encoder.layers.0.self_attn.k_proj": [2, 3],
  "text_encoder_2.text_projection": [2, 2],
};

/** The largest distance of a merged weight from base + 0.5 x delta, as a share of its largest number. */
async function worstOf(base: BaseModel, merged: BaseModel): Promise<number> {
  let worst = 0;
  for (const { path, rank, alpha, up, down } of randomModules(base, layers, 1)) {
    const wanted = await readBaseWeight(base, `${path}.weight`);
    const rows = up.shape[0] ?? 1;
    const columns = wanted.length / rows;
    addProduct({ rows, columns, data: wanted }, { rows, columns: rank, data: up.data }, { rows: rank, columns, data: down.data }, (0.5 * alpha) / rank); // prettier-ignore
    const got = await readBaseWeight(merged, `${path}.weight`);
    worst = Math.max(worst, distance(wanted, got) / distance(wanted, new Float32Array(wanted.length)));
  }
  return worst;
}

/** The largest difference of two numbers. */
function distance(a: Float32Array, b: Float32Array): number {
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (b[i] ?? NaN))), 0);
}

/** The header's text, and the bytes after it. */
async function split(path: string): Promise<{ header: string; data: Buffer }> {
  const bytes = await readFile(path);
  const length = Number(bytes.readBigUInt64LE(0));
  return { header: bytes.subarray(8, 8 + length).toString("utf8"), data: bytes.subarray(8 + length) };
}

describe("into a single file", () => {
  let base: BaseModel;
  let adapter = "";
  beforeAll(async () => {
    base = await open(await writeSingleFile(inside("base.safetensors"), "sdxl", { dtype: "F16", metadata: { note: "kept" } }));
    adapter = await writeRandomAdapter(inside("adapter.safetensors"), base, layers);
  }, 60_000);
  const merge = (out: string, change = {}) =>
    mergeIntoBase({ base, adapters: [{ path: adapter, weight: 0.5 }], out: inside(out), ...change });

  test("adds to the named weights, fused and transposed ones too, and keeps the header and every other byte", async () => {
    const report = await merge("merged.safetensors");
    expect(await worstOf(base, await open(inside("merged.safetensors")))).toBeLessThan(2 ** -11);
    const [before, after] = [await split(inside("base.safetensors")), await split(inside("merged.safetensors"))];
    expect(after.header).toBe(before.header);
    expect(after.data.length).toBe(before.data.length);
    expect(after.data.equals(before.data)).toBe(false);
    // With the changed ranges put back, the bytes are those of the base.
    const start = 8 + before.header.length;
    for (const path of Object.keys(layers)) {
      const { offset = 0, byteLength = 0 } = base.weights.get(`${path}.weight`)?.source ?? {};
      before.data.copy(after.data, offset - start, offset - start, offset - start + byteLength);
    }
    expect(after.data.equals(before.data)).toBe(true);
    expect(report).toMatchObject({ form: "file", changedWeights: 5, bytes: after.data.length + 8 + after.header.length });
  });

  test("in another type, keeps keys, order and metadata, and rounds to nearest", async () => {
    await merge("brain.safetensors", { dtype: "bfloat16" });
    const [before, after] = [
      await openSafetensors(inside("base.safetensors")),
      await openSafetensors(inside("brain.safetensors")),
    ];
    expect([...after.tensors.keys()]).toEqual([...before.tensors.keys()]);
    expect(after.metadata).toEqual({ note: "kept" });
    expect(new Set([...after.tensors.values()].map(({ dtype }) => dtype))).toEqual(new Set(["BF16"]));
    expect(await worstOf(base, await open(inside("brain.safetensors")))).toBeLessThan(2 ** -8);
  });

  test.each([
    ["the base itself", "base.safetensors", {}, "is the base model itself"],
    ["a file that is there", "adapter.safetensors", {}, "is there already"],
    ["another ending", "merged.ckpt", {}, "does not end in .safetensors"],
    ["a folder that is not there", "none/merged.safetensors", {}, "its folder does not exist"],
  ])("refuses as output %s, and changes nothing", async (_, out, change, message) => {
    const before = (await stat(inside("base.safetensors"))).mtimeMs;
    await expect(merge(out, change)).rejects.toThrow(message);
    expect((await stat(inside("base.safetensors"))).mtimeMs).toBe(before);
    expect((await readdir(root)).filter((name) => name.includes(".tmp"))).toEqual([]);
  });

  test("leaves nothing when a number does not fit, or it is stopped", async () => {
    await expect(merge("bad.safetensors", { dtype: "float16", adapters: [{ path: adapter, weight: 1e9 }] })).rejects.toThrow("float16 ends at 65504"); // prettier-ignore
    const stop = new AbortController();
    const onProgress = (done: number): void => void (done === 2 && stop.abort());
    await expect(merge("bad.safetensors", { signal: stop.signal, onProgress })).rejects.toThrow("aborted");
    expect((await readdir(root)).filter((name) => name.includes("bad") || name.includes(".tmp"))).toEqual([]);
  });
});

describe("into a diffusers folder", () => {
  const own: RandomLayers = {
    "unet.down_blocks.1.attentions.0.proj_in": [3, 1],
    "text_encoder.text_model.encoder.layers.1.mlp.fc2": [2, 2],
  };
  let base: BaseModel;
  let adapter = "";
  beforeAll(async () => {
    base = await open(await writeToyBase(inside("folder"), "sd15"));
    adapter = await writeRandomAdapter(inside("folder-adapter.safetensors"), base, own);
    await writeFile(inside("folder", "unet", "diffusion_pytorch_model.bin"), "a pickle");
    await writeFile(inside("folder", "README.md"), "a card");
    await mkdir(inside("folder", "safety_checker"));
    await writeFile(inside("folder", "safety_checker", "model.safetensors"), "of another network");
  });

  test("writes a whole folder, in which only the adapted weights differ", async () => {
    const report = await mergeIntoBase({ base, adapters: [{ path: adapter, weight: 1 }], out: inside("merged") });
    expect(report).toMatchObject({ form: "folder", changedWeights: 2, leftOut: [join("unet", "diffusion_pytorch_model.bin")] });
    const merged = await open(inside("merged"));
    const changed: string[] = [];
    for (const name of base.weights.keys()) {
      const [a, b] = [await readBaseWeight(base, name), await readBaseWeight(merged, name)];
      if (a.some((value, i) => value !== b[i])) changed.push(name);
    }
    expect(changed.sort()).toEqual(Object.keys(own).map((path) => `${path}.weight`).sort()); // prettier-ignore
    for (const name of ["README.md", "model_index.json", "safety_checker/model.safetensors", "tokenizer/vocab.json", "vae/diffusion_pytorch_model.safetensors"])
      expect((await readFile(inside("merged", name))).equals(await readFile(inside("folder", name))), name).toBe(true); // prettier-ignore
  });

  test("extracting the difference gives the adapter's change back", async () => {
    const tuned = await open(inside("merged"));
    const report = await extractAdapter({ tuned, base, out: inside("extracted.safetensors"), choice: { rank: 8 }, targets: "locon", dtype: "float32", version: "0.0.0" }); // prettier-ignore
    expect(report).toMatchObject({ layers: 2, notes: [] });
    expect(report.parts.map(({ keptEnergy }) => keptEnergy > 1 - 1e-6)).toEqual([true, true]);
    const modules = new Map(
      (await readAdapter(inside("extracted.safetensors"), base)).modules.map((module) => [module.path, module]),
    );
    for (const { path, rank, alpha, up, down } of randomModules(base, own, 1)) {
      const [wanted, got] = [{ rank, alpha, up, down }, modules.get(path)].map((module) => {
        const [rows, columns] = [up.shape[0] ?? 0, down.data.length / rank];
        const into = { rows, columns, data: new Float32Array(rows * columns) };
        if (!module) return into.data;
        addProduct(into, { rows, columns: module.rank, data: module.up.data }, { rows: module.rank, columns, data: module.down.data }, module.alpha / module.rank);
        return into.data;
      }); // prettier-ignore
      // As near as float32 holds the sum of the weight and the change.
      expect(distance(wanted ?? new Float32Array(), got ?? new Float32Array())).toBeLessThan(1e-6);
      expect(distance(wanted ?? new Float32Array(), new Float32Array(wanted?.length ?? 0))).toBeGreaterThan(0.01);
    }
    const { metadata } = await openSafetensors(inside("extracted.safetensors"));
    expect(metadata).toMatchObject({
      ss_base_model_version: "sd_v1",
      ss_sd_model_name: "folder",
      ss_training_comment: "extracted by Gesso: merged less folder, reduced to at most rank 8",
    });
  });

  test("leaves no folder when it fails, and never writes into one that is there", async () => {
    const bad = mergeIntoBase({ base, adapters: [{ path: adapter, weight: 1e30 }], out: inside("failed"), dtype: "float16" });
    await expect(bad).rejects.toThrow("float16 ends at 65504");
    await expect(mergeIntoBase({ base, adapters: [{ path: adapter, weight: 1 }], out: inside("folder", "unet"), overwrite: true })).rejects.toThrow("is there already"); // prettier-ignore
    expect((await readdir(root)).filter((name) => name.includes("failed"))).toEqual([]);
  });

  test("adds a LoHa, a norm's and a bias's change as they are", async () => {
    const path = inside("full.safetensors");
    const tensor = (name: string, shape: readonly number[], value: number) => ({ name, dtype: "F32", shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value) }) as const; // prettier-ignore
    await writeSafetensors(path, [
      tensor("lora_unet_conv_in.diff_b", [16], 0.5),
      tensor("lora_unet_conv_norm_out.w_norm", [16], 0.25),
      tensor("lora_unet_down_blocks_0_resnets_0_conv1.hada_w1_a", [16, 1], 1),
      tensor("lora_unet_down_blocks_0_resnets_0_conv1.hada_w1_b", [1, 144], 2),
      tensor("lora_unet_down_blocks_0_resnets_0_conv1.hada_w2_a", [16, 1], 1),
      tensor("lora_unet_down_blocks_0_resnets_0_conv1.hada_w2_b", [1, 144], 3),
    ]);
    await mergeIntoBase({ base, adapters: [{ path, weight: 2 }], out: inside("whole") });
    const merged = await open(inside("whole"));
    for (const [name, change] of [["unet.conv_in.bias", 1], ["unet.conv_norm_out.weight", 0.5], ["unet.down_blocks.0.resnets.0.conv1.weight", 12]] as const) {
      const before = await readBaseWeight(base, name);
      expect(await readBaseWeight(merged, name), name).toEqual(before.map((value) => value + change));
    }
  }); // prettier-ignore

  test("extracts nothing from a model that does not differ, and nothing from another shape", async () => {
    const shared = {
      out: inside("none.safetensors"),
      choice: { rank: 2 },
      targets: "locon",
      dtype: "float16",
      version: "0",
    } as const;
    await expect(extractAdapter({ ...shared, tuned: base, base })).rejects.toThrow("it would change nothing");
    const other = await open(await writeToyBase(inside("other"), "sdxl"));
    await expect(extractAdapter({ ...shared, tuned: other, base })).rejects.toThrow("is of family sdxl");
    await expect(extractAdapter({ ...shared, tuned: base, base, parts: ["text_encoder_2"] })).rejects.toThrow(
      "has no text_encoder_2",
    );
    expect((await readdir(root)).includes("none.safetensors")).toBe(false);
  });

  test("extracts only the parts that are asked for", async () => {
    const tuned = await open(inside("merged"));
    const report = await extractAdapter({ tuned, base, out: inside("part.safetensors"), choice: { energy: 0.99 }, parts: ["text_encoder"], targets: "locon", dtype: "float16", version: "0" }); // prettier-ignore
    expect(report.parts).toMatchObject([{ part: "text_encoder", layers: 1, greatestRank: 2 }]);
    const { tensors } = await openSafetensors(inside("part.safetensors"));
    expect([...tensors.keys()].every((name) => name.startsWith("lora_te_"))).toBe(true);
  });
});

test("a tensor that is copied in pieces stays what it was", async () => {
  const path = inside("large.safetensors");
  const data = new Float32Array(4_300_000).map((_, i) => i % 1009);
  await writeSafetensors(path, [{ name: "large", dtype: "F32", shape: [data.length], data }]);
  const file = await openSafetensors(path);
  await copySafetensors(file, inside("copy.safetensors"), []);
  expect((await readFile(inside("copy.safetensors"))).equals(await readFile(path))).toBe(true);
  await copySafetensors(file, inside("half-copy.safetensors"), [], "F16");
  const half = await readTensor(await openSafetensors(inside("half-copy.safetensors")), "large");
  expect(distance(half, data)).toBe(0);
});
