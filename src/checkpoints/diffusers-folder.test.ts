/** Opening base models: what is found, and what each kind of damage is called. */
import { cp, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openSafetensors, readTensor, type TensorToWrite, writeSafetensors } from "../formats/safetensors.ts";
import { writeToyBase } from "../../test/toy-base.ts";
import { openBase } from "./open-base.ts";

let folder = "";
let sdxl = "";
const options = { hashCacheFile: undefined };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-base-"));
  sdxl = await writeToyBase(join(folder, "sdxl"), "sdxl");
});
afterAll(() => rm(folder, { recursive: true }));

/** A copy of the toy base to be damaged. */
async function copy(name: string): Promise<string> {
  const path = join(folder, name);
  await cp(sdxl, path, { recursive: true });
  return path;
}

async function rewrite(path: string, change: (tensors: TensorToWrite[]) => TensorToWrite[]): Promise<void> {
  const file = await openSafetensors(path);
  const tensors: TensorToWrite[] = [];
  for (const { name, shape } of file.tensors.values())
    tensors.push({ name, dtype: "F32", shape, data: await readTensor(file, name) });
  await writeSafetensors(path, change(tensors));
}

const unetFile = (base: string): string => join(base, "unet", "diffusion_pytorch_model.safetensors");

test("an SDXL folder has two text encoders, and each weight points at its bytes", async () => {
  const base = await openBase(sdxl, options);
  expect(base).toMatchObject({ name: "sdxl", family: "sdxl", pixelsPerLatent: 2, nativeResolutionPx: 32, notes: [] });
  expect(base.textEncoders.map(({ name }) => name)).toEqual(["text_encoder", "text_encoder_2"]);
  const weight = base.weights.get("unet.conv_in.weight");
  const entry = (await openSafetensors(unetFile(sdxl))).tensors.get("conv_in.weight");
  expect(weight?.shape).toEqual([16, 4, 3, 3]);
  expect(weight?.source).toMatchObject({
    path: unetFile(sdxl),
    offset: entry?.offset,
    byteLength: entry?.byteLength,
    storedDtype: "F32",
  });
});

test("an SD 1.5 folder has one text encoder", async () => {
  const base = await openBase(await writeToyBase(join(folder, "sd15"), "sd15"), options);
  expect(base.family).toBe("sd15");
  expect(base.textEncoders).toHaveLength(1);
});

test("the hash changes with a weight, and only that of its component and the whole", async () => {
  const path = await copy("other-vae");
  await rewrite(join(path, "vae", "diffusion_pytorch_model.safetensors"), (tensors) =>
    tensors.map((tensor, i) => (i === 0 ? { ...tensor, data: tensor.data.map(() => 1) } : tensor)),
  );
  const [before, after] = [(await openBase(sdxl, options)).hashes, (await openBase(path, options)).hashes];
  expect(after.vae).not.toBe(before.vae);
  expect(after.unet).toBe(before.unet);
  expect(after.all).not.toBe(before.all);
});

test("hashes are remembered in a file by size and time of change", async () => {
  const hashCacheFile = join(folder, "hashes", "files.json");
  const first = await openBase(sdxl, { hashCacheFile });
  const kept = JSON.parse(await readFile(hashCacheFile, "utf8")) as Record<string, { sha256: string }>;
  expect(Object.keys(kept)).toContain(unetFile(sdxl));
  expect((await openBase(sdxl, { hashCacheFile })).hashes).toEqual(first.hashes);
});

test("a missing weight is named with its shape", async () => {
  const path = await copy("missing");
  await rewrite(unetFile(path), (tensors) => tensors.filter(({ name }) => name !== "conv_out.weight"));
  await expect(openBase(path, options)).rejects.toThrow(/lacks conv_out\.weight \[4, 16, 3, 3\]\.$/);
});

test("a misshapen weight is named with the shape it has and the shape it must have", async () => {
  const path = await copy("misshapen");
  await rewrite(unetFile(path), (tensors) =>
    tensors.map((tensor) => (tensor.name === "conv_out.bias" ? { ...tensor, shape: [5], data: new Float32Array(5) } : tensor)),
  );
  await expect(openBase(path, options)).rejects.toThrow(/conv_out\.bias is \[5\]; by its config\.json it must be \[4\]/);
});

test("keys that nothing needs are noted, not refused", async () => {
  const path = await copy("extra");
  await rewrite(unetFile(path), (tensors) => [
    ...tensors,
    { name: "extra", dtype: "F32", shape: [1], data: new Float32Array(1) },
  ]);
  expect((await openBase(path, options)).notes).toEqual(["1 tensor of unet not used: extra."]);
});

test("a text encoder whose keys lack text_model., as transformers 5 writes them, is the same model", async () => {
  const path = await copy("short-keys");
  await rewrite(join(path, "text_encoder", "model.safetensors"), (tensors) =>
    tensors.map((tensor) => ({ ...tensor, name: tensor.name.replace(/^text_model\./, "") })),
  );
  const [base, original] = [await openBase(path, options), await openBase(sdxl, options)];
  expect(base.notes).toEqual([]);
  expect([...base.weights.keys()].sort()).toEqual([...original.weights.keys()].sort());
});

test("a float16 variant is found where the full one is not", async () => {
  const path = await copy("fp16");
  await rename(unetFile(path), join(path, "unet", "diffusion_pytorch_model.fp16.safetensors"));
  expect((await openBase(path, options)).weights.has("unet.conv_in.weight")).toBe(true);
});

test("pickles and single files are refused, each with what to do", async () => {
  await writeFile(join(folder, "model.ckpt"), "");
  await writeFile(join(folder, "model.safetensors"), "");
  await expect(openBase(join(folder, "model.ckpt"), options)).rejects.toThrow(/is a pickle/);
  await expect(openBase(join(folder, "model.safetensors"), options)).rejects.toMatchObject({
    fix: expect.stringContaining("save_pretrained") as string,
  });
  const path = await copy("bin");
  await rename(unetFile(path), join(path, "unet", "diffusion_pytorch_model.bin"));
  await expect(openBase(path, options)).rejects.toThrow(/has only diffusion_pytorch_model\.bin, a pickle/);
});

test("a folder without model_index.json, and a path with nothing there, are refused", async () => {
  await expect(openBase(join(folder, "nowhere"), options)).rejects.toThrow(/There is no base model at/);
  await expect(openBase(join(sdxl, "unet"), options)).rejects.toThrow(/has no model_index\.json/);
});

test("a pipeline of another kind is refused by name", async () => {
  const path = await copy("flux");
  await writeFile(join(path, "model_index.json"), JSON.stringify({ _class_name: "FluxPipeline" }));
  await expect(openBase(path, options)).rejects.toThrow(/FluxPipeline, which Gesso cannot train on yet/);
});

test("a tokenizer with more tokens than the text encoder has rows is refused", async () => {
  const path = await copy("tokens");
  const vocabulary = join(path, "tokenizer", "vocab.json");
  const known = JSON.parse(await readFile(vocabulary, "utf8")) as Record<string, number>;
  await writeFile(vocabulary, JSON.stringify({ ...known, more: 500 }));
  await expect(openBase(path, options)).rejects.toThrow(/ids up to 500, but the text encoder has 84/);
});
