/** Opens a base model, whatever form it has: the bundled one, a diffusers folder, or a single file. */
import { stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../errors.ts";
import type { BaseModel, BaseOptions } from "./base.ts";
import { openDiffusersFolder } from "./diffusers-folder.ts";
import { openFileHashes } from "./file-hashes.ts";
import { refuseOtherForms } from "./refuse-form.ts";
import { openSingleFile } from "./single-file.ts";

export interface OpenBaseOptions extends BaseOptions {
  /** Where hashes of large files are kept, so that they are not read again; undefined keeps none. */
  readonly hashCacheFile: string | undefined;
}

/**
 * Opens a base model: "mini", a diffusers folder (model_index.json, unet/, vae/, text_encoder/, tokenizer/, scheduler/), or a .safetensors
 * file of SD 1.5 or SDXL with the original names. Only headers and configurations are read, and files are hashed.
 *
 * @throws UserError naming the file or the key that is missing or wrong, what was wanted and what was found; or what the file is instead
 * @example const base = await openBase("sd15.safetensors", { hashCacheFile: undefined, vaeFile: "vae.safetensors" });
 */
export async function openBase(nameOrPath: string, { hashCacheFile, ...given }: OpenBaseOptions): Promise<BaseModel> {
  const isMini = nameOrPath === "mini";
  const path = isMini ? miniFolder() : resolve(nameOrPath);
  if (isMini && !(await stat(path).catch(() => undefined)))
    throw new UserError(`The bundled model is missing: there is no folder ${path}.`, { fix: "Install Gesso again." });
  const form = await refuseOtherForms(path);
  const hasher = await openFileHashes(hashCacheFile);
  const open = form === "folder" ? openDiffusersFolder : openSingleFile;
  const vaeFile = given.vaeFile === undefined ? undefined : resolve(given.vaeFile);
  const base = await open(path, isMini ? "mini" : basename(path), { ...given, vaeFile }, hasher);
  await hasher.save();
  return base;
}

/** The bundled model lies beside `src` and `dist` alike. */
function miniFolder(): string {
  return fileURLToPath(new URL("../../models/mini", import.meta.url));
}
