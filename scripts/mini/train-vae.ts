/** Trains mini's autoencoder on random crops, then makes its latents' mean 0 and deviation 1. */
import type { Engine, TensorData } from "../../src/engines/engine.ts";
import { openSafetensors, readTensor } from "../../src/formats/safetensors.ts";
import { integers, normal } from "../../src/diffusion/philox.ts";
import { copyCrop, readPictures, type Pictures } from "./pictures.ts";
import { latentChannels } from "./configs.ts";
import { allocateState, compileStep, runSteps, statePath } from "./run.ts";
import { buildDecoderStep, buildVaeStep, decoderParameters, vaeParameters } from "./vae-step.ts";

const seed = 1;
const decoderSeed = 3;
const batch = 8;
const cropPx = 64;

export interface Folders {
  readonly data: string;
  readonly state: string;
}

export async function trainVae(engine: Engine, folders: Folders, steps: number): Promise<void> {
  const pictures = readPictures(folders.data);
  const run = { name: "vae", folder: folders.state, engine, parameters: vaeParameters, seed };
  const firstStep = await allocateState(run);
  const step = await compileStep(engine, buildVaeStep(batch, cropPx), "mini vae");
  await runSteps(
    { ...run, step, steps, peakLearningRate: 1e-3, saveEveryMs: 120_000, feedsAt: (at) => vaeFeeds(pictures, at, seed) },
    firstStep,
  );
}

/** Goes on with the decoder alone, which can be done after the denoiser was trained: latents stay what they were. */
export async function trainDecoder(engine: Engine, folders: Folders, steps: number): Promise<void> {
  const pictures = readPictures(folders.data);
  const trained = await openSafetensors(statePath({ folder: folders.state, name: "vae" }));
  const readTrained = (name: string): Promise<Float32Array> => readTensor(trained, name);
  const isTrainedHere = new Set(decoderParameters.map(({ name }) => name));
  for (const { name, shape } of vaeParameters.filter((parameter) => !isTrainedHere.has(parameter.name))) {
    await engine.allocate({ name, shape, dtype: "float32" }, { kind: "data", data: await readTrained(name) });
  }
  const run = { name: "decoder", folder: folders.state, engine, parameters: decoderParameters, seed: decoderSeed };
  const firstStep = await allocateState({ ...run, readTrained });
  const step = await compileStep(engine, buildDecoderStep(batch, cropPx), "mini decoder");
  const feedsAt = (at: number): Record<string, TensorData> => vaeFeeds(pictures, at, decoderSeed);
  await runSteps({ ...run, step, steps, peakLearningRate: 5e-4, saveEveryMs: 120_000, feedsAt }, firstStep);
}

/** Random pictures, places and mirrorings: functions of the step alone. */
function vaeFeeds(pictures: Pictures, step: number, seed: number): Record<string, TensorData> {
  const data = new Float32Array(batch * 3 * cropPx * cropPx);
  const places = pictures.side - cropPx + 1;
  const chosen = integers({ seed, purpose: "order", step, sample: 0 }, batch, pictures.count);
  const tops = integers({ seed, purpose: "order", step, sample: 1 }, batch, places);
  const lefts = integers({ seed, purpose: "order", step, sample: 2 }, batch, places);
  const flips = integers({ seed, purpose: "flip", step }, batch, 2);
  for (let i = 0; i < batch; i++) {
    const crop = { picture: chosen[i] ?? 0, top: tops[i] ?? 0, left: lefts[i] ?? 0, isFlipped: flips[i] === 1 };
    copyCrop(pictures, crop, cropPx, data, i * 3 * cropPx * cropPx);
  }
  return { pictures: data, noise: normal({ seed, purpose: "noise", step }, (batch * latentChannels * cropPx * cropPx) / 64) };
}
