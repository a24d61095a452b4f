/** What the keys of adapter files mean: a module's name, and the part of it that the tensor is. */

/**
 * A part of a module. `down`, `up`, `mid`: LoRA. `w1a` ... `t2`: the factors of LoHa and LoKr; `w1`, `w2`: LoKr's, whole. `diff`, `diffBias`:
 * the change itself, of the weight and of the bias. `doraScale`: DoRA's magnitudes.
 */
export type PartName =
  | "down"
  | "up"
  | "mid"
  | "alpha"
  | "doraScale"
  | "w1"
  | "w1a"
  | "w1b"
  | "w2"
  | "w2a"
  | "w2b"
  | "t1"
  | "t2"
  | "diff"
  | "diffBias";

/** By what a module's change of the weight is made; DoRA can stand on any of the first three. */
export type AdapterForm = "lora" | "loha" | "lokr" | "full";

interface Ending {
  readonly end: RegExp;
  readonly part: PartName;
  /** The form that the part belongs to; undefined where it can stand in any. */
  readonly form: AdapterForm | undefined;
}

/**
 * How keys end: sd-scripts ("lora_down"), PEFT ("lora_A"; "default" is the name that PEFT gives an adapter without one), diffusers before
 * PEFT ("to_q_lora.down", "lora.down", "lora_linear_layer.down") and LyCORIS (the rest).
 */
const endings: readonly Ending[] = [
  {
    end: /(?:\.lora_down|\.lora_A(?:\.default)?|[._]lora\.down|\.lora_linear_layer\.down)\.weight$/,
    part: "down",
    form: "lora",
  },
  { end: /(?:\.lora_up|\.lora_B(?:\.default)?|[._]lora\.up|\.lora_linear_layer\.up)\.weight$/, part: "up", form: "lora" },
  { end: /\.lora_A$/, part: "down", form: "lora" },
  { end: /\.lora_B$/, part: "up", form: "lora" },
  { end: /\.lora_mid\.weight$/, part: "mid", form: "lora" },
  { end: /(?:_lora)?\.alpha$/, part: "alpha", form: undefined },
  { end: /\.(?:dora_scale|lora_magnitude_vector(?:\.default)?(?:\.weight)?)$/, part: "doraScale", form: undefined },
  { end: /\.hada_w1_a$/, part: "w1a", form: "loha" },
  { end: /\.hada_w1_b$/, part: "w1b", form: "loha" },
  { end: /\.hada_w2_a$/, part: "w2a", form: "loha" },
  { end: /\.hada_w2_b$/, part: "w2b", form: "loha" },
  { end: /\.hada_t1$/, part: "t1", form: "loha" },
  { end: /\.hada_t2$/, part: "t2", form: "loha" },
  { end: /\.lokr_w1$/, part: "w1", form: "lokr" },
  { end: /\.lokr_w1_a$/, part: "w1a", form: "lokr" },
  { end: /\.lokr_w1_b$/, part: "w1b", form: "lokr" },
  { end: /\.lokr_w2$/, part: "w2", form: "lokr" },
  { end: /\.lokr_w2_a$/, part: "w2a", form: "lokr" },
  { end: /\.lokr_w2_b$/, part: "w2b", form: "lokr" },
  { end: /\.lokr_t2$/, part: "t2", form: "lokr" },
  { end: /\.(?:diff|w_norm)$/, part: "diff", form: "full" },
  { end: /\.(?:diff_b|b_norm)$/, part: "diffBias", form: "full" },
];

/** What a key says; undefined when it ends in no way that is known. */
export function parseKey(
  key: string,
): { readonly module: string; readonly part: PartName; readonly form: AdapterForm | undefined } | undefined {
  for (const { end, part, form } of endings) {
    const match = end.exec(key);
    if (match) return { module: key.slice(0, match.index), part, form };
  }
  return undefined;
}

/** Kinds that no part of Gesso reads, by what their keys hold. */
const otherKinds: readonly (readonly [mark: RegExp, kind: string])[] = [
  [/\.oft_diag|\.oft_blocks|\.oft_R\./, "OFT or BOFT"],
  [/\.[ab][12]\.weight$/, "GLoRA"],
  [/\.on_input$/, "IA3"],
  [/\.set_weight$|\.reshape_weight$/, "a control LoRA that changes the base's shape"],
  [/^bundle_emb\./, "an embedding"],
];

/** What a key that `parseKey` does not know belongs to; undefined when that is unknown too. */
export function describeUnreadKey(key: string): string | undefined {
  return otherKinds.find(([mark]) => mark.test(key))?.[1];
}

/**
 * Who wrote a file, by how its modules are called:
 * `kohya-sgm`, `kohya-diffusers`: "lora_unet_input_blocks_…", "lora_unet_down_blocks_…" (sd-scripts, OneTrainer, LyCORIS in sd-scripts);
 * `peft`: paths of the diffusers layout ("unet.down_blocks…", "transformer.…"), older diffusers forms included;
 * `lycoris`: "lycoris_…" (LyCORIS on its own, SimpleTuner); `native`: "diffusion_model.…" (ai-toolkit, ComfyUI's own trainer).
 */
export type AdapterNaming = "kohya-sgm" | "kohya-diffusers" | "peft" | "lycoris" | "native" | "mixed" | "unknown";

const sgmBlocks =
  /^lora_unet_(input_blocks|middle_block|output_blocks|time_embed_\d|label_emb|out_[02]$|double_blocks|single_blocks|img_in|txt_in|vector_in|time_in|guidance_in|final_layer)/;

/** The naming of one module; undefined for a text encoder's, which are called alike by both Kohya namings. */
export function namingOf(module: string): Exclude<AdapterNaming, "mixed"> | undefined {
  if (/^lora_(te\d?|prior_te)_/.test(module)) return undefined;
  if (sgmBlocks.test(module)) return "kohya-sgm";
  if (/^lora_(unet|transformer)_/.test(module)) return "kohya-diffusers";
  if (module.startsWith("lycoris_")) return "lycoris";
  if (/^(diffusion_model|text_encoders)\./.test(module)) return "native";
  if (
    /^(base_model\.model\.)?(unet|transformer|text_encoder(_2)?|down_blocks|mid_block|up_blocks|(single_)?transformer_blocks|conv_in|conv_out|time_embedding|add_embedding)\./.test(
      module,
    )
  )
    return "peft";
  return "unknown";
}

/** Names of files before PEFT, and of PEFT on its own, as today's diffusers would have them. */
export function currentName(module: string): string {
  const name = module
    .replace(/^base_model\.model\./, "")
    .replace(/\.processor\.(to_[qkv]|to_out|add_[qkv]_proj|to_add_out)$/, ".$1")
    .replace(/\.to_out$/, ".to_out.0");
  if (!/(^|\.)self_attn\.to_/.test(name)) return name;
  return name.replace(/\.to_([qkv])$/, ".$1_proj").replace(/\.to_out\.0$/, ".out_proj");
}
