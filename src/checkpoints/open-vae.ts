/** Opens a VAE that is given besides a base: a file with either naming, a whole model with a VAE in it, or a diffusers folder. */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { UserError } from "../errors.ts";
import { parseVaeConfig, type VaeConfig } from "../models/vae/config.ts";
import { listVaeParameters } from "../models/vae/model.ts";
import type { BaseFamily, BaseWeight } from "./base.ts";
import { deriveVaeConfig, findVaeNaming, type VaeNaming } from "./derive-vae.ts";
import { byConfig, findWeightFiles, openTensors, readJson } from "./diffusers-files.ts";
import type { FileHashes } from "./file-hashes.ts";
import { diffusersVaeKeys, originalVaeKeys, VAE_PREFIX } from "./keys-vae.ts";
import {
  describeUnused,
  type FileTensors,
  findUnused,
  type KeyMap,
  type LocateMessages,
  locateWeights,
} from "./locate-weights.ts";
import { refuseOtherForms } from "./refuse-form.ts";

export interface OpenedVae {
  readonly config: VaeConfig;
  readonly weights: ReadonlyMap<string, BaseWeight>;
  /** SHA-256 over its files. */
  readonly hash: string;
  /** SHA-256 of the file that it was given as, where it is one. */
  readonly fileHash?: string;
  readonly notes: readonly string[];
}

/** Messages about files that carry no configuration. */
export const byShapes: LocateMessages = {
  mustBe: "to fit the rest of the file it must be",
  fixShape: "The file is damaged or of another architecture: use another.",
  fixMissing: "Download the model again: the file is not whole.",
};

/** SHA-256 over several. */
export function combineHashes(hashes: readonly string[]): string {
  return createHash("sha256").update(hashes.join("\n")).digest("hex");
}

/** @throws UserError when there is no VAE, or it is not whole */
export async function openGivenVae(path: string, family: BaseFamily, hasher: FileHashes): Promise<OpenedVae> {
  const form = await refuseOtherForms(path);
  const isPipeline = form === "folder" && (await stat(join(path, "vae")).catch(() => undefined));
  const opened =
    form === "folder"
      ? await openVaeFolder(isPipeline ? join(path, "vae") : path, undefined, hasher)
      : await openVaeFile(path, family, hasher);
  return { ...opened, notes: [`The VAE is that of ${basename(path)}.`, ...opened.notes] };
}

/** A VAE's own folder in the diffusers layout. */
export async function openVaeFolder(folder: string, variant: string | undefined, hasher: FileHashes): Promise<OpenedVae> {
  const configPath = join(folder, "config.json");
  const config = parseVaeConfig(await readJson(folder, "config.json"), configPath);
  const { paths } = await findWeightFiles(folder, "diffusion_pytorch_model", variant);
  const located = locateVae(await openTensors(paths), config, diffusersVaeKeys, byConfig);
  const hashes = await Promise.all([configPath, ...paths].map((path) => hasher.hash(path)));
  return { config, ...located, hash: combineHashes(hashes) };
}

async function openVaeFile(path: string, family: BaseFamily, hasher: FileHashes): Promise<OpenedVae> {
  const tensors = await openTensors([path]);
  const found = ["", VAE_PREFIX].flatMap((prefix) => {
    const naming = findVaeNaming(tensors, prefix);
    return naming ? [{ prefix, naming }] : [];
  })[0];
  if (!found)
    throw new UserError(`${path} holds no VAE of Stable Diffusion's kind.`, {
      fix: "Give a VAE of SD 1.5 or SDXL with --vae.",
    });
  const { config, weights, notes } = readVae(tensors, { ...found, family, where: path });
  const fileHash = await hasher.hash(path);
  return { config, weights, notes: found.prefix === "" ? notes : [], hash: fileHash, fileHash };
}

/** The VAE among a file's tensors, its configuration worked out from them. */
export function readVae(
  tensors: FileTensors,
  part: { readonly prefix: string; readonly naming: VaeNaming; readonly family: BaseFamily; readonly where: string },
): Omit<OpenedVae, "hash"> & { readonly used: ReadonlySet<string> } {
  const config = deriveVaeConfig(tensors, part);
  const keys = part.naming === "original" ? originalVaeKeys(config, part.prefix) : diffusersVaeKeys;
  return { config, ...locateVae(tensors, config, keys, byShapes) };
}

function locateVae(tensors: FileTensors, config: VaeConfig, keys: KeyMap, messages: LocateMessages) {
  const weights = new Map<string, BaseWeight>();
  const used = locateWeights("vae", tensors, listVaeParameters(config), keys, messages, weights);
  const unused = findUnused(tensors, used);
  return { weights, used, notes: unused.length > 0 ? [describeUnused("vae", unused)] : [] };
}
