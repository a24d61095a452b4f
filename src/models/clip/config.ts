/** What a CLIP text encoder's config.json says, as transformers' CLIPTextConfig reads it. */
import { readConfigFields } from "../../nn/config-fields.ts";

/** The shape of a CLIP text encoder (Radford et al. 2021, section 2.4). */
export interface ClipTextConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly maxPositionEmbeddings: number;
  readonly hiddenAct: "quick_gelu" | "gelu";
  readonly layerNormEps: number;
  /** Width of the text embedding of a CLIPTextModelWithProjection; undefined for a plain CLIPTextModel. */
  readonly projectionDim: number | undefined;
  /** Which token's row is the pooled output. 2 is what old files say by mistake; see `findEosRows`. */
  readonly eosTokenId: number;
}

/**
 * @param json the parsed config.json of a diffusers `text_encoder` or `text_encoder_2` folder
 * @param where the file, for messages
 * @throws UserError naming the first field that is wrong or not supported
 */
export function parseClipTextConfig(json: unknown, where = "text_encoder/config.json"): ClipTextConfig {
  const fields = readConfigFields(json, where);
  fields.only("model_type", ["clip_text_model"]);
  const architecture = fields.optionalChoice("architectures", ["CLIPTextModel", "CLIPTextModelWithProjection"]);
  if (!architecture) throw fields.refuse("architectures", "CLIPTextModel or CLIPTextModelWithProjection is needed");
  const hiddenSize = fields.integer("hidden_size", 512);
  const numAttentionHeads = fields.integer("num_attention_heads", 8);
  if (hiddenSize % numAttentionHeads !== 0) {
    throw fields.refuse("hidden_size", `it must divide into num_attention_heads = ${numAttentionHeads} heads`);
  }
  const projectionDim = fields.integer("projection_dim", 512);
  return {
    vocabSize: fields.integer("vocab_size", 49408),
    hiddenSize,
    intermediateSize: fields.integer("intermediate_size", 2048),
    numHiddenLayers: fields.integer("num_hidden_layers", 12),
    numAttentionHeads,
    maxPositionEmbeddings: fields.integer("max_position_embeddings", 77),
    hiddenAct: fields.choice("hidden_act", ["quick_gelu", "gelu"], "quick_gelu"),
    layerNormEps: fields.number("layer_norm_eps", 1e-5),
    projectionDim: architecture === "CLIPTextModelWithProjection" ? projectionDim : undefined,
    eosTokenId: fields.integer("eos_token_id", 49407),
  };
}
