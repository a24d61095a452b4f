/**
 * Remembers measurements by content, so that a second inspection reads no picture: (path, size, time of change) -> SHA-256 of the
 * bytes, and SHA-256 -> measurements. Lines are appended as they are made: whatever stops an inspection, what was done stays.
 */
import { createHash } from "node:crypto";
import { appendFile, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { MEASUREMENT_VERSION, type MeasuredFile, type PictureMeasurement } from "./measure/picture.ts";

export interface MeasurementCache {
  /** What is known of a file that has not changed since; undefined when it must be measured. */
  find(path: string): Promise<MeasuredFile | undefined>;
  /** Remembers a file as it was before it was measured: `stamp` comes from `stampOf`. */
  add(path: string, stamp: FileStamp, measured: MeasuredFile): Promise<void>;
}

/** What changes when a file is written. */
export interface FileStamp {
  readonly size: number;
  readonly mtimeMs: number;
}

/** A file's size and time of change, or undefined where it cannot be asked. */
export async function stampOf(path: string): Promise<FileStamp | undefined> {
  return stat(path).then(
    ({ size, mtimeMs }) => ({ size, mtimeMs }),
    () => undefined,
  );
}

/** One of 256 files holds some 40 of 10,000 pictures; at this size its older half is dropped. */
const MAX_SHARD_BYTES = 4_000_000;

/** A line: of a path, or of a content. */
type Line =
  | { readonly path: string; readonly size: number; readonly mtimeMs: number; readonly hash: string }
  | { readonly hash: string; readonly version: number; readonly m: Record<string, unknown> };

/** @param folder made when something is to be remembered; undefined remembers nothing */
export function openMeasurementCache(folder: string | undefined): MeasurementCache {
  if (folder === undefined) return { find: () => Promise.resolve(undefined), add: () => Promise.resolve() };
  const shards = new Map<string, Promise<Shard>>();
  const shardOf = (key: string): Promise<Shard> => {
    const name = key.slice(0, 2);
    const known = shards.get(name) ?? readShard(join(folder, `${name}.jsonl`));
    shards.set(name, known);
    return known;
  };
  return {
    async find(path) {
      const stamp = await stampOf(path);
      const entry = (await shardOf(keyOfPath(path))).paths.get(resolve(path));
      if (!stamp || entry?.size !== stamp.size || entry.mtimeMs !== stamp.mtimeMs) return undefined;
      const measurement = (await shardOf(entry.hash)).contents.get(entry.hash);
      return measurement && { fileHash: entry.hash, measurement };
    },
    async add(path, stamp, { fileHash, measurement }) {
      const name = resolve(path);
      const [ofPath, ofContent] = [await shardOf(keyOfPath(path)), await shardOf(fileHash)];
      ofPath.paths.set(name, { ...stamp, hash: fileHash });
      const isKnown = ofContent.contents.has(fileHash);
      ofContent.contents.set(fileHash, measurement);
      await append(ofPath.file, { path: name, ...stamp, hash: fileHash });
      if (!isKnown) await append(ofContent.file, { hash: fileHash, version: MEASUREMENT_VERSION, m: packed(measurement) });
    },
  };
}

interface Shard {
  readonly file: string;
  readonly paths: Map<string, FileStamp & { readonly hash: string }>;
  readonly contents: Map<string, PictureMeasurement>;
}

function keyOfPath(path: string): string {
  return createHash("sha256").update(resolve(path)).digest("hex");
}

/** A file that is missing, or whose lines are damaged or of another version, counts as less remembered. */
async function readShard(file: string): Promise<Shard> {
  const text = await readFile(file, "utf8").catch(() => "");
  const lines = text.split("\n");
  if (text.length > MAX_SHARD_BYTES) {
    await writeFile(file, lines.slice(lines.length >> 1).join("\n")).catch(() => undefined);
  }
  const shard: Shard = { file, paths: new Map(), contents: new Map() };
  for (const text of lines) {
    const line = parseLine(text);
    if (line && "path" in line) shard.paths.set(line.path, { size: line.size, mtimeMs: line.mtimeMs, hash: line.hash });
    else if (line?.version === MEASUREMENT_VERSION) shard.contents.set(line.hash, unpacked(line.m));
  }
  return shard;
}

function parseLine(text: string): Line | undefined {
  if (text === "") return undefined;
  try {
    return JSON.parse(text) as Line;
  } catch {
    return undefined; // Cut off when a process ended.
  }
}

/** One write a line, which systems do not tear apart where several processes append. */
async function append(file: string, line: Line): Promise<void> {
  try {
    await appendFile(file, `${JSON.stringify(line)}\n`);
  } catch {
    // Only a memory. The folder is made at the first line.
    await mkdir(join(file, ".."), { recursive: true }).catch(() => undefined);
    await appendFile(file, `${JSON.stringify(line)}\n`).catch(() => undefined);
  }
}

const BYTES = ["thumb", "colours"] as const;
const SIGNED = ["descriptor", "corners"] as const;

/** Arrays as base64, numbers with the digits that matter. */
function packed(measurement: PictureMeasurement): Record<string, unknown> {
  const arrays = [...BYTES, ...SIGNED].map((name): [string, string] => {
    const { buffer, byteOffset, byteLength } = measurement[name];
    return [name, Buffer.from(buffer, byteOffset, byteLength).toString("base64")] as const;
  });
  const texts: Readonly<Record<string, string>> = Object.fromEntries(arrays);
  return { ...measurement, ...texts };
}

function unpacked(m: Record<string, unknown>): PictureMeasurement {
  const bytes = (name: string): Buffer => Buffer.from(String(m[name]), "base64");
  const signed = (name: string): Int8Array => Int8Array.from(bytes(name), (byte) => (byte << 24) >> 24);
  const arrays = {
    thumb: Uint8Array.from(bytes("thumb")),
    colours: Uint8Array.from(bytes("colours")),
    descriptor: signed("descriptor"),
    corners: signed("corners"),
  };
  return { ...(m as unknown as PictureMeasurement), ...arrays };
}
