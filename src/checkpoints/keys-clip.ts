/** What files call the weights of CLIP-L, SD 1.5's text encoder and SDXL's first: transformers' names, everywhere. */
import type { KeyMap } from "./locate-weights.ts";

export const SD15_CLIP_PREFIX = "cond_stage_model.transformer.";
export const SDXL_CLIP_PREFIX = "conditioner.embedders.0.transformer.";

/** transformers 5, and very old single files, leave "text_model." out. */
export function clipKeys(prefix: string): KeyMap {
  return (path) => ({ keys: [`${prefix}${path}`, `${prefix}${path.replace(/^text_model\./, "")}`] });
}
