/** Single files and diffusers folders against diffusers' numbers: the same model in both forms, in every float type. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type BaseModel, withClipSkip } from "../../src/checkpoints/base.ts";
import { openBase } from "../../src/checkpoints/open-base.ts";
import { buildTextEncoding, buildVaeDecoding, buildVaeEncoding } from "../../src/checkpoints/conditioning.ts";
import { createSchedule } from "../../src/diffusion/schedule.ts";
import { spacedTimesteps } from "../../src/diffusion/samplers/sigmas.ts";
import type { TensorData } from "../../src/engines/engine.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { openSafetensors, readTensor } from "../../src/formats/safetensors.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { readClipVocabulary } from "../../src/checkpoints/clip-vocabulary.ts";
import { buildDenoiser } from "../../src/trainer/denoiser.ts";
import { textFeeds } from "../../src/trainer/encode.ts";
import { createWeightStore } from "../../src/trainer/weights.ts";
import { fixtureFolder, type SingleFileFamily, type StoredDtype, writeSameFolder, writeSingleFile } from "../single-file.ts";
import { expectOutput, tensorOf, type Tensors } from "./fixture.ts";

const options = { hashCacheFile: undefined };
let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-single-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function readCase(family: SingleFileFamily): Promise<Tensors> {
  const file = await openSafetensors(join(fixtureFolder(family), "case.safetensors"));
  const entries = [...file.tensors.values()].map(
    async ({ name, shape }) => [name, { shape, data: await readTensor(file, name) }] as const,
  );
  return new Map(await Promise.all(entries));
}

/** Text, noise prediction and both ways of the VAE, on the base's weights as they lie in its files. */
async function compute(base: BaseModel, stored: Tensors): Promise<Readonly<Record<string, TensorData | undefined>>> {
  const engine = await createOrtEngine({ threads: 1 });
  try {
    const weights = createWeightStore(engine, base);
    const run = async (graph: Graph, feeds: Readonly<Record<string, TensorData>>) =>
      (await weights.compile(graph, "parity")).run(feeds);
    const copy = (name: string): Float32Array => tensorOf(stored, name).data.slice();
    const ids = ["input_ids", "input_ids_2"].flatMap((name) => (stored.has(name) ? [Int32Array.from(copy(name))] : []));
    const text = await run(buildTextEncoding(base, 1), textFeeds(base, ids));
    const shape = { batch: 1, height: 8, width: 8 };
    const added = stored.has("pooled") ? { pooled: copy("pooled"), timeIds: copy("time_ids") } : {};
    const { prediction } = await run(buildDenoiser(base, { shape, adapters: [], text: "embeddings" }), {
      noisyLatents: copy("latents"),
      timesteps: copy("timesteps"),
      textEmbeddings: copy("text_embeddings"),
      ...added,
    });
    const { latents: encoded } = await run(buildVaeEncoding(base, 1, 32, 32), { pixels: copy("picture") });
    const { pixels: decoded } = await run(buildVaeDecoding(base, 1, 8, 8), { latents: copy("latents") });
    return { text_embeddings: text.textEmbeddings, pooled: text.pooled, prediction, encoded, decoded };
  } finally {
    await engine.dispose();
  }
}

async function expectDiffusers(base: BaseModel, stored: Tensors): Promise<void> {
  const outputs = await compute(base, stored);
  for (const [name, data] of Object.entries(outputs)) {
    if (!stored.has(name)) expect(data).toBeUndefined();
    else expectOutput(data, tensorOf(stored, name).data);
  }
}

describe.each(["sd15", "sdxl"] as const)("a single file of %s", (family) => {
  let stored: Tensors;
  beforeAll(async () => {
    stored = await readCase(family);
  });

  test.each(["F32", "F16", "BF16", "F8_E4M3"] as const)("in %s gives diffusers' numbers", async (dtype: StoredDtype) => {
    const path = await writeSingleFile(join(folder, `${family}-${dtype}.safetensors`), family, { dtype });
    await expectDiffusers(await openBase(path, options), stored);
    await rm(path);
  });

  test("has the configurations that diffusers' folder of the same model has, and both give its numbers", async () => {
    const path = await writeSameFolder(join(folder, family), family);
    await writeTokenizers(path, family);
    const fromFolder = await openBase(path, options);
    await expectDiffusers(fromFolder, stored);
    const file = await writeSingleFile(join(folder, `${family}.safetensors`), family);
    const fromFile = await openBase(file, options);
    expect(fromFile.unet).toEqual(fromFolder.unet);
    expect(fromFile.vae).toEqual(fromFolder.vae);
    expect(fromFile.textEncoders.map(({ config }) => config)).toEqual(fromFolder.textEncoders.map(({ config }) => config));
    expect([...fromFile.weights.keys()].sort()).toEqual([...fromFolder.weights.keys()].sort());
    const caption = "a red apple!, ünïcode";
    for (const [i, { tokenizer }] of fromFile.textEncoders.entries())
      expect(tokenizer.encode(caption).ids).toEqual(fromFolder.textEncoders[i]?.tokenizer.encode(caption).ids);
  });
});

async function writeTokenizers(path: string, family: SingleFileFamily): Promise<void> {
  const { vocab, merges } = await readClipVocabulary();
  for (const [name, pad_token] of family === "sdxl"
    ? [
        ["tokenizer", "<|endoftext|>"],
        ["tokenizer_2", "!"],
      ]
    : [["tokenizer", "<|endoftext|>"]]) {
    const inside = join(path, name ?? "");
    await mkdir(inside, { recursive: true });
    await writeFile(join(inside, "vocab.json"), JSON.stringify(vocab));
    await writeFile(join(inside, "merges.txt"), `#version: 0.2\n${merges}`);
    await writeFile(join(inside, "tokenizer_config.json"), JSON.stringify({ pad_token, model_max_length: 77 }));
  }
}

test("clip skip 2 of SD 1.5 is the final norm of the layer before the last, as A1111 and sd-scripts have it", async () => {
  const stored = await readCase("sd15");
  const path = await writeSingleFile(join(folder, "skip.safetensors"), "sd15");
  const base = withClipSkip(await openBase(path, options), 2);
  const engine = await createOrtEngine({ threads: 1 });
  const executable = await createWeightStore(engine, base).compile(buildTextEncoding(base, 1), "text");
  const { textEmbeddings } = await executable.run(textFeeds(base, [Int32Array.from(tensorOf(stored, "input_ids").data)]));
  await engine.dispose();
  expectOutput(textEmbeddings, tensorOf(stored, "skipped_text_embeddings").data);
});

test("a schedule that ends in pure noise, and the timesteps that it is sampled at, are diffusers'", async () => {
  interface ZeroSnr {
    readonly timesteps: readonly number[];
    readonly alphasCumprod: readonly number[];
    readonly trailing: readonly number[];
  }
  const path = join(import.meta.dirname, "fixtures", "zero-snr", "case.json");
  const { timesteps, alphasCumprod, trailing } = JSON.parse(await readFile(path, "utf8")) as ZeroSnr;
  const stableDiffusion = { predictionType: "v_prediction", trainTimesteps: 1000, betaStart: 0.00085, betaEnd: 0.012 } as const;
  const schedule = createSchedule({ ...stableDiffusion, zeroTerminalSnr: true, timestepSpacing: "trailing" });
  timesteps.forEach((timestep, i) => {
    // diffusers multiplies float32 betas up: about 1e-6 of each is rounding.
    expect(schedule.alphasCumprod[timestep]).toBeCloseTo(alphasCumprod[i] ?? NaN, 5);
  });
  expect(schedule.alphasCumprod.at(-1)).toBe(0);
  expect([...spacedTimesteps(schedule, 10)]).toEqual(trailing);
});
