/** What files call the autoencoder's weights: in single files by the original code (CompVis/latent-diffusion), in diffusers by two ages. */
import type { VaeConfig } from "../models/vae/config.ts";
import type { KeyMap } from "./locate-weights.ts";

/** With which every key of the VAE begins in a single file; in a file of its own it may be absent. */
export const VAE_PREFIX = "first_stage_model.";

/** Parts of a path in diffusers and in the original code. */
const original: readonly (readonly [diffusers: RegExp, file: string])[] = [
  [/^(encoder|decoder)\.conv_norm_out\./, "$1.norm_out."],
  [/\.mid_block\.resnets\.0\./, ".mid.block_1."],
  [/\.mid_block\.attentions\.0\.group_norm\./, ".mid.attn_1.norm."],
  [/\.mid_block\.attentions\.0\.to_([qkv])\./, ".mid.attn_1.$1."],
  [/\.mid_block\.attentions\.0\.to_out\.0\./, ".mid.attn_1.proj_out."],
  [/\.mid_block\.resnets\.1\./, ".mid.block_2."],
  [/\.down_blocks\.(\d+)\.resnets\.(\d+)\./, ".down.$1.block.$2."],
  [/\.down_blocks\.(\d+)\.downsamplers\.0\./, ".down.$1.downsample."],
  [/\.up_blocks\.(\d+)\.resnets\.(\d+)\./, ".up.$1.block.$2."],
  [/\.up_blocks\.(\d+)\.upsamplers\.0\./, ".up.$1.upsample."],
  [/\.conv_shortcut\./, ".nin_shortcut."],
];

/** @param prefix VAE_PREFIX, or "" in a file of its own */
export function originalVaeKeys({ blockOutChannels }: Pick<VaeConfig, "blockOutChannels">, prefix: string): KeyMap {
  return (path) => {
    const renamed = original.reduce((key, [diffusers, file]) => key.replace(diffusers, file), path);
    // The original numbers the way up from the finest resolution, diffusers from the coarsest.
    const key = renamed.replace(/\.up\.(\d+)\./, (_, block: string) => `.up.${blockOutChannels.length - 1 - Number(block)}.`);
    return { keys: [`${prefix}${key}`] };
  };
}

/** The attention of diffusers before its version 0.18. */
const older: readonly (readonly [now: RegExp, then: string])[] = [
  [/(attentions\.\d+)\.to_q\./, "$1.query."],
  [/(attentions\.\d+)\.to_k\./, "$1.key."],
  [/(attentions\.\d+)\.to_v\./, "$1.value."],
  [/(attentions\.\d+)\.to_out\.0\./, "$1.proj_attn."],
];

export const diffusersVaeKeys: KeyMap = (path) => ({
  keys: [path, older.reduce((key, [now, then]) => key.replace(now, then), path)],
});
