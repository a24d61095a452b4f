/** Mini's training pictures as latents: encoded once by the trained autoencoder. */
import path from "node:path";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { openSafetensors, readTensor, writeSafetensors } from "../../src/formats/safetensors.ts";
import { Graph } from "../../src/graph/graph.ts";
import { vaeEncode } from "../../src/models/vae/model.ts";
import { createParams } from "../../src/nn/params.ts";
import { latentChannels, resolutionPx } from "./configs.ts";
import { copyCrop, type Pictures } from "./pictures.ts";
import { compileStep, statePath } from "./run.ts";
import { config, vaeParameters } from "./vae-step.ts";

const side = resolutionPx / 8;
export const latentSize = latentChannels * side * side;

export interface Latents {
  /** [count, C, 16, 16], of mean 0 and deviation 1 in every channel. */
  readonly values: Float32Array;
  /** Of each channel, before they were taken away. */
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

/** Encodes all pictures; reads them back when they were encoded before. */
export async function encodePictures(pictures: Pictures, stateFolder: string): Promise<Latents> {
  const raw = await readCached(stateFolder);
  return standardise(raw ?? (await encodeAndStore(pictures, stateFolder)));
}

const fileName = "latents.safetensors";

async function readCached(stateFolder: string): Promise<Float32Array | undefined> {
  const file = await openSafetensors(path.join(stateFolder, fileName)).catch(() => undefined);
  return file && readTensor(file, "latents");
}

async function encodeAndStore(pictures: Pictures, stateFolder: string): Promise<Float32Array> {
  const values = await encodeAll(pictures, stateFolder);
  const tensor = {
    name: "latents",
    dtype: "F32" as const,
    shape: [pictures.count, latentChannels, side, side],
    data: values,
  };
  await writeSafetensors(path.join(stateFolder, fileName), [tensor]);
  return values;
}

async function encodeAll(pictures: Pictures, stateFolder: string): Promise<Float32Array> {
  const batch = 8;
  const engine = await createOrtEngine();
  const weights = await openSafetensors(statePath({ folder: stateFolder, name: "vae" }));
  for (const { name, shape } of vaeParameters) {
    await engine.allocate({ name, shape, dtype: "float32" }, { kind: "data", data: await readTensor(weights, name) });
  }
  const graph = new Graph();
  const x = graph.feed("pictures", [batch, 3, resolutionPx, resolutionPx]);
  graph.fetches.set("mean", vaeEncode(createParams(graph, "vae"), x, config).mean);
  const encode = await compileStep(engine, graph, "mini encode");
  const values = new Float32Array(pictures.count * latentSize);
  for (let start = 0; start < pictures.count; start += batch) {
    const data = new Float32Array(batch * 3 * resolutionPx * resolutionPx);
    for (let i = 0; i < batch; i++) {
      const crop = { picture: Math.min(start + i, pictures.count - 1), top: 0, left: 0, isFlipped: false };
      copyCrop(pictures, crop, resolutionPx, data, i * 3 * resolutionPx * resolutionPx);
    }
    const { mean } = await encode.run({ pictures: data });
    const rows = Math.min(batch, pictures.count - start);
    values.set((mean ?? new Float32Array()).subarray(0, rows * latentSize), start * latentSize);
  }
  await engine.dispose();
  return values;
}

/** Takes away each channel's mean and divides by its deviation. */
function standardise(raw: Float32Array): Latents {
  const pixels = side * side;
  const sums = Array.from({ length: latentChannels }, () => ({ sum: 0, squares: 0 }));
  const channelOf = (i: number): number => Math.floor(i / pixels) % latentChannels;
  raw.forEach((x, i) => {
    const channel = sums[channelOf(i)];
    if (!channel) return;
    channel.sum += x;
    channel.squares += x * x;
  });
  const count = raw.length / latentChannels;
  const mean = sums.map(({ sum }) => sum / count);
  const deviation = sums.map(({ squares }, c) => Math.sqrt(squares / count - (mean[c] ?? 0) ** 2));
  return { values: raw.map((x, i) => (x - (mean[channelOf(i)] ?? 0)) / (deviation[channelOf(i)] ?? 1)), mean, deviation };
}
