/** What a safetensors file is, by its keys and shapes: Stable Diffusion 1.5, SDXL, or something else, which is refused by its name. */
import { UserError } from "../errors.ts";
import type { BaseFamily } from "./base.ts";
import { findVaeNaming } from "./derive-vae.ts";
import { SD15_CLIP_PREFIX, SDXL_CLIP_PREFIX } from "./keys-clip.ts";
import { OPEN_CLIP_PREFIX } from "./keys-open-clip.ts";
import { UNET_PREFIX } from "./keys-unet.ts";
import { VAE_PREFIX } from "./keys-vae.ts";
import type { FileTensors } from "./locate-weights.ts";

/** A kind of file that is no base, or none yet, and a key that no other kind has. */
interface OtherKind {
  readonly mark: RegExp;
  readonly what: string;
  readonly fix: string;
}

const BASES = "Gesso trains on SD 1.5 and SDXL, and on what was trained from them (Pony, Illustrious, NoobAI).";
const whole = (part: string): string => `Give the whole model with --base; ${part} alone cannot be trained on.`;

/** From the most particular to the most general: the first that fits counts. */
const otherKinds: readonly OtherKind[] = [
  {
    mark: /\.lora_(down|up|mid|A|B)\b|[._]lora\.(down|up)\.|\.(hada_w1_a|lokr_w1|lokr_w1_a|dora_scale|oft_blocks|oft_diag)$/,
    what: "a LoRA, not a base model",
    fix: "Give the base that it was trained on with --base, and the LoRA itself with --lora (sample) or --continue-from (train).",
  },
  { mark: /^(emb_params|clip_[lg]|string_to_param\b.*)$/, what: "a textual inversion embedding", fix: BASES },
  { mark: /^control_model\.|^controlnet_|^input_hint_block\./, what: "a ControlNet", fix: BASES },
  { mark: /^(ip_adapter|image_proj)\./, what: "an IP-Adapter", fix: BASES },
  {
    mark: /(^|\.)scaled_fp8$|\.(scale_weight|scale_input|weight_scale|weight_quantizer\._amax)$|\.quant_state\.|\.(qweight|qzeros)$|\.absmax$/,
    what: "a model with quantised weights (scaled float8, int8 or NF4)",
    fix: "Use the version in float16, bfloat16 or plain float8.",
  },
  { mark: /distilled_guidance_layer\./, what: "Chroma, another architecture (a Flux)", fix: BASES },
  { mark: /(single|double)_stream_modulation/, what: "Flux.2, another architecture", fix: BASES },
  { mark: /individual_token_refiner\./, what: "HunyuanVideo, another architecture", fix: BASES },
  {
    mark: /(^|\.)(double_blocks\.\d+\.img_attn|single_transformer_blocks\.\d+)\./,
    what: "Flux.1, another architecture",
    fix: BASES,
  },
  { mark: /(^|\.)joint_blocks\.\d+\./, what: "Stable Diffusion 3, another architecture", fix: BASES },
  { mark: /(^|\.)cap_embedder\./, what: "Lumina 2 or Z-Image, another architecture", fix: BASES },
  { mark: /(^|\.)(double_layers|single_layers)\.\d+\.attn\./, what: "AuraFlow, another architecture", fix: BASES },
  { mark: /(^|\.)txt_norm\.|(^|\.)txt_in\.text_norm\./, what: "Qwen-Image, another architecture", fix: BASES },
  { mark: /(^|\.)head\.modulation$/, what: "Wan, another architecture", fix: BASES },
  {
    mark: /(^|\.)(adaln_single|scale_shift_table|patchify_proj)\b/,
    what: "a PixArt or LTX model, another architecture",
    fix: BASES,
  },
  { mark: /(^|\.)cross_attn\.(q_linear|kv_linear)\./, what: "Sana, another architecture", fix: BASES },
  { mark: /^clip_txt_mapper\.|\.channelwise\.0\./, what: "Stable Cascade, another architecture", fix: BASES },
  { mark: /motion_modules\./, what: "an AnimateDiff motion module", fix: BASES },
  { mark: /^edm_(mean|std|vpred\.)/, what: "an SDXL trained in the EDM way (Playground v2.5, CosXL)", fix: BASES },
  {
    mark: /^conditioner\.embedders\.0\.model\./,
    what: "the SDXL refiner",
    fix: "Train on the SDXL base; pictures can still be refined.",
  },
  { mark: /^cond_stage_model\.model\./, what: "Stable Diffusion 2, whose text encoder is another one", fix: BASES },
];

/** Keys by which a file is of one family; the UNet of SDXL has an added embedding, that of SD 1.5 none. */
const familyMarks: readonly (readonly [family: string, mark: RegExp])[] = [
  ["SD 1.5", /^cond_stage_model\.transformer\./],
  ["SDXL", /^conditioner\.embedders\.|^model\.diffusion_model\.label_emb\./],
  ["Flux", /(^|\.)double_blocks\.\d+\.img_attn\./],
  ["SD 3", /(^|\.)joint_blocks\.\d+\./],
];

/** The parts that a single file of Stable Diffusion has. */
export interface RecognisedFile {
  readonly family: BaseFamily;
  readonly hasVae: boolean;
}

/**
 * @param path for messages
 * @throws UserError saying what the file is instead, or which part of a model it lacks
 */
export function recogniseBase(tensors: FileTensors, path: string): RecognisedFile {
  const keys = [...tensors.keys()];
  refuseMixed(keys, path);
  for (const { mark, what, fix } of otherKinds) {
    const key = keys.find((candidate) => mark.test(candidate));
    if (key !== undefined) throw new UserError(`${path} is ${what} (it holds ${key}).`, { fix });
  }
  if (!keys.some((key) => key.startsWith(UNET_PREFIX))) throw refusePart(keys, tensors, path);
  refuseInputs(tensors, path);
  const family = keys.some((key) => key.startsWith(`${UNET_PREFIX}label_emb.`)) ? "sdxl" : "sd15";
  const encoders = family === "sdxl" ? [SDXL_CLIP_PREFIX, OPEN_CLIP_PREFIX] : [SD15_CLIP_PREFIX];
  const missing = encoders.find((prefix) => !keys.some((key) => key.startsWith(prefix)));
  if (missing !== undefined) {
    throw new UserError(`${path} lacks a text encoder: no key begins with ${missing.slice(0, -1)}.`, {
      fix: "Use the full version of the model, with its text encoders; they cannot be given from elsewhere.",
    });
  }
  return { family, hasVae: findVaeNaming(tensors, VAE_PREFIX) !== undefined };
}

function refuseMixed(keys: readonly string[], path: string): void {
  const found = familyMarks.flatMap(([family, mark]) => {
    const key = keys.find((candidate) => mark.test(candidate));
    return key === undefined ? [] : [{ family, key }];
  });
  const hasAdded = keys.some((key) => key.startsWith(`${UNET_PREFIX}label_emb.`));
  const plain = keys.find((key) => key.startsWith(UNET_PREFIX));
  // SDXL's text encoders beside a UNet that cannot use them.
  if (plain !== undefined && !hasAdded && found.length === 1 && found[0]?.family === "SDXL")
    found.unshift({ family: "SD 1.5", key: plain });
  const [first, second] = found;
  if (!first || !second) return;
  throw new UserError(`${path} mixes two models: ${first.key} is of ${first.family}, ${second.key} of ${second.family}.`, {
    fix: "It was merged or saved badly: use another file.",
  });
}

/** A file without a UNet. */
function refusePart(keys: readonly string[], tensors: FileTensors, path: string): UserError {
  const hasPrefix = (start: RegExp): boolean => keys.some((key) => start.test(key));
  if (findVaeNaming(tensors, "") ?? findVaeNaming(tensors, VAE_PREFIX))
    return new UserError(`${path} is a VAE alone.`, { fix: "Give the model with --base, and this file with --vae." });
  if (hasPrefix(/^(input_blocks|down_blocks|diffusion_model\.input_blocks)\./))
    return new UserError(`${path} is a UNet alone.`, { fix: whole("a UNet") });
  if (hasPrefix(/^(text_model|transformer\.resblocks|encoder\.layers|encoder\.block|cond_stage_model|conditioner)\./))
    return new UserError(`${path} is a text encoder alone.`, { fix: whole("a text encoder") });
  const some =
    keys.length === 0 ? "it holds no tensors" : `its tensors: ${keys.slice(0, 3).join(", ")}${keys.length > 3 ? ", ..." : ""}`;
  return new UserError(`${path} is no model that Gesso knows (${some}).`, { fix: BASES });
}

/** Models whose UNet is given more than latents, or another text. */
function refuseInputs(tensors: FileTensors, path: string): void {
  const first = `${UNET_PREFIX}input_blocks.0.0.weight`;
  const channels = tensors.get(first)?.shape[1];
  if (channels === undefined || channels === 4) {
    const width = tensors.get(`${UNET_PREFIX}middle_block.1.transformer_blocks.0.attn2.to_k.weight`)?.shape[1];
    const isBare = ![...tensors.keys()].some((key) => key.startsWith("cond_stage_model.") || key.startsWith("conditioner."));
    if (width === 1024 && isBare)
      throw new UserError(`${path} is Stable Diffusion 2, whose text encoder is another one.`, { fix: BASES });
    return;
  }
  const what =
    channels === 9
      ? "an inpainting model"
      : channels === 8
        ? "an InstructPix2Pix model"
        : `a model with ${channels} input channels`;
  throw new UserError(`${path} is ${what}: ${first} is [${tensors.get(first)?.shape.join(", ") ?? ""}], not [.., 4, 3, 3].`, {
    fix: "Train on the text-to-image model that it was made from; the LoRA works on the other too.",
  });
}
