/** A LoRA training step of a UNet with mini's texts: forward, loss, backward, clipping and AdamW, as the trainer runs it. */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { maxTokens, resolutionPx, textConfigs } from "../scripts/mini/configs.ts";
import type { TextEncoderPart } from "../src/checkpoints/base.ts";
import { readTokenizer } from "../src/checkpoints/read-tokenizer.ts";
import { integers, normal } from "../src/diffusion/philox.ts";
import type { TensorData } from "../src/engines/engine.ts";
import type { Graph } from "../src/graph/graph.ts";
import { adapterBufferNames, adapterShapes } from "../src/lora/inject.ts";
import { parseClipTextConfig } from "../src/models/clip/config.ts";
import { parseUnetConfig } from "../src/models/unet/config.ts";
import { findAdapterTargets } from "../src/planner/targets.ts";
import { buildStep } from "../src/trainer/denoiser.ts";
import type { OptimizerSettings } from "../src/trainer/optimize.ts";
import type { Workload } from "./workload.ts";

export interface UnetStepOptions {
  readonly name: string;
  readonly title: string;
  /** A UNet's config.json. */
  readonly config: object;
  readonly batch: number;
  /** Of the latents. */
  readonly side: number;
  /** Of the adapters on attention and feed-forward layers. */
  readonly rank: number;
}

const optimizer: OptimizerSettings = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, maxGradNorm: 1 };

/** Only the widths and lengths of the text encoders enter the step, so the largest vocabulary will do. */
async function readTextEncoders(): Promise<readonly TextEncoderPart[]> {
  const configs = textConfigs(49_408, 0, 1);
  const parts = [
    { name: "text_encoder", json: configs.first, folder: "tokenizer" },
    { name: "text_encoder_2", json: configs.second, folder: "tokenizer_2" },
  ] as const;
  return Promise.all(
    parts.map(async ({ name, json, folder }) => {
      const config = parseClipTextConfig(json);
      const tokenizer = await readTokenizer(path.join(import.meta.dirname, "../models/mini", folder), config);
      return { name, config, tokenizer };
    }),
  );
}

async function build({ config, batch, side, rank }: UnetStepOptions): Promise<Graph> {
  const base = { unet: parseUnetConfig(config), textEncoders: await readTextEncoders() };
  const targets = findAdapterTargets(base, "attention+ff", false);
  const adapters = targets.map(({ path: layer }) => ({ path: layer, rank, alpha: rank }));
  const parameters = targets.flatMap(({ path: layer, weightShape }) => {
    const [names, shapes] = [adapterBufferNames({ path: layer }), adapterShapes(weightShape, rank)];
    return [
      { name: names.down, shape: shapes.down },
      { name: names.up, shape: shapes.up },
    ];
  });
  const options = { shape: { batch, height: side, width: side }, adapters, text: "embeddings", masked: false } as const;
  return buildStep(base, options, [{ name: "unet", parameters }], optimizer);
}

/** Random pictures and texts, other ones at every step. */
function makeFeeds({ config, batch, side }: UnetStepOptions, step: number): Record<string, TensorData> {
  const { inChannels, crossAttentionDim, additionEmbed } = parseUnetConfig(config);
  const pooledWidth = (additionEmbed?.inputDim ?? 0) - 6 * (additionEmbed?.timeEmbedDim ?? 0);
  const random = (sample: number, count: number): Float32Array => normal({ seed: 2, purpose: "noise", step, sample }, count);
  const size = batch * inChannels * side ** 2;
  return {
    noisyLatents: random(0, size),
    target: random(1, size),
    textEmbeddings: random(2, batch * maxTokens * crossAttentionDim),
    pooled: random(3, batch * pooledWidth),
    timeIds: Float32Array.from({ length: batch * 6 }, (_, i) => (i % 6 === 2 || i % 6 === 3 ? 0 : resolutionPx)),
    timesteps: Float32Array.from(integers({ seed: 2, purpose: "timestep", step }, batch, 1000)),
    lossWeights: new Float32Array(batch).fill(1),
    "learningRate.unet": Float32Array.of(1e-4),
    correction1: Float32Array.of(1 - optimizer.beta1 ** step),
    correction2: Float32Array.of(1 - optimizer.beta2 ** step),
  };
}

export function unetStep(options: UnetStepOptions): Workload {
  const { name, title, config, batch, side, rank } = options;
  return {
    name,
    title,
    build: () => build(options),
    feeds: (step) => makeFeeds(options, step),
    async torch(folder) {
      const file = path.join(folder, "config.json");
      await writeFile(file, JSON.stringify(config));
      const sizes = Object.entries({ batch, size: side, tokens: maxTokens, rank });
      return ["mini_step.py", file, ...sizes.flatMap(([option, value]) => [`--${option}`, String(value)])];
    },
  };
}
