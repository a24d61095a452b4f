/** Whole pictures of the bundled model: twenty steps of guidance through the real networks, as diffusers' pipeline draws them. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type BaseModel, plainText } from "../../src/checkpoints/base.ts";
import { buildTextEncoding } from "../../src/checkpoints/conditioning.ts";
import { openBase } from "../../src/checkpoints/open-base.ts";
import { sdxlTimeIds } from "../../src/diffusion/conditioning.ts";
import { normal } from "../../src/diffusion/philox.ts";
import { createDenoiser, initialLatents, type Predictor, withGuidance } from "../../src/diffusion/samplers/denoiser.ts";
import { finish, samplers } from "../../src/diffusion/samplers/samplers.ts";
import { karrasSigmas, modelSigmas } from "../../src/diffusion/samplers/sigmas.ts";
import type { Engine } from "../../src/engines/engine.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { buildDenoiser } from "../../src/trainer/denoiser.ts";
import { requireFloats, textFeeds, tokenise } from "../../src/trainer/encode.ts";
import { join } from "../../src/trainer/feeds.ts";
import { sampleImages } from "../../src/trainer/sample-images.ts";
import { createWeightStore } from "../../src/trainer/weights.ts";
import { expectOutput, readJson, readTensors, tensorOf, type Tensors } from "./fixture.ts";

interface MiniCase {
  readonly prompt: string;
  readonly seed: number;
  readonly steps: number;
  readonly guidance: number;
  /** Side of the blocks that the stored pictures are means of. */
  readonly blockPx: number;
}

let base: BaseModel;
let engine: Engine;
let stored: MiniCase;
let tensors: Tensors;
let predict: Predictor;
beforeAll(async () => {
  base = await openBase("mini", { hashCacheFile: undefined });
  engine = await createOrtEngine({ threads: 1 });
  stored = (await readJson("mini", "case.json")) as MiniCase;
  tensors = await readTensors("mini", "case");
  predict = await createPredictor();
});
afterAll(() => engine.dispose());

/** The UNet with guidance between the stored prompt and an empty one. */
async function createPredictor(): Promise<Predictor> {
  const weights = createWeightStore(engine, base);
  const encoder = await weights.compile(buildTextEncoding(base, 2, plainText), "text encoders");
  const rows = [stored.prompt, ""].map((text) => tokenise(base, text, plainText));
  const ids = base.textEncoders.map((_, i) => Int32Array.from(rows.flatMap((row) => [...(row[i] ?? [])])));
  const { textEmbeddings, pooled } = await encoder.run(textFeeds(base, ids, plainText));
  const px = base.nativeResolutionPx;
  const size = {
    originalHeightPx: px,
    originalWidthPx: px,
    cropTopPx: 0,
    cropLeftPx: 0,
    targetHeightPx: px,
    targetWidthPx: px,
  };
  const side = px / base.pixelsPerLatent;
  const shape = { batch: 2, height: side, width: side };
  const unet = await weights.compile(buildDenoiser(base, { shape, adapters: [], text: "embeddings" }), "unet");
  return withGuidance(async (scaled, timestep) => {
    const { prediction } = await unet.run({
      noisyLatents: join([scaled, scaled]),
      timesteps: Float32Array.of(timestep, timestep),
      textEmbeddings: requireFloats(textEmbeddings, "textEmbeddings").slice(),
      pooled: requireFloats(pooled, "pooled").slice(),
      timeIds: join([sdxlTimeIds(size), sdxlTimeIds(size)]),
    });
    const both = requireFloats(prediction, "prediction");
    return { conditional: both.slice(0, both.length / 2), unconditional: both.slice(both.length / 2) };
  }, stored.guidance);
}

describe.each(["euler", "dpmpp_2m"] as const)("20 steps of %s", (sampler) => {
  test("end at diffusers' latents when the UNet is asked at whole timesteps, as diffusers asks it", async () => {
    const expected = tensorOf(tensors, `${sampler}.latents`);
    const denoise = createDenoiser(base.schedule, (scaled, timestep) => predict(scaled, Math.round(timestep)));
    const sigmas = (sampler === "euler" ? modelSigmas : karrasSigmas)(base.schedule, stored.steps);
    const noise = normal({ seed: stored.seed, purpose: "noise" }, expected.data.length);
    const start = initialLatents(noise, sigmas[0] ?? 0);
    const none = (): Float32Array => new Float32Array(noise.length);
    expectOutput(await finish(samplers[sampler](denoise, sigmas, start, none)), expected.data);
  });

  test("draw diffusers' picture, every block of 8 x 8 px to within half a level of 255", async () => {
    const { blockPx, prompt, ...settings } = stored;
    const px = base.nativeResolutionPx;
    const [picture] = await sampleImages({
      ...settings,
      base,
      createEngine: () => createOrtEngine({ threads: 1 }),
      adapters: [],
      prompts: [prompt],
      negativePrompt: "",
      sampler,
      widthPx: px,
      heightPx: px,
    });
    const expected = tensorOf(tensors, `${sampler}.blocks`);
    const actual = averageBlocks(picture?.data ?? new Uint8Array(), px, blockPx);
    const worst = Math.max(...actual.map((value, i) => Math.abs(value - (expected.data[i] ?? NaN))));
    expect(worst).toBeLessThan(0.5);
  });
});

/** [3, h, w] means of square blocks of an interleaved picture. */
function averageBlocks(data: Uint8Array, sidePx: number, blockPx: number): readonly number[] {
  const side = sidePx / blockPx;
  const sums = Array<number>(3 * side * side).fill(0);
  data.forEach((value, i) => {
    const [y, x] = [Math.floor(i / 3 / sidePx), Math.floor(i / 3) % sidePx];
    const at = (i % 3) * side * side + Math.floor(y / blockPx) * side + Math.floor(x / blockPx);
    sums[at] = (sums[at] ?? 0) + value / blockPx ** 2;
  });
  return sums;
}
