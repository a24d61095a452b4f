/** Text to what the UNet is conditioned on, and pictures to latents and back, as graphs over a base model's parts. */
import { add, concat, mul, reshape, sliceAxis } from "../graph/build.ts";
import { Graph, type Value } from "../graph/graph.ts";
import { chunkLength } from "../models/clip/chunks.ts";
import { clipText, finalLayerNorm } from "../models/clip/model.ts";
import { vaeDecode, vaeEncode } from "../models/vae/model.ts";
import { createParams } from "../nn/params.ts";
import type { BaseConfigs, BaseModel, TextEncoderConfig, TextForm } from "./base.ts";

export interface TextConditioning {
  /** [B, tokenCount, crossAttentionDim] */
  readonly textEmbeddings: Value;
  /** SDXL's pooled text, [B, P]. */
  readonly pooled: Value | undefined;
}

/**
 * Appends the text encoders. SDXL joins the second-to-last hidden states of both and pools the second (Podell et al. 2023, section
 * 2.1); SD 1.5 takes the last hidden state, or that which `clipSkip` says, after the final norm. Chunks are joined as
 * docs/decisions/0005-long-captions.md says; what is pooled is the first one. Feeds made here, for each encoder: `inputIds.<name>`
 * int32 [B * chunks, L], a text's chunks one after the other, and, for the encoder that is pooled, `eosRows.<name>` int32 [B].
 */
export function textConditioning(
  graph: Graph,
  encoders: readonly TextEncoderConfig[],
  batch: number,
  { chunks, clipSkip }: TextForm,
): TextConditioning {
  const length = chunkLength({ textEncoders: encoders });
  const outputs = encoders.map(({ name, config }) => {
    const params = createParams(graph, name);
    const inputIds = graph.feed(`inputIds.${name}`, [batch * chunks, length], "int32");
    const isPooled = config.projectionDim !== undefined;
    const inputs = isPooled ? { inputIds, eosRows: graph.feed(`eosRows.${name}`, [batch], "int32") } : { inputIds };
    return { params, config, ...clipText(params, inputs, config) };
  });
  const [first, second] = outputs;
  if (!first) throw new Error("textConditioning: at least one text encoder needed, got none");
  if (!second) {
    const skipped = first.hiddenStates.at(-clipSkip);
    if (!skipped) throw new Error(`textConditioning: clipSkip ${clipSkip} needs as many layers`);
    const normed = clipSkip === 1 ? first.lastHiddenState : finalLayerNorm(first.params, skipped, first.config);
    return { textEmbeddings: joinChunks(normed, chunks), pooled: undefined };
  }
  const hidden = [first, second].map(({ hiddenStates }) => hiddenStates.at(-2));
  const [a, b] = hidden;
  if (!a || !b || !second.textEmbeds) throw new Error("textConditioning: two encoders with layers and a projection needed");
  return { textEmbeddings: joinChunks(concat([a, b], 2), chunks), pooled: second.textEmbeds };
}

/**
 * Kohya's way: the first chunk's start, then all chunks' tokens without their marks, then the last place of the last chunk:
 * [B * chunks, L, D] -> [B, chunks * (L - 2) + 2, D].
 */
function joinChunks(x: Value, chunks: number): Value {
  const [rows = 0, length = 0, width = 0] = x.shape;
  if (chunks === 1) return x;
  const batch = rows / chunks;
  const whole = reshape(x, [batch, chunks * length, width]);
  const inner = reshape(sliceAxis(x, 1, 1, length - 1), [batch, chunks * (length - 2), width]);
  return concat([sliceAxis(whole, 1, 0, 1), inner, sliceAxis(whole, 1, chunks * length - 1, chunks * length)], 1);
}

/** Fetches `textEmbeddings` [B, tokenCount, D] and, for SDXL, `pooled` [B, P]. */
export function buildTextEncoding(base: Pick<BaseConfigs, "textEncoders">, batch: number, form: TextForm): Graph {
  const graph = new Graph();
  const { textEmbeddings, pooled } = textConditioning(graph, base.textEncoders, batch, form);
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
