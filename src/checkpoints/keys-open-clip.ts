/** What single files call the weights of OpenCLIP-G, SDXL's second text encoder: the names of mlfoundations/open_clip. */
import type { FileTensor, KeyMap } from "./locate-weights.ts";

export const OPEN_CLIP_PREFIX = "conditioner.embedders.1.model.";

/** Outside the layers. The projection multiplies from the other side there, so that it is stored transposed. */
const outside: Readonly<Record<string, Omit<FileTensor, "keys"> & { readonly key: string }>> = {
  "text_model.embeddings.token_embedding.weight": { key: "token_embedding.weight" },
  "text_model.embeddings.position_embedding.weight": { key: "positional_embedding" },
  "text_model.final_layer_norm.weight": { key: "ln_final.weight" },
  "text_model.final_layer_norm.bias": { key: "ln_final.bias" },
  "text_projection.weight": { key: "text_projection", isTransposed: true },
};

/** Inside `text_model.encoder.layers.N` and `transformer.resblocks.N`. Query, key and value are the thirds of one matrix. */
const inLayer: Readonly<Record<string, Omit<FileTensor, "keys"> & { readonly key: string }>> = {
  "layer_norm1.weight": { key: "ln_1.weight" },
  "layer_norm1.bias": { key: "ln_1.bias" },
  "self_attn.q_proj.weight": { key: "attn.in_proj_weight", part: [0, 3] },
  "self_attn.q_proj.bias": { key: "attn.in_proj_bias", part: [0, 3] },
  "self_attn.k_proj.weight": { key: "attn.in_proj_weight", part: [1, 3] },
  "self_attn.k_proj.bias": { key: "attn.in_proj_bias", part: [1, 3] },
  "self_attn.v_proj.weight": { key: "attn.in_proj_weight", part: [2, 3] },
  "self_attn.v_proj.bias": { key: "attn.in_proj_bias", part: [2, 3] },
  "self_attn.out_proj.weight": { key: "attn.out_proj.weight" },
  "self_attn.out_proj.bias": { key: "attn.out_proj.bias" },
  "layer_norm2.weight": { key: "ln_2.weight" },
  "layer_norm2.bias": { key: "ln_2.bias" },
  "mlp.fc1.weight": { key: "mlp.c_fc.weight" },
  "mlp.fc1.bias": { key: "mlp.c_fc.bias" },
  "mlp.fc2.weight": { key: "mlp.c_proj.weight" },
  "mlp.fc2.bias": { key: "mlp.c_proj.bias" },
};

export const openClipKeys: KeyMap = (path) => {
  const [, layer, rest = ""] = /^text_model\.encoder\.layers\.(\d+)\.(.+)$/.exec(path) ?? [];
  const found = layer === undefined ? outside[path] : inLayer[rest];
  if (!found) throw new Error(`openClipKeys: no weight ${path} in a CLIP text encoder`);
  const { key, ...how } = found;
  return { ...how, keys: [`${OPEN_CLIP_PREFIX}${layer === undefined ? "" : `transformer.resblocks.${layer}.`}${key}`] };
};
