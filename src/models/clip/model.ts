/** The text encoder of CLIP: transformers' CLIPTextModel and CLIPTextModelWithProjection (Radford et al. 2021). */
import { add, constant, gather, gelu, quickGelu, reshape, sliceAxis } from "../../graph/build.ts";
import type { Value } from "../../graph/graph.ts";
import { multiHeadAttention } from "../../nn/attention.ts";
import { axisSize, layerNorm, linear } from "../../nn/layers.ts";
import { createParams, listParameters, type Params, type ParameterSpec } from "../../nn/params.ts";
import type { ClipTextConfig } from "./config.ts";

/** Added to the scores of later tokens: e to the power of it is 0 in float32, and it fits float16. */
const MASKED = -1e4;

export interface ClipTextInputs {
  /** int32 [B, L] */
  readonly inputIds: Value;
  /** int32 [B]: where each text's end token is among all B * L rows; see `findEosRows`. Without it nothing is pooled. */
  readonly eosRows?: Value;
}

export interface ClipTextOutputs {
  /** The embeddings and every layer's output, numHiddenLayers + 1 in all: [B, L, D]. The last one is not normalised. */
  readonly hiddenStates: readonly Value[];
  /** The last hidden state after `final_layer_norm`: [B, L, D]. */
  readonly lastHiddenState: Value;
  /** The row of the end token in `lastHiddenState`: [B, D]. */
  readonly pooled: Value | undefined;
  /** `pooled` through `text_projection`, in a CLIPTextModelWithProjection: [B, projectionDim]. */
  readonly textEmbeds: Value | undefined;
}

/**
 * Tokens to text embeddings. The mask is causal; padding is not masked, as diffusers' pipelines do not.
 *
 * @example
 * const ids = graph.feed("input_ids", [1, 77], "int32");
 * const { lastHiddenState } = clipText(createParams(graph, "text_encoder"), { inputIds: ids }, config); // [1, 77, 768]
 */
export function clipText(params: Params, { inputIds, eosRows }: ClipTextInputs, config: ClipTextConfig): ClipTextOutputs {
  const textModel = params.at("text_model");
  const mask = textModel.scope(() => causalMask(params, axisSize(inputIds, 1)));
  const embedded = embeddings(textModel.at("embeddings"), inputIds, config);
  const hiddenStates = [embedded];
  let x = embedded;
  for (let i = 0; i < config.numHiddenLayers; i++) {
    x = encoderLayer(textModel.at("encoder.layers").at(i), x, mask, config);
    hiddenStates.push(x);
  }
  const lastHiddenState = layerNorm(textModel.at("final_layer_norm"), x, config.layerNormEps);
  const pooled = eosRows && textModel.scope(() => gather(rows(lastHiddenState), eosRows));
  const { projectionDim } = config;
  const textEmbeds =
    pooled && projectionDim !== undefined ? linear(params.at("text_projection"), pooled, projectionDim, { bias: false }) : undefined;
  return { hiddenStates, lastHiddenState, pooled, textEmbeds };
}

/**
 * An earlier hidden state after `final_layer_norm`, which A1111 and sd-scripts call clip skip: 1 is `lastHiddenState`, 2 that of the layer
 * before.
 *
 * @throws Error when there are fewer layers
 */
export function normedHiddenState(params: Params, { hiddenStates }: ClipTextOutputs, clipSkip: number, config: ClipTextConfig): Value {
  const hidden = hiddenStates.at(-clipSkip);
  if (!hidden) throw new Error(`normedHiddenState: clip skip 1 to ${hiddenStates.length} is possible, got ${clipSkip}`);
  return layerNorm(params.at("text_model.final_layer_norm"), hidden, config.layerNormEps);
}

/** The weights of the encoder, with its projection where it has one. */
export function listClipTextParameters(config: ClipTextConfig, component: string): readonly ParameterSpec[] {
  return listParameters((graph) => {
    const inputIds = graph.feed("input_ids", [1, 1], "int32");
    clipText(createParams(graph, component), { inputIds, eosRows: graph.feed("eos_rows", [1], "int32") }, config);
  });
}

/**
 * Where each text ends among all B * L rows, as transformers finds it: at the first end token, or, where the file says 2 (a
 * mistake in the first published ones), at the largest id, which the end token has in CLIP's vocabulary.
 *
 * @param inputIds B rows of `length` tokens
 * @throws Error when a text has no end token
 */
export function findEosRows(inputIds: Int32Array, length: number, { eosTokenId }: ClipTextConfig): Int32Array {
  return Int32Array.from({ length: inputIds.length / length }, (_, i) => {
    const ids = inputIds.subarray(i * length, (i + 1) * length);
    const position = ids.indexOf(eosTokenId === 2 ? Math.max(...ids) : eosTokenId);
    if (position < 0) throw new Error(`findEosRows: text ${i} has no end token ${eosTokenId}: ${ids.join(" ")}`);
    return i * length + position;
  });
}

/** [B, L] -> [B, L, D] */
function embeddings(params: Params, inputIds: Value, config: ClipTextConfig): Value {
  const { vocabSize, hiddenSize, maxPositionEmbeddings } = config;
  const length = axisSize(inputIds, 1);
  if (length > maxPositionEmbeddings) {
    throw new Error(`clipText: at most ${maxPositionEmbeddings} tokens fit, got ${length}\n  at ${params.key}`);
  }
  return params.scope(() => {
    const tokens = gather(params.at("token_embedding").get("weight", [vocabSize, hiddenSize]), inputIds);
    const positions = params.at("position_embedding").get("weight", [maxPositionEmbeddings, hiddenSize]);
    return add(tokens, sliceAxis(positions, 0, 0, length));
  });
}

/** transformers' `CLIPEncoderLayer`, pre-norm: [B, L, D] -> the same. */
function encoderLayer(params: Params, x: Value, mask: Value, config: ClipTextConfig): Value {
  const { layerNormEps, hiddenSize, intermediateSize, hiddenAct } = config;
  const activation = hiddenAct === "gelu" ? gelu : quickGelu;
  return params.block(() => {
    const h = add(x, selfAttention(params.at("self_attn"), layerNorm(params.at("layer_norm1"), x, layerNormEps), mask, config));
    const mlp = params.at("mlp");
    const inner = linear(mlp.at("fc1"), layerNorm(params.at("layer_norm2"), h, layerNormEps), intermediateSize);
    return add(h, linear(mlp.at("fc2"), mlp.scope(() => activation(inner)), hiddenSize));
  });
}

function selfAttention(params: Params, x: Value, mask: Value, { hiddenSize, numAttentionHeads }: ClipTextConfig): Value {
  return params.scope(() => {
    const q = linear(params.at("q_proj"), x, hiddenSize);
    const k = linear(params.at("k_proj"), x, hiddenSize);
    const v = linear(params.at("v_proj"), x, hiddenSize);
    return linear(params.at("out_proj"), multiHeadAttention(q, k, v, numAttentionHeads, mask), hiddenSize);
  });
}

/** [1, 1, L, L]: 0 for a token and those before it. */
function causalMask({ graph, dtype }: Params, length: number): Value {
  const data = Array.from({ length: length * length }, (_, i) => (i % length > Math.floor(i / length) ? MASKED : 0));
  return constant(graph, data, [1, 1, length, length], dtype);
}

/** [B, L, D] -> [B * L, D] */
function rows(x: Value): Value {
  return reshape(x, [axisSize(x, 0) * axisSize(x, 1), axisSize(x, 2)]);
}
