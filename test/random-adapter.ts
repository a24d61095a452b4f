/** Writes adapters of random numbers, for what is done with adapter files. */
import type { BaseModel } from "../src/checkpoints/base.ts";
import { normal } from "../src/diffusion/philox.ts";
import { type AdapterDType, type AdapterModule, writeAdapter } from "../src/lora/file.ts";
import { adapterShapes } from "../src/lora/inject.ts";
import type { AdapterMetadata } from "../src/lora/metadata.ts";

/** A rank and an alpha by the path of a layer. */
export type RandomLayers = Readonly<Record<string, readonly [rank: number, alpha: number]>>;

const metadata: AdapterMetadata = {
  name: "random",
  version: "0.0.0",
  base: { name: "toy" },
  predictionType: "epsilon",
  widthPx: 32,
  heightPx: 32,
  training: {
    step: 1,
    totalSteps: 1,
    epoch: 1,
    totalEpochs: 1,
    seed: 1,
    batchSize: 1,
    gradientAccumulationSteps: 1,
    learningRate: 1e-4,
    optimizer: "AdamW",
    learningRateSchedule: "constant",
    warmupSteps: 0,
    maxGradNorm: 1,
  },
  dataset: { pictures: 1, folders: {}, tags: { pictures: { cat: 2 } }, buckets: [] },
};

/** Matrices of normal numbers, large enough that a picture shows them. */
export function randomModules(base: Pick<BaseModel, "weights">, layers: RandomLayers, seed: number): AdapterModule[] {
  return Object.entries(layers).map(([path, [rank, alpha]], i) => {
    const shapes = adapterShapes(base.weights.get(`${path}.weight`)?.shape ?? [], rank);
    const matrix = (shape: readonly number[], part: number) => {
      const size = shape.reduce((product, length) => product * length, 1);
      const data = normal({ seed, purpose: "noise", step: i, sample: part }, size).map((x) => 0.2 * x);
      return { shape, data };
    };
    return { path, rank, alpha, down: matrix(shapes.down, 0), up: matrix(shapes.up, 1) };
  });
}

/** @returns the path */
export async function writeRandomAdapter(
  path: string,
  base: Pick<BaseModel, "weights" | "family" | "unet">,
  layers: RandomLayers,
  { seed = 1, dtype = "float32", triggerWord }: { seed?: number; dtype?: AdapterDType; triggerWord?: string } = {},
): Promise<string> {
  const own = triggerWord === undefined ? metadata : { ...metadata, triggerWord };
  await writeAdapter(path, { modules: randomModules(base, layers, seed), base, metadata: own, dtype });
  return path;
}
