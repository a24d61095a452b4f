/** The denoiser as graphs: its prediction with adapters, the losses of a batch, and a training step. */
import { type BaseConfigs, plainText, type TextForm, textWidths, tokenCount } from "../checkpoints/base.ts";
import { type TextConditioning, textConditioning } from "../checkpoints/conditioning.ts";
import { Graph, type Value } from "../graph/graph.ts";
import { type AdapterSpec, addAdapters } from "../lora/inject.ts";
import { unet } from "../models/unet/model.ts";
import { createParams } from "../nn/params.ts";
import { denoisingLoss } from "./objective.ts";
import {
  appendAccumulation,
  appendStep,
  type GradientOptions,
  type OptimizerSettings,
  type ParameterGroup,
} from "./optimize.ts";

type DenoiserBase = Pick<BaseConfigs, "unet" | "textEncoders">;

export interface DenoiserShape {
  readonly batch: number;
  /** Of the latents. */
  readonly height: number;
  readonly width: number;
}

export interface DenoiserOptions {
  readonly shape: DenoiserShape;
  readonly adapters: readonly AdapterSpec[];
  /** Whether texts come as embeddings, or as token ids with the text encoders in the graph. */
  readonly text: "embeddings" | "tokens";
  /** One chunk and the last hidden state when absent. */
  readonly form?: TextForm;
}

/**
 * What the UNet predicts. Feeds: `noisyLatents` [B, C, h, w], `timesteps` [B], `timeIds` [B, 6] for SDXL, and `textEmbeddings` [B, L, D]
 * with `pooled` [B, P] for SDXL, or the feeds of `textConditioning`. Fetches `prediction` [B, C, h, w].
 */
export function buildDenoiser(base: DenoiserBase, { shape, adapters, text, form = plainText }: DenoiserOptions): Graph {
  const graph = new Graph();
  const { batch, height, width } = shape;
  const { textEmbeddings, pooled } =
    text === "tokens" ? textConditioning(graph, base.textEncoders, batch, form) : textFeedsOf(graph, base, batch, form);
  const inputs = {
    sample: graph.feed("noisyLatents", [batch, base.unet.inChannels, height, width]),
    timesteps: graph.feed("timesteps", [batch]),
    encoderHiddenStates: textEmbeddings,
  };
  const addedConditions = pooled && { textEmbeds: pooled, timeIds: graph.feed("timeIds", [batch, 6]) };
  const prediction = unet(createParams(graph, "unet"), addedConditions ? { ...inputs, addedConditions } : inputs, base.unet);
  graph.fetches.set("prediction", prediction);
  return addAdapters(graph, adapters);
}

function textFeedsOf(graph: Graph, base: DenoiserBase, batch: number, form: TextForm): TextConditioning {
  const widths = textWidths(base);
  return {
    textEmbeddings: graph.feed("textEmbeddings", [batch, tokenCount(base, form), widths.embeddings]),
    pooled: widths.pooled === undefined ? undefined : graph.feed("pooled", [batch, widths.pooled]),
  };
}

export interface LossOptions extends DenoiserOptions {
  /** Whether pictures come with a mask. */
  readonly masked: boolean;
}

/** The losses of a batch. Fetches `loss`, the weighted mean, and `lossPerSample` [B], unweighted. */
export function buildLoss(base: DenoiserBase, options: LossOptions): Graph {
  const { graph, perSample, loss } = appendLoss(base, options);
  graph.fetches.set("loss", loss).set("lossPerSample", perSample);
  return graph;
}

function appendLoss(base: DenoiserBase, options: LossOptions): { graph: Graph; loss: Value; perSample: Value } {
  const graph = buildDenoiser(base, options);
  const prediction = graph.fetches.get("prediction");
  if (!prediction) throw new Error("buildLoss: the denoiser must fetch its prediction");
  graph.fetches.delete("prediction");
  return { graph, ...denoisingLoss(prediction, { masked: options.masked }) };
}

/** A whole step: loss, gradients, clipping and AdamW. Fetches `loss` and `gradNorm`. */
export function buildStep(
  base: DenoiserBase,
  options: LossOptions,
  groups: readonly ParameterGroup[],
  optimizer: OptimizerSettings,
  gradients: GradientOptions = {},
): Graph {
  const { graph, loss } = appendLoss(base, options);
  graph.fetches.set("loss", appendStep(loss, groups, optimizer, gradients));
  return graph;
}

/** One of several microsteps: adds its share of the gradients to the accumulators. Fetches `loss`. */
export function buildMicrostep(
  base: DenoiserBase,
  options: LossOptions,
  groups: readonly ParameterGroup[],
  count: number,
  gradients: GradientOptions = {},
): Graph {
  const { graph, loss } = appendLoss(base, options);
  graph.fetches.set("loss", appendAccumulation(loss, groups, 1 / count, gradients));
  return graph;
}
