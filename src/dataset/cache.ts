/** Keeps tensors that are costly to make (latents, text embeddings) on disk, found again by what they were made from. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UserError } from "../errors.ts";
import { explainWriteError, systemCode } from "../formats/atomic.ts";
import { openSafetensors, readTensor, writeSafetensors } from "../formats/safetensors.ts";
import type { SafetensorsFile } from "../formats/safetensors.ts";

/** A tensor as it is kept: float32, row-major. */
export interface CachedTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Anything that JSON holds; what a key is made from. */
export type KeyPart = string | number | boolean | null | readonly KeyPart[] | { readonly [name: string]: KeyPart };

export interface TensorCache {
  /** What was put under `key`, or undefined. A damaged file is removed, told to `onDamaged`, and counts as absent. */
  get(key: string): Promise<Record<string, CachedTensor> | undefined>;
  /** Writes completely or not at all; the same key again replaces it. */
  put(key: string, tensors: Readonly<Record<string, CachedTensor>>): Promise<void>;
}

/**
 * Opens a cache folder, made if it is missing. Several processes may use it at once.
 *
 * @param options.onDamaged is told of each damaged file that was thrown away, and why
 * @throws UserError when the folder cannot be made
 * @example const cache = await openCache(folder, { onDamaged: (path, reason) => warn(`${path} ${reason}`) });
 */
export async function openCache(
  folder: string,
  options: { readonly onDamaged: (path: string, reason: string) => void },
): Promise<TensorCache> {
  await makeFolder(folder);
  // Two letters of the key as a folder: tens of thousands of files in one are slow on some systems.
  const pathOf = (key: string) => join(folder, checkKey(key).slice(0, 2), `${key}.safetensors`);
  return {
    async get(key) {
      const path = pathOf(key);
      try {
        return await readEntry(path, key);
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        const code = systemCode(error.cause);
        if (code === "ENOENT") return undefined;
        if (code !== undefined) throw error;
        await rm(path, { force: true });
        options.onDamaged(path, error.message);
        return undefined;
      }
    },
    async put(key, tensors) {
      const path = pathOf(key);
      await makeFolder(dirname(path));
      const list = Object.entries(tensors).map(([name, { shape, data }]) => ({ name, dtype: "F32", shape, data }) as const);
      await writeSafetensors(path, list, { key, sha256: hashTensors(tensors) });
    },
  };
}

async function readEntry(path: string, key: string): Promise<Record<string, CachedTensor>> {
  const file: SafetensorsFile = await openSafetensors(path);
  const entries: [string, CachedTensor][] = [];
  for (const [name, { shape }] of file.tensors) entries.push([name, { shape, data: await readTensor(file, name) }]);
  const tensors = Object.fromEntries(entries);
  if (file.metadata.key !== key) throw new UserError(`${path} holds the entry of another key.`);
  if (file.metadata.sha256 !== hashTensors(tensors)) throw new UserError(`${path} does not hold the bytes that were written.`);
  return tensors;
}

/** Names, shapes and values: a bit that flipped on disk is found. */
function hashTensors(tensors: Readonly<Record<string, CachedTensor>>): string {
  const hash = createHash("sha256");
  for (const name of Object.keys(tensors).sort()) {
    const { shape, data } = tensors[name] ?? { shape: [], data: new Float32Array() };
    hash.update(JSON.stringify([name, shape]));
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest("hex");
}

async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw explainWriteError(error, folder);
  });
}

function checkKey(key: string): string {
  if (!/^[0-9a-f]{64}$/.test(key)) throw new Error(`cache: a key is 64 hexadecimal digits, got ${JSON.stringify(key)}`);
  return key;
}

/**
 * The key of everything that an entry depends on: SHA-256 over JSON with sorted names, so that equal parts give equal keys.
 *
 * @example makeCacheKey({ picture: await hashFile(path), model: vaeHash, bucket: [512, 768], flip: false });
 */
export function makeCacheKey(parts: KeyPart): string {
  return createHash("sha256").update(canonicalJson(parts)).digest("hex");
}

function canonicalJson(value: KeyPart): string {
  if (typeof value === "number" && !Number.isFinite(value)) throw new Error(`makeCacheKey: JSON has no ${value}`);
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (isList(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, part]) => `${JSON.stringify(name)}:${canonicalJson(part)}`).join(",")}}`;
}

/** Array.isArray does not narrow readonly arrays. */
function isList(value: KeyPart): value is readonly KeyPart[] {
  return Array.isArray(value);
}

/** SHA-256 of a file's bytes in hexadecimal, streamed. @throws UserError when it cannot be read */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(piece as Uint8Array);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UserError(`Cannot read ${path}: ${reason}.`, { fix: "Check the file and its permissions.", cause: error });
  }
  return hash.digest("hex");
}
