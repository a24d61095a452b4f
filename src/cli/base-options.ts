/** The options by which every command opens a base model, and opening it with them. */
import { type BaseModel, type BaseOptions, lineageNames, openBase } from "../index.ts";
import { type OptionTable, type OptionValues, optionalOneOf } from "./command.ts";
import { quotePath } from "./format.ts";

export const baseOptions = {
  base: {
    kind: "text",
    value: "MODEL",
    about: "Base model: mini, a .safetensors file of SD 1.5 or SDXL, or a diffusers folder.",
    default: "mini",
  },
  vae: { kind: "text", value: "FILE", about: "VAE to use with it: a file, or a diffusers folder.", default: "the base's own" },
  family: {
    kind: "text",
    value: "NAME",
    about: "What the base was trained from.",
    default: "by its keys, metadata and name",
    choices: lineageNames,
  },
  variant: {
    kind: "text",
    value: "NAME",
    about: "Which files of a diffusers folder, such as fp16 or ema.",
    default: "full precision",
  },
} as const satisfies OptionTable;

/** @throws UserError when there is no such base, or it cannot be used */
export function openChosenBase(options: OptionValues<typeof baseOptions>): Promise<BaseModel> {
  return openBase(options.base ?? "mini", {
    vaeFile: options.vae,
    lineage: optionalOneOf(options.family, lineageNames),
    variant: options.variant,
  });
}

/** The same options as they are typed, each after a space; nothing where the base is opened by its path alone. */
export function repeatBaseOptions({ vaeFile, lineage, variant }: BaseOptions): string {
  const parts = [
    vaeFile === undefined ? "" : ` --vae ${quotePath(vaeFile)}`,
    lineage === undefined ? "" : ` --family ${lineage}`,
    variant === undefined ? "" : ` --variant ${variant}`,
  ];
  return parts.join("");
}
