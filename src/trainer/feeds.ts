/** What a step of training is fed: noisy latents, targets, weights and conditions, all functions of (seed, step, sample). */
import { type BaseModel, type TextForm, textWidths } from "../checkpoints/base.ts";
import type { TensorData } from "../engines/engine.ts";
import { lossWeights, trainingNoise } from "../diffusion/loss.ts";
import { integers, uniform } from "../diffusion/philox.ts";
import { addNoise, type NoiseSchedule, target } from "../diffusion/schedule.ts";
import type { TrainSettings } from "../planner/plan.ts";
import { type EncodedPicture, type EncodedText, textFeeds } from "./encode.ts";

/** One picture of a batch, with the noise that it is to be cleaned of. */
export interface Sample {
  readonly picture: EncodedPicture;
  readonly caption: string;
  readonly noise: Float32Array;
  readonly timestep: number;
}

export interface FeedMaker {
  /** The chance events of a step: which picture is mirrored, which caption is dropped, noise and timestep. */
  readonly isFlipped: (step: number, sample: number) => boolean;
  readonly isDropped: (step: number, sample: number) => boolean;
  readonly noise: (step: number, sample: number, size: readonly [height: number, width: number]) => Float32Array;
  readonly timestep: (step: number, sample: number) => number;
  /** The feeds of a batch. */
  readonly batch: (samples: readonly Sample[]) => Record<string, TensorData>;
}

/** How a batch's texts are given: as embeddings made before, or as token ids when the text encoders are trained. */
export type TextSource =
  | { readonly kind: "embeddings"; readonly get: (caption: string) => EncodedText }
  | { readonly kind: "tokens"; readonly form: TextForm; readonly get: (caption: string) => readonly Int32Array[] };

export function createFeedMaker(options: {
  readonly base: Pick<BaseModel, "unet" | "vae" | "textEncoders">;
  readonly schedule: NoiseSchedule;
  readonly settings: Pick<TrainSettings, "seed" | "minSnrGamma" | "noiseOffset" | "captionDropout" | "flip">;
  readonly text: TextSource;
  /** Whether the graphs take a mask; pictures without one count fully. */
  readonly masked: boolean;
}): FeedMaker {
  const { base, schedule, settings, masked } = options;
  const { seed, minSnrGamma, noiseOffset, captionDropout, flip } = settings;
  const weights = lossWeights(schedule, minSnrGamma > 0 ? { kind: "minSnr", gamma: minSnrGamma } : { kind: "uniform" });
  const chance = (purpose: "flip" | "dropout", step: number, sample: number): number =>
    uniform({ seed, purpose, step, sample }, 1)[0] ?? 0;
  return {
    isFlipped: (step, sample) => flip && chance("flip", step, sample) < 0.5,
    isDropped: (step, sample) => chance("dropout", step, sample) < captionDropout,
    noise: (step, sample, [height, width]) =>
      trainingNoise({ seed, step, sample }, [base.vae.latentChannels, height, width], noiseOffset),
    timestep: (step, sample) => integers({ seed, purpose: "timestep", step, sample }, 1, schedule.trainTimesteps)[0] ?? 0,
    batch(samples) {
      const latents = join(samples.map(({ picture }) => picture.latents));
      const noise = join(samples.map((sample) => sample.noise));
      const timesteps = Float32Array.from(samples, ({ timestep }) => timestep);
      const feeds: Record<string, TensorData> = {
        noisyLatents: addNoise(schedule, latents, noise, timesteps),
        target: target(schedule, latents, noise, timesteps),
        timesteps,
        lossWeights: Float32Array.from(samples, ({ timestep }) => weights[timestep] ?? 1),
        ...conditionFeeds(base, options.text, samples),
      };
      if (masked) feeds.mask = join(samples.map(({ picture }) => picture.mask ?? onesFor(picture, base.vae.latentChannels)));
      return feeds;
    },
  };
}

function conditionFeeds(
  base: Pick<BaseModel, "unet" | "textEncoders">,
  text: TextSource,
  samples: readonly Sample[],
): Record<string, TensorData> {
  const sizes = base.unet.additionEmbed ? { timeIds: join(samples.map(({ picture }) => picture.timeIds)) } : {};
  if (text.kind === "tokens") {
    const rows = samples.map(({ caption }) => text.get(caption));
    const ids = base.textEncoders.map((_, i) => joinIds(rows.map((row) => row[i] ?? new Int32Array())));
    return { ...sizes, ...textFeeds(base, ids, text.form) };
  }
  const encoded = samples.map(({ caption }) => text.get(caption));
  const textEmbeddings = join(encoded.map((entry) => entry.textEmbeddings));
  const { pooled } = textWidths(base);
  if (pooled === undefined) return { ...sizes, textEmbeddings };
  return { ...sizes, textEmbeddings, pooled: join(encoded.map((entry) => entry.pooled ?? new Float32Array(pooled))) };
}

function onesFor({ latents }: EncodedPicture, channels: number): Float32Array {
  return new Float32Array(latents.length / channels).fill(1);
}

/** One array after the other. */
export function join(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function joinIds(parts: readonly Int32Array[]): Int32Array {
  return Int32Array.from(parts.flatMap((part) => [...part]));
}
