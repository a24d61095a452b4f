/** Text to what the UNet is conditioned on, and pictures to latents and back, as graphs over a base model's parts. */
import { add, concat, mul } from "../graph/build.ts";
import { Graph, type Value } from "../graph/graph.ts";
import { clipText, normedHiddenState } from "../models/clip/model.ts";
import { vaeDecode, vaeEncode } from "../models/vae/model.ts";
import { createParams } from "../nn/params.ts";
import { type BaseModel, type TextEncoderPart, tokenCount } from "./base.ts";

export interface TextConditioning {
  /** [B, L, crossAttentionDim] */
  readonly textEmbeddings: Value;
  /** SDXL's pooled text, [B, P]. */
  readonly pooled: Value | undefined;
}

/**
 * Appends the text encoders. SDXL joins the second-to-last hidden states of both and pools the second (Podell et al. 2023, section
 * 2.1); SD 1.5 takes the last hidden state, or with clip skip an earlier one, after the final norm. Feeds made here, for each encoder: `inputIds.<name>` int32 [B, L] and,
 * for the one that is pooled, `eosRows.<name>` int32 [B].
 */
export function textConditioning(
  graph: Graph,
  encoders: readonly TextEncoderPart[],
  batch: number,
  tokens: number,
): TextConditioning {
  const outputs = encoders.map(({ name, config }) => {
    const inputIds = graph.feed(`inputIds.${name}`, [batch, tokens], "int32");
    const isPooled = config.projectionDim !== undefined;
    const inputs = isPooled ? { inputIds, eosRows: graph.feed(`eosRows.${name}`, [batch], "int32") } : { inputIds };
    return clipText(createParams(graph, name), inputs, config);
  });
  const [first, second] = outputs;
  if (!first) throw new Error("textConditioning: at least one text encoder needed, got none");
  if (!second) return { textEmbeddings: skipped(graph, encoders[0], first), pooled: undefined };
  const hidden = [first, second].map(({ hiddenStates }) => hiddenStates.at(-2));
  const [a, b] = hidden;
  if (!a || !b || !second.textEmbeds) throw new Error("textConditioning: two encoders with layers and a projection needed");
  return { textEmbeddings: concat([a, b], 2), pooled: second.textEmbeds };
}

function skipped(graph: Graph, encoder: TextEncoderPart | undefined, outputs: ReturnType<typeof clipText>): Value {
  const { name, config, clipSkip = 1 } = encoder ?? {};
  if (clipSkip === 1 || !name || !config) return outputs.lastHiddenState;
  return normedHiddenState(createParams(graph, name), outputs, clipSkip, config);
}

/** Fetches `textEmbeddings` [B, L, D] and, for SDXL, `pooled` [B, P]. */
export function buildTextEncoding(base: Pick<BaseModel, "textEncoders">, batch: number): Graph {
  const graph = new Graph();
  const { textEmbeddings, pooled } = textConditioning(graph, base.textEncoders, batch, tokenCount(base));
  graph.fetches.set("textEmbeddings", textEmbeddings);
  if (pooled) graph.fetches.set("pooled", pooled);
  return graph;
}

/** Feed `pixels` [B, 3, H, W] in -1..1; fetches `latents`, the mean of the encoder's Gaussian as the UNet sees it: [B, C, H / 8, W / 8]. */
export function buildVaeEncoding(base: Pick<BaseModel, "vae">, batch: number, heightPx: number, widthPx: number): Graph {
  const graph = new Graph();
  const { inChannels, scalingFactor, shiftFactor } = base.vae;
  const { mean } = vaeEncode(
    createParams(graph, "vae"),
    graph.feed("pixels", [batch, inChannels, heightPx, widthPx]),
    base.vae,
  );
  graph.fetches.set("latents", mul(add(mean, -shiftFactor), scalingFactor));
  return graph;
}

/** Feed `latents` [B, C, h, w] as the UNet gives them; fetches `pixels` [B, 3, 8 h, 8 w] of about -1..1. */
export function buildVaeDecoding(base: Pick<BaseModel, "vae">, batch: number, height: number, width: number): Graph {
  const graph = new Graph();
  const { latentChannels, scalingFactor, shiftFactor } = base.vae;
  const latents = graph.feed("latents", [batch, latentChannels, height, width]);
  graph.fetches.set(
    "pixels",
    vaeDecode(createParams(graph, "vae"), add(mul(latents, 1 / scalingFactor), shiftFactor), base.vae),
  );
  return graph;
}
