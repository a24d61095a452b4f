/**
 * What an adapter's modules are called in files. Gesso names a layer by the path of its weight in the diffusers layout
 * ("unet.down_blocks.1.attentions.0.proj_in"); files of Kohya's kind flatten that, and for SDXL use the block numbers of the original
 * code (Stability-AI/generative-models, "SGM"), which count differently.
 */
import type { UnetConfig } from "../models/unet/config.ts";

/** What a base model is to programs that load adapters. */
export type AdapterFamily = "sd15" | "sdxl";

/** As much of a UNet's layout as block numbers depend on. */
type UnetLayout = Pick<UnetConfig, "downBlocks" | "upBlocks">;

/** The part of a base model that names depend on. */
export interface NamingBase {
  readonly family: AdapterFamily;
  readonly unet: UnetLayout;
}

/**
 * The name of a layer in a file of Kohya's kind: diffusers blocks for SD 1.5, SGM blocks for SDXL, which alone are read by all of
 * A1111, Forge, ComfyUI, Invoke and diffusers.
 *
 * @param path of the base's weight without ".weight"
 * @throws Error when the path belongs to no UNet and no text encoder, or lies outside the layout
 * @example kohyaName("text_encoder.text_model.encoder.layers.0.mlp.fc1", base); // SDXL: "lora_te1_text_model_encoder_layers_0_mlp_fc1"
 */
export function kohyaName(path: string, { family, unet }: NamingBase): string {
  const { component, rest } = splitPath(path);
  const blockPath = family === "sdxl" && component === "unet" ? toSgmPath(rest, unet) : rest;
  return flatten(prefixes[family][component], blockPath);
}

/**
 * The path of a UNet's layer in the original code: "input_blocks.4.1.proj_in".
 *
 * @param path in the diffusers layout, with "unet." before it
 * @throws Error when the path lies outside the layout
 */
export function sgmPath(path: string, { unet }: Pick<NamingBase, "unet">): string {
  return toSgmPath(splitPath(path).rest, unet);
}

/** The name of a layer's two matrices in a file of PEFT's kind, which carries no alpha: the scale is 1. */
export function peftNames(path: string): { down: string; up: string } {
  return { down: `${path}.lora_A.weight`, up: `${path}.lora_B.weight` };
}

/**
 * All names under which files may hold the given layers: Kohya's with SGM or diffusers blocks, and PEFT's paths.
 *
 * @param paths every layer of the base that an adapter may be on
 * @returns path by name
 * @throws Error when two layers would have one name
 */
export function createNameIndex(paths: Iterable<string>, base: NamingBase): ReadonlyMap<string, string> {
  const index = new Map<string, string>();
  for (const path of paths) {
    const { component, rest } = splitPath(path);
    const plain = flatten(prefixes[base.family][component], rest);
    for (const name of new Set([kohyaName(path, base), plain, path])) {
      const other = index.get(name);
      if (other !== undefined) throw new Error(`createNameIndex: ${other} and ${path} are both called ${name}`);
      index.set(name, path);
    }
  }
  return index;
}

const components = ["unet", "text_encoder", "text_encoder_2"] as const;
type Component = (typeof components)[number];

const prefixes: { readonly [F in AdapterFamily]: { readonly [C in Component]: string } } = {
  sd15: { unet: "lora_unet", text_encoder: "lora_te", text_encoder_2: "lora_te2" },
  sdxl: { unet: "lora_unet", text_encoder: "lora_te1", text_encoder_2: "lora_te2" },
};

/** Whether a weight belongs to a network that adapters are put on. */
export function isAdaptable(path: string): boolean {
  return components.some((component) => path.startsWith(`${component}.`));
}

function splitPath(path: string): { component: Component; rest: string } {
  const component = components.find((name) => path.startsWith(`${name}.`));
  if (!component) throw new Error(`names: a path that begins with ${components.join(", ")} needed, got ${path}`);
  return { component, rest: path.slice(component.length + 1) };
}

function flatten(prefix: string, path: string): string {
  return `${prefix}_${path.replaceAll(".", "_")}`;
}

/** Layers outside the blocks. */
const sgmOutside: Readonly<Record<string, string>> = {
  "time_embedding.linear_1": "time_embed.0",
  "time_embedding.linear_2": "time_embed.2",
  "add_embedding.linear_1": "label_emb.0.0",
  "add_embedding.linear_2": "label_emb.0.2",
  conv_in: "input_blocks.0.0",
  conv_norm_out: "out.0",
  conv_out: "out.2",
};

/** Layers of a residual block. */
const sgmResnet: Readonly<Record<string, string>> = {
  norm1: "in_layers.0",
  conv1: "in_layers.2",
  time_emb_proj: "emb_layers.1",
  norm2: "out_layers.0",
  conv2: "out_layers.3",
  conv_shortcut: "skip_connection",
};

/** The path of a UNet layer in the original code, from its path in diffusers. */
function toSgmPath(path: string, layout: UnetLayout): string {
  const outside = sgmOutside[path];
  if (outside !== undefined) return outside;
  const [, stage, blockText, kind, indexText, rest = ""] =
    /^(down_blocks|mid_block|up_blocks)(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$/.exec(path) ??
    [];
  const [block, index] = [Number(blockText ?? 0), Number(indexText ?? 0)];
  const place = stage && kind ? findPlace(layout, stage, block, kind, index) : undefined;
  if (place === undefined) throw new Error(`names: no layer ${path} in this UNet's layout`);
  if (kind === "attentions") return `${place}.${rest}`;
  if (kind === "downsamplers") return `${place}.op`;
  if (kind === "upsamplers") return `${place}.conv`;
  const layer = sgmResnet[rest];
  if (layer === undefined) throw new Error(`names: no layer ${path} in this UNet's layout`);
  return `${place}.${layer}`;
}

/** Where the original code keeps a residual block, transformer or sampler: "input_blocks.4.1". */
function findPlace(layout: UnetLayout, stage: string, block: number, kind: string, index: number): string | undefined {
  if (stage === "mid_block") {
    const [first, second] = ["middle_block.0", "middle_block.2"];
    if (kind === "attentions") return index === 0 ? "middle_block.1" : undefined;
    return kind === "resnets" ? [first, second][index] : undefined;
  }
  return stage === "down_blocks" ? findInputPlace(layout, block, kind, index) : findOutputPlace(layout, block, kind, index);
}

/**
 * `input_blocks`: 0 is conv_in; then one for each residual block with its transformer, and one for each downsampler. The last block
 * has no downsampler.
 */
function findInputPlace({ downBlocks }: UnetLayout, block: number, kind: string, index: number): string | undefined {
  const { layers = 0, transformer } = downBlocks[block] ?? {};
  const start = downBlocks.slice(0, block).reduce((sum, before) => sum + before.layers + 1, 1);
  if (kind === "downsamplers")
    return block < downBlocks.length - 1 && index === 0 ? `input_blocks.${start + layers}.0` : undefined;
  if (index >= layers) return undefined;
  if (kind === "resnets") return `input_blocks.${start + index}.0`;
  return kind === "attentions" && transformer ? `input_blocks.${start + index}.1` : undefined;
}

/** `output_blocks`: one for each residual block; the last of a block holds its upsampler too, after the transformer if there is one. */
function findOutputPlace({ upBlocks }: UnetLayout, block: number, kind: string, index: number): string | undefined {
  const { layers = 0, transformer } = upBlocks[block] ?? {};
  const start = upBlocks.slice(0, block).reduce((sum, before) => sum + before.layers, 0);
  if (kind === "upsamplers") {
    const last = start + layers - 1;
    return block < upBlocks.length - 1 && index === 0 ? `output_blocks.${last}.${transformer ? 2 : 1}` : undefined;
  }
  if (index >= layers) return undefined;
  if (kind === "resnets") return `output_blocks.${start + index}.0`;
  return kind === "attentions" && transformer ? `output_blocks.${start + index}.1` : undefined;
}
