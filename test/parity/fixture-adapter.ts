/** An adapter on the UNet of a fixture, always the same: what diffusers was given when the stored outputs were made. */
import { normal } from "../../src/diffusion/philox.ts";
import { sizeOf } from "../../src/graph/graph.ts";
import { type AdapterModule, writeAdapter } from "../../src/lora/file.ts";
import { adapterShapes } from "../../src/lora/inject.ts";
import type { AdapterMetadata } from "../../src/lora/metadata.ts";
import type { AdapterFamily } from "../../src/lora/names.ts";
import type { UnetConfig } from "../../src/models/unet/config.ts";
import { findAdapterTargets } from "../../src/planner/targets.ts";

const [rank, alpha] = [2, 1];

const metadata: AdapterMetadata = {
  name: "fixture",
  version: "0",
  base: { name: "fixture" },
  predictionType: "epsilon",
  widthPx: 64,
  heightPx: 64,
  training: {
    step: 1,
    totalSteps: 1,
    epoch: 0,
    totalEpochs: 1,
    seed: 1,
    batchSize: 1,
    gradientAccumulationSteps: 1,
    learningRate: 1,
    optimizer: "AdamW",
    learningRateSchedule: "constant",
    warmupSteps: 0,
    maxGradNorm: 1,
  },
  dataset: { pictures: 1, folders: {}, tags: {}, buckets: [] },
};

/** Random matrices on every layer of attention, feed-forward, residual blocks and samplers. */
export function makeFixtureModules(unet: UnetConfig): readonly AdapterModule[] {
  return findAdapterTargets({ unet, textEncoders: [] }, "locon", false).map(({ path, weightShape }, index) => {
    const shapes = adapterShapes(weightShape, rank);
    const draw = (sample: number, shape: readonly number[], scale: number): Float32Array =>
      normal({ seed: 9, purpose: "init", sample }, sizeOf(shape)).map((x) => scale * x);
    const inputs = sizeOf(shapes.down) / rank;
    const down = { shape: shapes.down, data: draw(2 * index, shapes.down, 1 / Math.sqrt(inputs)) };
    return { path, rank, alpha, down, up: { shape: shapes.up, data: draw(2 * index + 1, shapes.up, 0.5) } };
  });
}

/** Writes it as a run writes its result. */
export async function writeFixtureAdapter(path: string, family: AdapterFamily, unet: UnetConfig): Promise<void> {
  await writeAdapter(path, { modules: makeFixtureModules(unet), base: { family, unet }, metadata, dtype: "float16" });
}
