/**
 * Gesso's half of compare_adapter.py: what UNet and text encoders give with and without an adapter file.
 *
 * Usage: npx tsx interop/gesso/adapter-outputs.ts BASE ADAPTER CASE.safetensors OUT.safetensors TEXT...
 *
 * CASE holds sample, timesteps, encoder_hidden_states and, for SDXL, text_embeds and time_ids. OUT gets base.* and adapted.*, each of
 * prediction, textEmbeddings and, for SDXL, pooled.
 */
import { openBase, readAdapter } from "../../src/index.ts";
import { plainText, textWidths, tokenCount } from "../../src/checkpoints/base.ts";
import { buildTextEncoding } from "../../src/checkpoints/conditioning.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { adapterBufferNames, addAdapters, type AdapterSpec } from "../../src/lora/inject.ts";
import { buildDenoiser } from "../../src/trainer/denoiser.ts";
import { textFeeds, tokenise } from "../../src/trainer/encode.ts";
import { createWeightStore } from "../../src/trainer/weights.ts";
import { floats, type NamedTensor, need, readAll, writeAll } from "./tensors.ts";

const [basePath = "", adapterPath = "", casePath = "", outPath = "", ...texts] = process.argv.slice(2);
const base = await openBase(basePath);
const inputs = await readAll(casePath);
const engine = await createOrtEngine({ threads: 1 });
const weights = createWeightStore(engine, base);

async function loadAdapter(): Promise<readonly AdapterSpec[]> {
  const { modules } = await readAdapter(adapterPath, base);
  for (const { path, down, up } of modules) {
    const names = adapterBufferNames({ path });
    await engine.allocate({ name: names.down, shape: down.shape, dtype: "float32" }, { kind: "data", data: down.data });
    await engine.allocate({ name: names.up, shape: up.shape, dtype: "float32" }, { kind: "data", data: up.data });
  }
  return modules.map(({ path, rank, alpha }) => ({ path, rank, alpha }));
}

async function predict(adapters: readonly AdapterSpec[]): Promise<NamedTensor> {
  const sample = need(inputs, "sample");
  const [batch = 1, , height = 1, width = 1] = sample.shape;
  const graph = buildDenoiser(base, { shape: { batch, height, width }, adapters, text: "embeddings" });
  const executable = await weights.compile(graph, "unet");
  const added = inputs.has("time_ids")
    ? { pooled: need(inputs, "text_embeds").data.slice(), timeIds: need(inputs, "time_ids").data.slice() }
    : {};
  const { prediction } = await executable.run({
    noisyLatents: sample.data.slice(),
    timesteps: need(inputs, "timesteps").data.slice(),
    textEmbeddings: need(inputs, "encoder_hidden_states").data.slice(),
    ...added,
  });
  return { shape: sample.shape, data: floats(prediction, "prediction") };
}

async function encode(adapters: readonly AdapterSpec[]): Promise<Record<string, NamedTensor>> {
  const graph = addAdapters(buildTextEncoding(base, texts.length, plainText), adapters);
  const executable = await weights.compile(graph, "text encoders");
  const rows = texts.map((text) => tokenise(base, text, plainText));
  const ids = base.textEncoders.map((_, i) => Int32Array.from(rows.flatMap((row) => [...(row[i] ?? [])])));
  const { textEmbeddings, pooled } = await executable.run(textFeeds(base, ids, plainText));
  const widths = textWidths(base);
  const shape = [texts.length, tokenCount(base, plainText), widths.embeddings];
  return {
    textEmbeddings: { shape, data: floats(textEmbeddings, "textEmbeddings") },
    ...(pooled ? { pooled: { shape: [texts.length, widths.pooled ?? 0], data: floats(pooled, "pooled") } } : {}),
  };
}

try {
  const out: Record<string, NamedTensor> = {};
  for (const [name, specs] of [
    ["base", []],
    ["adapted", await loadAdapter()],
  ] as const) {
    const outputs = {
      prediction: await predict(specs.filter(({ path }) => path.startsWith("unet."))),
      ...(await encode(specs.filter(({ path }) => path.startsWith("text_encoder")))),
    };
    for (const [key, tensor] of Object.entries(outputs)) out[`${name}.${key}`] = tensor;
  }
  await writeAll(outPath, out);
} finally {
  await engine.dispose();
}
