/** Single files and diffusers folders against diffusers' numbers: the same model in both forms, in every float type. */
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type BaseModel, plainText } from "../../src/checkpoints/base.ts";
import { openBase } from "../../src/checkpoints/open-base.ts";
import { buildTextEncoding, buildVaeDecoding, buildVaeEncoding } from "../../src/checkpoints/conditioning.ts";
import { createSchedule } from "../../src/diffusion/schedule.ts";
import { spacedTimesteps } from "../../src/diffusion/samplers/sigmas.ts";
import type { TensorData } from "../../src/engines/engine.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { readFileRange } from "../../src/engines/ort/file-range.ts";
import { openSafetensors, readTensor } from "../../src/formats/safetensors.ts";
import { type Graph, sizeOf } from "../../src/graph/graph.ts";
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
    const text = await run(buildTextEncoding(base, 1, plainText), textFeeds(base, ids, plainText));
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

/** SHA-256 of every weight but the vocabularies, as an engine would get it. */
async function hashWeights({ weights }: BaseModel): Promise<Readonly<Record<string, string>>> {
  const hashes: Record<string, string> = {};
  for (const [name, { shape, source }] of weights) {
    if (name.endsWith("token_embedding.weight")) continue;
    const target = new Float32Array(sizeOf(shape));
    await readFileRange(source, target, name);
    hashes[name] = createHash("sha256").update(target).digest("hex");
  }
  return hashes;
}

describe.each(["sd15", "sdxl"] as const)("a single file of %s", (family) => {
  let wide: BaseModel;
  let hashes: Readonly<Record<string, string>>;
  beforeAll(async () => {
    wide = await openBase(await writeSingleFile(join(folder, `${family}.safetensors`), family, { dtype: "F32" }), options);
    hashes = await hashWeights(wide);
  }, 120_000);

  test("gives diffusers' text embeddings, noise prediction, latents and pictures", async () => {
    const stored = await readCase(family);
    const outputs = await compute(wide, stored);
    for (const [name, data] of Object.entries(outputs)) {
      if (!stored.has(name)) expect(data).toBeUndefined();
      else expectOutput(data, tensorOf(stored, name).data);
    }
  });

  // All weights are whole numbers of three bits times powers of two, so that every type holds them exactly.
  test.each(["F16", "BF16", "F8_E4M3"] as const)("in %s holds the same weights", async (dtype: StoredDtype) => {
    const path = await writeSingleFile(join(folder, `${family}-${dtype}.safetensors`), family, {
      dtype,
      change: (tensors) =>
        tensors.map((tensor) => (tensor.key.includes("token_embedding") ? { ...tensor, dtype: "F16" } : tensor)),
    });
    expect(await hashWeights(await openBase(path, options))).toEqual(hashes);
  });

  test("has the configurations, the weights and the tokens of the diffusers folder of the same model", async () => {
    const path = await writeSameFolder(join(folder, family), family);
    await writeTokenizers(path, family);
    const base = await openBase(path, options);
    expect(base.unet).toEqual(wide.unet);
    expect(base.vae).toEqual(wide.vae);
    expect(base.textEncoders.map(({ config }) => config)).toEqual(wide.textEncoders.map(({ config }) => config));
    expect(await hashWeights(base)).toEqual(hashes);
    const caption = "a red apple!, ünïcode";
    for (const [i, { tokenizer }] of base.textEncoders.entries())
      expect(tokenizer.encode(caption).ids).toEqual(wide.textEncoders[i]?.tokenizer.encode(caption).ids);
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
  const path = join(folder, "sd15.safetensors");
  const base = await openBase(path, options);
  const form = { chunks: 1, clipSkip: 2 };
  const engine = await createOrtEngine({ threads: 1 });
  const executable = await createWeightStore(engine, base).compile(buildTextEncoding(base, 1, form), "text");
  const { textEmbeddings } = await executable.run(textFeeds(base, [Int32Array.from(tensorOf(stored, "input_ids").data)], form));
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
