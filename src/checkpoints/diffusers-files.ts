/** Files of a component's folder in the diffusers layout: its configuration, and its weights in one variant, whole or in shards. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import type { FileTensors, LocateMessages } from "./locate-weights.ts";
import { SUPPORTED } from "./refuse-form.ts";

/** @throws UserError when the file is missing or holds no JSON object */
export async function readJson(folder: string, name: string): Promise<Record<string, unknown>> {
  const path = join(folder, name);
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new UserError(`The base model ${folder} has no ${name}.`, { fix: SUPPORTED, cause: error });
  });
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json === "object" && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  } catch (error) {
    throw new UserError(`${path} is not JSON: ${(error as Error).message}.`, {
      fix: "Download the model again.",
      cause: error,
    });
  }
  throw new UserError(`${path} does not hold a JSON object.`, { fix: "Download the model again." });
}

/** A component's weights as one of its files, or several shards. */
export interface WeightFiles {
  /** "" for the files without one. */
  readonly variant: string;
  readonly paths: readonly string[];
}

/** Full precision first; then by what is lost. Others ("ema", "non_ema") come after these, by name. */
const preferred = ["", "fp32", "bf16", "fp16"];

/**
 * @param asked the variant to take; the full-precision files where undefined, or where the component has no such variant
 * @throws UserError when there are no safetensors, or a shard is missing
 */
export async function findWeightFiles(folder: string, stem: string, asked: string | undefined): Promise<WeightFiles> {
  const names = await readdir(folder).catch(() => [] as string[]);
  const variants = groupByVariant(names, stem);
  const order = [...variants.keys()].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  const variant = asked !== undefined && variants.has(asked) ? asked : order[0];
  const files = variant === undefined ? undefined : variants.get(variant);
  if (variant === undefined || !files) {
    const pickle = names.find((name) => /\.(bin|ckpt|pt|pth)$/.test(name));
    const has = pickle ? `only ${pickle}, a pickle, which can run any code when it is opened` : "no weights";
    throw new UserError(`${folder} has ${has}.`, { fix: `Put ${stem}.safetensors there.` });
  }
  refuseMissingShard(folder, files);
  return { variant, paths: files.map((name) => join(folder, name)) };
}

function rank(variant: string): number {
  const place = preferred.indexOf(variant);
  return place < 0 ? preferred.length : place;
}

/** "" and "fp16" of model.safetensors and model.fp16.safetensors; a variant that is there whole needs no shards. */
function groupByVariant(names: readonly string[], stem: string): ReadonlyMap<string, readonly string[]> {
  const whole = new Map<string, string[]>();
  const shards = new Map<string, string[]>();
  // Diffusers has written both model.fp16-00001-of-00002 and model-00001-of-00002.fp16.
  const pattern = /^(?:\.([a-z]\w*))?(-\d{5}-of-\d{5})?(?:\.([a-z]\w*))?\.safetensors$/i;
  for (const name of names.filter((candidate) => candidate.startsWith(stem)).sort()) {
    const [match, before, shard, after] = pattern.exec(name.slice(stem.length)) ?? [];
    if (match === undefined || (before !== undefined && after !== undefined)) continue;
    const group = shard === undefined ? whole : shards;
    const variant = before ?? after ?? "";
    group.set(variant, [...(group.get(variant) ?? []), name]);
  }
  return new Map([...shards, ...whole]);
}

function refuseMissingShard(folder: string, files: readonly string[]): void {
  const total = Number(/-of-(\d{5})/.exec(files[0] ?? "")?.[1] ?? files.length);
  const found = new Set(files.map((name) => Number(/-(\d{5})-of-/.exec(name)?.[1] ?? 1)));
  const missing = Array.from({ length: total }, (_, i) => i + 1).find((shard) => !found.has(shard));
  if (missing === undefined) return;
  const number = String(missing).padStart(5, "0");
  throw new UserError(
    `${folder} lacks part ${missing} of ${total}: ${(files[0] ?? "").replace(/-\d{5}-of-/, `-${number}-of-`)}.`,
    {
      fix: "Download the missing file.",
    },
  );
}

/** The tensors of all the files. */
export async function openTensors(paths: readonly string[]): Promise<FileTensors> {
  const files = await Promise.all(paths.map((path) => openSafetensors(path)));
  return new Map(files.flatMap(({ path, tensors }) => [...tensors].map(([key, entry]) => [key, { ...entry, path }] as const)));
}

export const byConfig: LocateMessages = {
  mustBe: "by its config.json it must be",
  fixShape: "Use the config.json and the weights of the same model.",
  fixMissing: "Download the model again, or use the config.json that belongs to these weights.",
};
