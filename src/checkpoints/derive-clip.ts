/** The text encoders' configurations from the keys and shapes of a single file, which carries none. */
import { UserError } from "../errors.ts";
import { type ClipTextConfig, parseClipTextConfig } from "../models/clip/config.ts";
import { OPEN_CLIP_PREFIX } from "./keys-open-clip.ts";
import type { FileTensors } from "./locate-weights.ts";
import { createShapeReader } from "./shape-reader.ts";

/** Of every head in CLIP-L and OpenCLIP-G: 12 of them make 768, 20 make 1280. Shapes do not show it. */
const HEAD_WIDTH = 64;

/** Start and end token of CLIP's vocabulary, the only one that single files are used with. */
const tokens = { bos_token_id: 49406, eos_token_id: 49407 };

/**
 * Derived: width, layers, vocabulary, positions, width of the feed-forward layers. Assumed: heads of 64 numbers, quick_gelu.
 *
 * @param prefix of the encoder's keys
 * @throws UserError naming the key that is missing
 */
export function deriveClipConfig(tensors: FileTensors, prefix: string, where: string): ClipTextConfig {
  const start = tensors.has(`${prefix}text_model.embeddings.token_embedding.weight`) ? `${prefix}text_model.` : prefix;
  const read = createShapeReader(tensors, start, where);
  const hiddenSize = read.size("embeddings.token_embedding.weight", 1);
  const json = {
    architectures: ["CLIPTextModel"],
    hidden_act: "quick_gelu",
    hidden_size: hiddenSize,
    vocab_size: read.size("embeddings.token_embedding.weight", 0),
    max_position_embeddings: read.size("embeddings.position_embedding.weight", 0),
    num_hidden_layers: read.count((i) => `encoder.layers.${i}.layer_norm1.weight`),
    num_attention_heads: headCount(hiddenSize, where),
    intermediate_size: read.size("encoder.layers.0.mlp.fc1.weight", 0),
    ...tokens,
  };
  return parseClipTextConfig(json, where);
}

/** Like `deriveClipConfig`, for SDXL's second encoder. Assumed: heads of 64 numbers, gelu. */
export function deriveOpenClipConfig(tensors: FileTensors, where: string): ClipTextConfig {
  const read = createShapeReader(tensors, OPEN_CLIP_PREFIX, where);
  const hiddenSize = read.size("token_embedding.weight", 1);
  const json = {
    architectures: ["CLIPTextModelWithProjection"],
    hidden_act: "gelu",
    hidden_size: hiddenSize,
    vocab_size: read.size("token_embedding.weight", 0),
    max_position_embeddings: read.size("positional_embedding", 0),
    num_hidden_layers: read.count((i) => `transformer.resblocks.${i}.ln_1.weight`),
    num_attention_heads: headCount(hiddenSize, where),
    intermediate_size: read.size("transformer.resblocks.0.mlp.c_fc.weight", 0),
    // Stored transposed: [width, projection].
    projection_dim: read.size("text_projection", 1),
    ...tokens,
  };
  return parseClipTextConfig(json, where);
}

function headCount(hiddenSize: number, where: string): number {
  const heads = Math.max(1, hiddenSize / HEAD_WIDTH);
  if (Number.isInteger(heads)) return heads;
  throw new UserError(`${where}: a text encoder is ${hiddenSize} wide; a multiple of ${HEAD_WIDTH} is needed.`, {
    fix: "Use a model of SD 1.5's or SDXL's architecture.",
  });
}
