/** Puts the parts of a base model together, from whatever files they came, and checks that they fit each other. */
import { UserError } from "../errors.ts";
import { lineages } from "../models/lineages.ts";
import type { BaseFamily, BaseModel, ComponentName, TextEncoderName, TextEncoderPart } from "./base.ts";
import { combineHashes, type OpenedVae } from "./open-vae.ts";

export const encoderNames: Readonly<Record<BaseFamily, readonly TextEncoderName[]>> = {
  sd15: ["text_encoder"],
  sdxl: ["text_encoder", "text_encoder_2"],
};

/** What is known once all files are open. */
export interface BaseParts extends Omit<BaseModel, "vae" | "hashes" | "pixelsPerLatent" | "nativeResolutionPx"> {
  readonly vae: OpenedVae;
  /** Of every component but the VAE, and of the single file. */
  readonly hashes: Readonly<Partial<Record<ComponentName | "file", string>>>;
  /** Where the files say it; undefined takes the UNet's. */
  readonly nativeResolutionPx: number | undefined;
}

const components = ["unet", "vae", "text_encoder", "text_encoder_2"] as const satisfies readonly ComponentName[];

/** @throws UserError when text encoders, UNet and VAE are not of one model */
export function assembleBase(parts: BaseParts): BaseModel {
  const { family, lineage, unet, vae, textEncoders, weights } = parts;
  checkTogether(parts);
  const pixelsPerLatent = 2 ** (vae.config.blockOutChannels.length - 1);
  const fallbackSide = family === "sdxl" ? 128 : 64;
  const { clipSkip } = lineages[lineage.name];
  const skips = family === "sd15" && clipSkip > 1;
  const hashes = { ...parts.hashes, vae: vae.hash };
  return {
    ...parts,
    vae: vae.config,
    textEncoders: skips ? textEncoders.map((encoder) => ({ ...encoder, clipSkip })) : textEncoders,
    pixelsPerLatent,
    nativeResolutionPx: parts.nativeResolutionPx ?? (unet.sampleSize ?? fallbackSide) * pixelsPerLatent,
    weights: new Map([...weights, ...vae.weights]),
    hashes: {
      ...hashes,
      ...(vae.fileHash === undefined ? {} : { vaeFile: vae.fileHash }),
      all: combineHashes(components.flatMap((component) => hashes[component] ?? [])),
    },
  };
}

function checkTogether({ folder, family, unet, vae, textEncoders, openedWith }: BaseParts): void {
  const width = textEncoders.reduce((sum, { config }) => sum + config.hiddenSize, 0);
  if (width !== unet.crossAttentionDim) {
    throw new UserError(
      `${folder}: the text encoders give ${width} numbers a token, but the UNet's cross_attention_dim is ${unet.crossAttentionDim}.`,
      { fix: "Use the text encoders that came with this UNet." },
    );
  }
  if (family === "sdxl" && textEncoders[1]?.config.projectionDim === undefined) {
    throw new UserError(`${folder}: text_encoder_2 has no projection.`, {
      fix: "SDXL needs a CLIPTextModelWithProjection there.",
    });
  }
  if (vae.config.latentChannels !== unet.inChannels) {
    const where = openedWith.vaeFile ?? folder;
    throw new UserError(
      `${where}: the VAE's latents have ${vae.config.latentChannels} channels, the UNet takes ${unet.inChannels}.`,
      {
        fix: "Use a VAE that was made for this UNet.",
      },
    );
  }
}
