/** SDXL and SD 1.5 at their full size by their configurations alone, as forecasts and plans need them: no weights. */
import { type FullSizeFamily, fullSizeConfigs } from "../bench/full-size-configs.ts";
import type { BaseConfigs } from "../src/checkpoints/base.ts";
import { parseClipTextConfig } from "../src/models/clip/config.ts";
import { parseUnetConfig } from "../src/models/unet/config.ts";
import { parseVaeConfig } from "../src/models/vae/config.ts";
import type { BaseFacts } from "../src/planner/plan.ts";

export type FullSizeBase = BaseFacts & BaseConfigs;

export function fullSizeBase(family: FullSizeFamily): FullSizeBase {
  const { unet, vae, textEncoders } = fullSizeConfigs[family];
  const names = ["text_encoder", "text_encoder_2"] as const;
  return {
    name: family,
    folder: "base",
    family,
    unet: parseUnetConfig(unet),
    vae: parseVaeConfig(vae),
    textEncoders: names.flatMap((name) => {
      const config = textEncoders[name];
      return config ? [{ name, config: parseClipTextConfig(config) }] : [];
    }),
    schedule: { predictionType: "epsilon", trainTimesteps: 1000 },
    nativeResolutionPx: family === "sdxl" ? 1024 : 512,
    pixelsPerLatent: 8,
    hashes: { all: "0" },
  };
}
