/** Trains mini's denoiser and both text encoders on latents that were encoded once. */
import { readFileSync } from "node:fs";
import type { Engine, TensorData } from "../../src/engines/engine.ts";
import { integers, normal } from "../../src/diffusion/philox.ts";
import { lossWeights } from "../../src/diffusion/loss.ts";
import { addNoise, parseSchedule, snr, target } from "../../src/diffusion/schedule.ts";
import { parseClipTextConfig } from "../../src/models/clip/config.ts";
import { createClipTokenizer, type ClipTokenizer } from "../../src/models/clip/tokenizer.ts";
import { maxTokens, resolutionPx, schedulerConfig, textConfigs } from "./configs.ts";
import { buildDenoiserStep, denoiserParameters, type TextConfigs } from "./denoiser-step.ts";
import { encodePictures, latentSize, type Latents } from "./latents.ts";
import { readPictures, type Pictures } from "./pictures.ts";
import { allocateState, compileStep, runSteps } from "./run.ts";
import type { Folders } from "./train-vae.ts";

const seed = 2;
const batch = 32;
/** Of 10 captions, one is left out (for classifier-free guidance) and two are without the style, so that a prompt need not name one. */
const [emptyOf10, plainOf10] = [1, 2];
/** Min-SNR weighting (Hang et al. 2023). */
const snrGamma = 5;

export async function trainDenoiser(engine: Engine, folders: Folders, steps: number): Promise<void> {
  const pictures = readPictures(folders.data);
  const latents = await encodePictures(pictures, folders.state);
  const tokenizers = readTokenizers();
  const text = parseTextConfigs(tokenizers.first);
  const run = { name: "denoiser", folder: folders.state, engine, parameters: denoiserParameters(text), seed };
  const firstStep = await allocateState(run);
  const step = await compileStep(engine, buildDenoiserStep(batch, text), "mini denoiser");
  const feedsAt = (at: number): Record<string, TensorData> => denoiserFeeds(pictures, latents, tokenizers, at);
  await runSteps({ ...run, step, steps, peakLearningRate: 1e-3, saveEveryMs: 180_000, feedsAt }, firstStep);
}

export interface Tokenizers {
  readonly first: ClipTokenizer;
  readonly second: ClipTokenizer;
}

export function readTokenizers(): Tokenizers {
  const read = (folder: string, file: string): string =>
    readFileSync(new URL(`../../models/mini/${folder}/${file}`, import.meta.url), "utf8");
  const load = (folder: string, padToken: string): ClipTokenizer =>
    createClipTokenizer({
      vocab: JSON.parse(read(folder, "vocab.json")) as Record<string, number>,
      merges: read(folder, "merges.txt"),
      padToken,
      maxLength: maxTokens,
    });
  return { first: load("tokenizer", "<|endoftext|>"), second: load("tokenizer_2", "!") };
}

export function parseTextConfigs({ vocabSize, bosId, eosId }: ClipTokenizer): TextConfigs {
  const { first, second } = textConfigs(vocabSize, bosId, eosId);
  return { first: parseClipTextConfig(first), second: parseClipTextConfig(second) };
}

const schedule = parseSchedule(schedulerConfig);
/**
 * Min-SNR times sqrt((SNR + 1) / SNR), half way in the exponent from the error of the noise to that of the velocity. What a picture shows is settled where the
 * noise is strong, and there the error of the noise hardly tells a right guess from a wrong one: at timestep 800 it counts the picture's error 0.04 fold.
 */
const weights = lossWeights(schedule, { kind: "minSnr", gamma: snrGamma }).map((weight, timestep) => {
  const ratio = snr(schedule, timestep);
  return weight * Math.sqrt((ratio + 1) / ratio);
});

function denoiserFeeds(pictures: Pictures, latents: Latents, tokenizers: Tokenizers, step: number): Record<string, TensorData> {
  const rows = integers({ seed, purpose: "order", step }, batch, pictures.count);
  const captionKinds = integers({ seed, purpose: "dropout", step }, batch, 10);
  const timesteps = integers({ seed, purpose: "timestep", step }, batch, schedule.alphasCumprod.length);
  const noise = normal({ seed, purpose: "noise", step }, batch * latentSize);
  const clean = new Float32Array(batch * latentSize);
  rows.forEach((row, i) => clean.set(latents.values.subarray(row * latentSize, (row + 1) * latentSize), i * latentSize));
  const captions = Array.from(rows, (row, i) => captionOf(pictures.captions[row] ?? "", captionKinds[i] ?? 9));
  const timeIds = Float32Array.from({ length: batch * 6 }, (_, i) => (i % 6 === 2 || i % 6 === 3 ? 0 : resolutionPx));
  return {
    noisyLatents: addNoise(schedule, clean, noise, timesteps),
    target: target(schedule, clean, noise, timesteps),
    timesteps: Float32Array.from(timesteps),
    lossWeights: Float32Array.from(timesteps, (timestep) => weights[timestep] ?? 1),
    timeIds,
    ...textFeeds(captions, tokenizers),
  };
}

function captionOf(caption: string, kind: number): string {
  if (kind < emptyOf10) return "";
  return kind < emptyOf10 + plainOf10 ? caption.replace(/, [^,]* style$/, "") : caption;
}

/** Token ids for both encoders, and the rows of the end tokens in the second, whose output is pooled. */
function textFeeds(captions: readonly string[], tokenizers: Tokenizers): Record<string, Int32Array> {
  const first = new Int32Array(captions.length * maxTokens);
  const second = new Int32Array(captions.length * maxTokens);
  const eosRows = new Int32Array(captions.length);
  captions.forEach((caption, i) => {
    const tokens = tokenizers.second.encode(caption);
    first.set(tokenizers.first.encode(caption).ids, i * maxTokens);
    second.set(tokens.ids, i * maxTokens);
    eosRows[i] = i * maxTokens + tokens.eosIndex;
  });
  return { "inputIds.first": first, "inputIds.second": second, eosRows };
}
