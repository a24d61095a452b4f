/**
 * Gesso's half of compare_full_width.py: the UNet's prediction for given inputs.
 *
 * Usage: npx tsx interop/gesso/unet-forward.ts BASE CASE.safetensors OUT.safetensors
 *
 * CASE holds sample, timesteps, encoder_hidden_states and, for SDXL, text_embeds and time_ids; OUT gets prediction.
 */
import { openBase } from "../../src/index.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { buildDenoiser } from "../../src/trainer/denoiser.ts";
import { createWeightStore } from "../../src/trainer/weights.ts";
import { floats, need, readAll, writeAll } from "./tensors.ts";

const [basePath = "", casePath = "", outPath = ""] = process.argv.slice(2);
const base = await openBase(basePath);
const inputs = await readAll(casePath);
const sample = need(inputs, "sample");
const [batch = 1, , height = 1, width = 1] = sample.shape;
const engine = await createOrtEngine();
try {
  const graph = buildDenoiser(base, { shape: { batch, height, width }, adapters: [], text: "embeddings" });
  const executable = await createWeightStore(engine, base).compile(graph, "unet");
  const { prediction } = await executable.run({
    noisyLatents: sample.data,
    timesteps: need(inputs, "timesteps").data,
    textEmbeddings: need(inputs, "encoder_hidden_states").data,
    ...(inputs.has("time_ids") ? { pooled: need(inputs, "text_embeds").data, timeIds: need(inputs, "time_ids").data } : {}),
  });
  await writeAll(outPath, { prediction: { shape: sample.shape, data: floats(prediction, "prediction") } });
} finally {
  await engine.dispose();
}
