import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BaseModel } from "../src/checkpoints/base.ts";
import { mergeIntoBase } from "../src/checkpoints/merge-into.ts";
import { openBase } from "../src/checkpoints/open-base.ts";
import { createOrtEngine } from "../src/engines/ort/engine.ts";
import type { Pixels } from "../src/formats/images.ts";
import { mergeAdapters } from "../src/lora/rework.ts";
import { sampleImages } from "../src/trainer/sample-images.ts";
import { writeRandomAdapter } from "./random-adapter.ts";
import { writeToyBase } from "./toy-base.ts";

let root = "";
let base: BaseModel;
let sources: readonly { path: string; weight: number }[] = [];
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "gesso-lora-merge-"));
  base = await openBase(await writeToyBase(join(root, "base"), "sdxl"), { hashCacheFile: undefined });
  const query = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v";
  const a = await writeRandomAdapter(join(root, "a.safetensors"), base, {
    [query]: [4, 4],
    "unet.mid_block.resnets.0.conv1": [2, 2],
    "text_encoder.text_model.encoder.layers.0.mlp.fc1": [2, 4],
  });
  const second = { [query]: [2, 1], "text_encoder_2.text_model.encoder.layers.0.self_attn.v_proj": [3, 3] } as const;
  const b = await writeRandomAdapter(join(root, "b.safetensors"), base, second, { seed: 2 });
  sources = [
    { path: a, weight: 0.8 },
    { path: b, weight: -0.5 },
  ];
});
afterAll(() => rm(root, { recursive: true }));

async function draw(model: BaseModel, adapters: typeof sources): Promise<Pixels> {
  const [picture] = await sampleImages({
    base: model,
    createEngine: () => createOrtEngine({ threads: 1 }),
    adapters,
    prompts: ["square"],
    negativePrompt: "",
    seed: 1,
    steps: 2,
    guidance: 2,
    sampler: "euler",
    widthPx: 32,
    heightPx: 32,
  });
  if (!picture) throw new Error("no picture");
  return picture;
}

/** The largest difference of two pictures, of 255. */
function difference(a: Pixels, b: Pixels): number {
  return a.data.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (b.data[i] ?? NaN))), 0);
}

test("a merged adapter, and a base with the adapters merged into it, draw what the adapters draw together", async () => {
  const [plain, together] = [await draw(base, []), await draw(base, sources)];
  expect(difference(plain, together)).toBeGreaterThan(20);

  const path = join(root, "merged.safetensors");
  await mergeAdapters(sources, { out: path, choice: undefined, base: { layout: base, readWeight: () => Promise.reject(new Error("not asked for")) }, version: "0.0.0" }); // prettier-ignore
  expect(difference(await draw(base, [{ path, weight: 1 }]), together)).toBeLessThanOrEqual(1);

  await mergeIntoBase({ base, adapters: sources, out: join(root, "with") });
  expect(difference(await draw(await openBase(join(root, "with"), { hashCacheFile: undefined }), []), together)).toBeLessThanOrEqual(1); // prettier-ignore
});
