/**
 * The layers of a base model under every name that adapter files give them; and the layouts of Stable Diffusion 1.5 and SDXL, by which a
 * file can be understood without its base.
 */
import { parseClipTextConfig } from "../models/clip/config.ts";
import { listClipTextParameters } from "../models/clip/model.ts";
import { parseUnetConfig } from "../models/unet/config.ts";
import { listUnetParameters } from "../models/unet/model.ts";
import { currentName } from "./keys.ts";
import { type AdapterFamily, createNameIndex, isAdaptable, type NamingBase, sgmPath } from "./names.ts";

/** The base model that an adapter is read for. */
export interface AdapterBase extends NamingBase {
  /** Every weight of the base by its name: "unet.conv_in.weight". */
  readonly weights: ReadonlyMap<string, { readonly shape: readonly number[] }>;
}

/** A layer of a base model. */
export interface Layer {
  /** Of its weight without ".weight": "unet.down_blocks.1.attentions.0.proj_in". */
  readonly path: string;
  /** [out, in], [out, in, kh, kw], or [channels] of a norm. */
  readonly shape: readonly number[];
}

/** The layers of a base by the names of modules. */
export interface Layout {
  readonly family: AdapterFamily;
  find(module: string): Layer | undefined;
  /** Names by which `find` finds something. */
  names(): Iterable<string>;
}

/** Every layer that some kind of adapter can be on: whatever has a weight, except lookup tables. */
export function listLayers({ weights }: AdapterBase): readonly Layer[] {
  return [...weights].flatMap(([name, { shape }]) => {
    const isLayer = isAdaptable(name) && /(?<!_embedding)\.weight$/.test(name);
    return isLayer ? [{ path: name.slice(0, -".weight".length), shape }] : [];
  });
}

const layouts = new WeakMap<AdapterBase["weights"], Layout>();

/** The layout of a base model. Made once for each. */
export function layoutOf(base: AdapterBase): Layout {
  const known = layouts.get(base.weights);
  if (known?.family === base.family) return known;
  const layers = new Map(listLayers(base).map((layer) => [layer.path, layer]));
  const index = new Map(createNameIndex(layers.keys(), base));
  for (const path of layers.keys()) for (const name of otherNames(path, base)) if (!index.has(name)) index.set(name, path);
  const layout: Layout = {
    family: base.family,
    find: (module) => layers.get(index.get(module) ?? index.get(currentName(module)) ?? ""),
    names: () => index.keys(),
  };
  layouts.set(base.weights, layout);
  return layout;
}

/** What files call a layer besides Kohya's and PEFT's names of it. */
function otherNames(path: string, base: NamingBase): readonly string[] {
  const flat = (text: string): string => text.replaceAll(".", "_");
  const rest = path.slice(path.indexOf(".") + 1);
  if (path.startsWith("unet.")) {
    const native = sgmPath(path, base);
    // PEFT on its own leaves the component out; ComfyUI takes the original code's blocks for SD 1.5 too.
    return [rest, `lycoris_${flat(rest)}`, `lora_unet_${flat(native)}`, `diffusion_model.${native}`];
  }
  const [kohya, clip] = path.startsWith("text_encoder_2.") ? ["lora_te2", "clip_g"] : ["lora_te1", "clip_l"];
  const component = path.slice(0, path.indexOf("."));
  return [
    `${kohya}_${flat(rest)}`,
    `text_encoders.${clip}.transformer.${rest}`,
    // transformers 5 leaves this part of a CLIPTextModel's paths out.
    `${component}.${rest.replace(/^text_model\./, "")}`,
  ];
}

const standard = new Map<AdapterFamily, AdapterBase>();

/** The published Stable Diffusion 1.5 or SDXL, as far as adapters depend on it. */
export function standardBase(family: AdapterFamily): AdapterBase {
  const known = standard.get(family);
  if (known) return known;
  const { unet: unetJson, encoders } = published[family];
  const unet = parseUnetConfig(unetJson);
  const parameters = [
    ...listUnetParameters(unet),
    ...encoders.flatMap(([component, json]) => listClipTextParameters(parseClipTextConfig(json), component)),
  ];
  const base = { family, unet, weights: new Map(parameters.map(({ name, shape }) => [name, { shape }])) };
  standard.set(family, base);
  return base;
}

/** openai/clip-vit-large-patch14: the text encoder of SD 1.5, and the first of SDXL. */
const clipL = {
  model_type: "clip_text_model",
  architectures: ["CLIPTextModel"],
  hidden_size: 768,
  intermediate_size: 3072,
  num_attention_heads: 12,
  num_hidden_layers: 12,
};

/** laion/CLIP-ViT-bigG-14-laion2B-39B-b160k: the second of SDXL. */
const clipG = {
  model_type: "clip_text_model",
  architectures: ["CLIPTextModelWithProjection"],
  hidden_act: "gelu",
  hidden_size: 1280,
  intermediate_size: 5120,
  num_attention_heads: 20,
  num_hidden_layers: 32,
  projection_dim: 1280,
};

/** What the config.json files of the published models say, where layers depend on it. */
const published: {
  readonly [F in AdapterFamily]: { readonly unet: object; readonly encoders: readonly (readonly [string, object])[] };
} = {
  sd15: {
    unet: { block_out_channels: [320, 640, 1280, 1280], cross_attention_dim: 768 },
    encoders: [["text_encoder", clipL]],
  },
  sdxl: {
    unet: {
      block_out_channels: [320, 640, 1280],
      down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
      up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
      transformer_layers_per_block: [1, 2, 10],
      attention_head_dim: [5, 10, 20],
      cross_attention_dim: 2048,
      use_linear_projection: true,
      addition_embed_type: "text_time",
      addition_time_embed_dim: 256,
      projection_class_embeddings_input_dim: 2816,
    },
    encoders: [
      ["text_encoder", clipL],
      ["text_encoder_2", clipG],
    ],
  },
};
