/** Drawing: adapters of any number and strength, one compiled graph for all strengths, and interruptions. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openBase } from "../checkpoints/open-base.ts";
import type { BaseModel } from "../checkpoints/base.ts";
import { uniform } from "../diffusion/philox.ts";
import type { Engine } from "../engines/engine.ts";
import { createOrtEngine } from "../engines/ort/engine.ts";
import { openSafetensors, readTensor, writeSafetensors } from "../formats/safetensors.ts";
import { adapterBufferNames, adapterShapes, type AdapterSpec, strengthFeeds } from "../lora/inject.ts";
import { kohyaName } from "../lora/names.ts";
import { writeToyBase } from "../../test/toy-base.ts";
import { buildDenoiser } from "./denoiser.ts";
import { drawPictures, type PictureRequest } from "./sample-images.ts";
import { createWeightStore } from "./weights.ts";

let folder = "";
let base: BaseModel;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-draw-"));
  base = await openBase(await writeToyBase(join(folder, "base"), "sdxl"), { hashCacheFile: undefined });
  await writeLora("a.safetensors", 1, { rank: 4, layers: [unetLayer, textLayer] });
  await writeLora("twin.safetensors", 2, { rank: 4, layers: [unetLayer, textLayer] });
  await writeLora("unet.safetensors", 3, { rank: 2, layers: [unetLayer] });
});
afterAll(() => rm(folder, { recursive: true }));

const unetLayer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k";
const textLayer = "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj";
const file = (name: string): string => join(folder, name);

async function writeLora(
  name: string,
  seed: number,
  { rank, layers }: { rank: number; layers: readonly string[] },
): Promise<void> {
  const tensors = layers.flatMap((path, index) => {
    const shapes = adapterShapes(base.weights.get(`${path}.weight`)?.shape ?? [], rank);
    const key = kohyaName(path, base);
    return (["down", "up"] as const).map((part, i) => {
      const count = shapes[part].reduce((product, size) => product * size, 1);
      const data = uniform({ seed, purpose: "init", sample: 2 * index + i }, count).map((value) => value - 0.5);
      return { name: `${key}.lora_${part}.weight`, dtype: "F32", shape: shapes[part], data } as const;
    });
  });
  await writeSafetensors(file(name), tensors);
}

const shared: PictureRequest = {
  prompt: "a fox",
  negativePrompt: "",
  seed: 1,
  steps: 2,
  guidance: 3,
  sampler: "euler",
  widthPx: 32,
  heightPx: 32,
  loras: [],
};

/** The CPU engine, and the names of what was compiled on it. */
async function countingEngine(): Promise<{ engine: Engine; compiled: string[] }> {
  const engine = await createOrtEngine({ threads: 1 });
  const compiled: string[] = [];
  const compile = engine.compile.bind(engine);
  engine.compile = (graph, options) => {
    compiled.push(options.name);
    return compile(graph, options);
  };
  return { engine, compiled };
}

async function drawAll(
  changes: readonly Partial<PictureRequest>[],
): Promise<{ pictures: Uint8Array[]; compiled: string[]; order: number[] }> {
  const { engine, compiled } = await countingEngine();
  const pictures: Uint8Array[] = [];
  const order: number[] = [];
  const requests = changes.map((change) => ({ ...shared, ...change }));
  for await (const { index, pixels } of drawPictures({ base, createEngine: () => Promise.resolve(engine), requests })) {
    pictures[index] = pixels.data;
    order.push(index);
  }
  return { pictures, compiled, order };
}

const at = (name: string, weight: number) => ({ path: file(name), weight });
const largestDifference = (a: Uint8Array | undefined, b: Uint8Array | undefined): number =>
  Math.max(...(a ?? []).map((value, i) => Math.abs(value - (b?.[i] ?? NaN))));

describe("the strength as a feed", () => {
  test("gives the same bytes as a strength that is built in", async () => {
    const engine = await createOrtEngine({ threads: 1 });
    const weights = createWeightStore(engine, base);
    const specs: AdapterSpec[] = [];
    for (const [i, name] of ["unet.safetensors", "a.safetensors"].entries()) {
      const opened = await openSafetensors(file(name));
      const rank = i === 0 ? 2 : 4;
      const prefix = `lora${i}`;
      const shapes = adapterShapes(base.weights.get(`${unetLayer}.weight`)?.shape ?? [], rank);
      for (const part of ["down", "up"] as const) {
        const data = await readTensor(opened, `${kohyaName(unetLayer, base)}.lora_${part}.weight`);
        const buffer = {
          name: adapterBufferNames({ path: unetLayer, prefix })[part],
          shape: shapes[part],
          dtype: "float32",
        } as const;
        await engine.allocate(buffer, { kind: "data", data });
      }
      specs.push({ path: unetLayer, rank, alpha: 3, prefix });
    }
    const shape = { batch: 1, height: 16, width: 16 };
    const feeds = () => ({
      noisyLatents: uniform({ seed: 5, purpose: "noise" }, 4 * 256),
      timesteps: Float32Array.of(500),
      textEmbeddings: uniform({ seed: 6, purpose: "noise" }, 16 * 32),
      pooled: new Float32Array(16),
      timeIds: new Float32Array(6),
    });
    const compile = (adapters: readonly AdapterSpec[]) =>
      weights.compile(buildDenoiser(base, { shape, adapters, text: "embeddings" }), "denoiser");
    const fed = await compile(specs.map((spec) => ({ ...spec, weight: "fed" })));
    for (const weight of [-1, 0, 0.3, 1, 2.5]) {
      const atWeight = specs.map((spec, i) => ({ ...spec, weight: weight + i / 7 }));
      const expected = await (await compile(atWeight)).run(feeds());
      expect(await fed.run({ ...feeds(), ...strengthFeeds(atWeight) })).toEqual(expected);
    }
    await engine.dispose();
  });

  test("compiles a grid over weights, seeds, prompts, steps and samplers once", async () => {
    const { pictures, compiled } = await drawAll([
      ...[0, 0.5, 1, -1].map((weight) => ({ loras: [at("a.safetensors", weight)] })),
      { loras: [at("a.safetensors", 1)], seed: 2 },
      { loras: [at("a.safetensors", 1)], prompt: "a cat" },
      { loras: [at("a.safetensors", 1)], steps: 3 },
      { loras: [at("a.safetensors", 1)], sampler: "dpmpp_2m" },
    ]);
    expect(compiled).toHaveLength(3); // Text encoders, denoiser and decoder.
    expect(new Set(pictures.map((data) => Buffer.from(data).toString("base64"))).size).toBe(pictures.length);
  });

  test("lets files of one layout take turns in one graph, each group of equal files in one go", async () => {
    const [a, twin] = [{ loras: [at("a.safetensors", 1)] }, { loras: [at("twin.safetensors", 1)] }];
    const { pictures, compiled, order } = await drawAll([a, twin, { ...a, seed: 2 }, { ...twin, seed: 2 }]);
    expect(compiled).toHaveLength(3);
    expect(order).toEqual([0, 2, 1, 3]);
    const alone = await drawAll([twin, { ...twin, seed: 2 }]);
    expect([pictures[1], pictures[3]]).toEqual(alone.pictures);
  });
});

test("adapters add up, at weight 0 and as opposites they do nothing, and their order does not matter", async () => {
  const [a, unet] = [(weight: number) => at("a.safetensors", weight), (weight: number) => at("unet.safetensors", weight)];
  const lists = [
    [],
    [a(0), unet(0)],
    [a(1), unet(0)],
    [a(1)],
    [a(1), unet(2)],
    [unet(2), a(1)],
    [a(0.5), a(0.5)],
    [a(1), a(-1)],
  ];
  const { pictures } = await drawAll(lists.map((loras) => ({ loras })));
  const [plain, zeros, oneAndZero, one, both, swapped, halves, opposites] = pictures;
  expect(zeros).toEqual(plain);
  expect(oneAndZero).toEqual(one);
  expect(largestDifference(one, plain)).toBeGreaterThan(4);
  expect(largestDifference(both, one)).toBeGreaterThan(4);
  // Sums in another order may differ in the last digit of a float.
  expect(largestDifference(swapped, both)).toBeLessThanOrEqual(1);
  expect(largestDifference(halves, one)).toBeLessThanOrEqual(1);
  expect(largestDifference(opposites, plain)).toBeLessThanOrEqual(1);
});

test("progress counts two runs for each step with guidance, and ends at the total", async () => {
  const told: (readonly [number, number])[] = [];
  const requests = [shared, { ...shared, guidance: 1, steps: 3 }];
  const createEngine = () => createOrtEngine({ threads: 1 });
  const run = drawPictures({ base, createEngine, requests, onProgress: (done, total) => told.push([done, total]) });
  for await (const { pixels } of run) expect(pixels.data).toHaveLength(32 * 32 * 3);
  expect(told).toEqual([2, 4, 5, 6, 7].map((done) => [done, 7]));
});

test("an abort ends the drawing after the step, and a wrong request is found before the first picture", async () => {
  const controller = new AbortController();
  const createEngine = () => createOrtEngine({ threads: 1 });
  const drawn: number[] = [];
  const interrupted = async (): Promise<void> => {
    const requests = [shared, { ...shared, steps: 50 }];
    const onProgress = (done: number): void => (done === 6 ? controller.abort() : undefined);
    for await (const { index } of drawPictures({ base, createEngine, requests, signal: controller.signal, onProgress }))
      drawn.push(index);
  };
  await expect(interrupted()).rejects.toThrow("aborted");
  expect(drawn).toEqual([0]);
  for (const [change, says] of [
    [{ widthPx: 33 }, "A picture of 33 x 32 px"],
    [{ sampler: "eular" }, "There is no sampler"],
    [{ loras: [at("absent.safetensors", 1)] }, "There is no file"],
  ] as const) {
    const run = drawPictures({ base, createEngine, requests: [shared, { ...shared, ...change }] });
    await expect(run.next()).rejects.toThrow(says);
  }
});
