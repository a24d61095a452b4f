/** A LoRA training step of the bundled base model, `mini`, with random weights: they do not change what a step costs. */
import { maxTokens, resolutionPx, unetConfig } from "../scripts/mini/configs.ts";
import { unetStep } from "./unet-step.ts";

const [batch, side, rank] = [4, resolutionPx / 8, 8];

export const miniStep = unetStep({
  name: "mini-step",
  title: `LoRA training step of mini: batch ${batch}, ${side} x ${side} latents, ${maxTokens} tokens, rank ${rank} on attention and feed-forward, AdamW`,
  config: unetConfig,
  batch,
  side,
  rank,
});
