/**
 * Remembers measurements by content, so that a second inspection decodes no picture: (path, size, time of change) -> SHA-256 of the
 * bytes, and SHA-256 -> measurements. Lines are appended as they are made, a few at a time: whatever stops an inspection, what was done
 * up to a moment before stays. Of what is on disk only keys and places are held in memory.
 */
import { createHash } from "node:crypto";
import { appendFile, type FileHandle, mkdir, open, rename, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { PictureHeader } from "../formats/images.ts";
import { MEASUREMENT_VERSION, type MeasuredFile, type PictureMeasurement } from "./measure/picture.ts";

export interface MeasurementCache {
  /** What is known of a file that has not changed since it had this stamp; undefined when it must be read. */
  find(path: string, stamp: FileStamp): Promise<MeasuredFile | undefined>;
  /** What is known of a content, by its SHA-256. */
  findContent(fileHash: string): Promise<MeasuredFile | undefined>;
  /** Remembers a file as it was before it was measured. Written within a moment, and at the latest by `close`. */
  add(path: string, stamp: FileStamp, measured: MeasuredFile): Promise<void>;
  close(): Promise<void>;
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

/** One of 16 files holds some 600 of 10,000 pictures, 7 MB; at this size its older half is dropped. */
const MAX_SHARD_BYTES = 32_000_000;
/** Lines are written when so many bytes wait, or after so long. */
const WAITING_BYTES = 64_000;
const WAITING_MS = 200;

/** A line: of a path, or of a content. The order of the names matters: see `indexLines`. */
type Line = PathLine | ContentLine;

interface PathLine extends FileStamp {
  readonly path: string;
  readonly hash: string;
}

interface ContentLine {
  readonly hash: string;
  readonly version: number;
  readonly header: PictureHeader;
  readonly m: Record<string, unknown>;
}

/** @param folder made when something is to be remembered; undefined remembers nothing */
export function openMeasurementCache(folder: string | undefined): MeasurementCache {
  if (folder === undefined) {
    const none = () => Promise.resolve(undefined);
    return { find: none, findContent: none, add: none, close: none };
  }
  const shards = new Map<string, Promise<Shard>>();
  const shardOf = (key: string): Promise<Shard> => {
    const name = key.slice(0, 1);
    const known = shards.get(name) ?? openShard(join(folder, `${name}.jsonl`));
    shards.set(name, known);
    return known;
  };
  const findContent = async (fileHash: string): Promise<MeasuredFile | undefined> =>
    readContent(await shardOf(fileHash), fileHash);
  return {
    findContent,
    async find(path, stamp) {
      const name = resolve(path);
      const entry = (await shardOf(keyOfPath(name))).paths.get(name);
      if (entry?.size !== stamp.size || entry.mtimeMs !== stamp.mtimeMs) return undefined;
      return findContent(entry.hash);
    },
    async add(path, stamp, { fileHash, header, measurement }) {
      const name = resolve(path);
      const [ofPath, ofContent] = [await shardOf(keyOfPath(name)), await shardOf(fileHash)];
      if (!ofContent.contents.has(fileHash)) {
        ofContent.contents.set(fileHash, { fileHash, header, measurement });
        write(ofContent, { hash: fileHash, version: MEASUREMENT_VERSION, header, m: packed(measurement) }, fileHash);
      }
      ofPath.paths.set(name, { ...stamp, hash: fileHash });
      write(ofPath, { path: name, ...stamp, hash: fileHash });
    },
    async close() {
      for (const shard of await Promise.all(shards.values())) {
        await flush(shard);
        await (await shard.handle)?.close();
      }
      shards.clear();
    },
  };
}

/** Where a line lies in its shard's file. */
interface Place {
  readonly at: number;
  readonly length: number;
}

interface Shard {
  readonly file: string;
  /** To read from; undefined until there is a file. */
  handle: Promise<FileHandle | undefined> | undefined;
  readonly paths: Map<string, FileStamp & { readonly hash: string }>;
  /** By the content's hash. What waits to be written is there itself. */
  readonly contents: Map<string, Place | MeasuredFile>;
  waiting: WaitingLine[];
  waitingBytes: number;
  timer: NodeJS.Timeout | undefined;
  written: Promise<void>;
}

interface WaitingLine {
  readonly text: string;
  /** Of a content. */
  readonly fileHash?: string | undefined;
}

function keyOfPath(path: string): string {
  return createHash("sha256").update(path).digest("hex");
}

/** A file that is missing, or whose lines are damaged or of another version, counts as less remembered. */
async function openShard(file: string): Promise<Shard> {
  const handle = await open(file, "r").catch(() => undefined);
  const shard: Shard = {
    file,
    handle: handle && Promise.resolve(handle),
    paths: new Map(),
    contents: new Map(),
    waiting: [],
    waitingBytes: 0,
    timer: undefined,
    written: Promise.resolve(),
  };
  const bytes = (await handle?.readFile().catch(() => undefined)) ?? Buffer.alloc(0);
  indexLines(bytes, shard);
  // The last process may have been stopped in the middle of a line.
  if (bytes.length > 0 && bytes.at(-1) !== NEWLINE) shard.waiting.push({ text: "" });
  if (bytes.length > MAX_SHARD_BYTES) await dropOlderHalf(file, bytes);
  return shard;
}

const NEWLINE = 10;
const CONTENT_START = '{"hash":"';
const HASH_LENGTH = 64;
const CONTENT_VERSION = `","version":${MEASUREMENT_VERSION},`;

/** Of contents only the beginning is looked at: parsing all would take longer than all the rest of a second inspection. */
function indexLines(bytes: Buffer, { paths, contents }: Shard): void {
  for (let at = 0; at < bytes.length;) {
    const found = bytes.indexOf(NEWLINE, at);
    const end = found < 0 ? bytes.length : found;
    const hashAt = at + CONTENT_START.length;
    const versionAt = hashAt + HASH_LENGTH;
    if (bytes.toString("latin1", at, hashAt) === CONTENT_START) {
      const hash = bytes.toString("latin1", hashAt, versionAt);
      const version = bytes.toString("latin1", versionAt, versionAt + CONTENT_VERSION.length);
      if (version === CONTENT_VERSION) contents.set(hash, { at, length: end - at });
    } else {
      const line = parseLine<PathLine>(bytes.toString("utf8", at, end));
      if (line) paths.set(line.path, { size: line.size, mtimeMs: line.mtimeMs, hash: line.hash });
    }
    at = end + 1;
  }
}

/** In a new file that takes the old one's place, so that a process that reads meanwhile still finds all. */
async function dropOlderHalf(file: string, bytes: Buffer): Promise<void> {
  const from = bytes.indexOf(NEWLINE, bytes.length >> 1) + 1;
  const temporary = `${file}.${process.pid}.tmp`;
  await writeFile(temporary, bytes.subarray(from))
    .then(() => rename(temporary, file))
    .catch(() => undefined);
}

async function readContent(shard: Shard, fileHash: string): Promise<MeasuredFile | undefined> {
  const known = shard.contents.get(fileHash);
  if (!known || "measurement" in known) return known;
  shard.handle ??= open(shard.file, "r").catch(() => undefined);
  const bytes = Buffer.alloc(known.length);
  await (await shard.handle)?.read(bytes, 0, known.length, known.at);
  const line = parseLine<ContentLine>(bytes.toString("latin1"));
  return line?.hash === fileHash ? { fileHash, header: line.header, measurement: unpacked(line.m) } : undefined;
}

function parseLine<T extends Line>(text: string): T | undefined {
  if (text === "") return undefined;
  try {
    return JSON.parse(text) as T;
  } catch {
    return undefined; // Cut off when a process ended.
  }
}

function write(shard: Shard, line: Line, fileHash?: string): void {
  const text = JSON.stringify(line);
  shard.waiting.push({ text, fileHash });
  shard.waitingBytes += text.length;
  if (shard.waitingBytes >= WAITING_BYTES) void flush(shard);
  else shard.timer ??= setTimeout(() => void flush(shard), WAITING_MS);
}

/** One write for all lines that wait, which systems do not tear apart where several processes append. */
function flush(shard: Shard): Promise<void> {
  clearTimeout(shard.timer);
  shard.timer = undefined;
  if (shard.waitingBytes === 0) return shard.written;
  const lines = shard.waiting;
  shard.waiting = [];
  shard.waitingBytes = 0;
  shard.written = shard.written.then(() => writeLines(shard, lines));
  return shard.written;
}

/** Of contents only the place is held after, or memory would grow with every picture that is measured. */
async function writeLines({ file, contents }: Shard, lines: readonly WaitingLine[]): Promise<void> {
  const bytes = Buffer.from(lines.map(({ text }) => `${text}\n`).join(""));
  const end = await append(file, bytes);
  // Where another process wrote at the same time, the line at this place is another, and the content counts as not known.
  let at = end === undefined ? 0 : end - bytes.length;
  for (const { text, fileHash } of lines) {
    const length = Buffer.byteLength(text);
    if (end === undefined && fileHash !== undefined) contents.delete(fileHash);
    else if (fileHash !== undefined) contents.set(fileHash, { at, length });
    at += length + 1;
  }
}

/** Only a memory: where it cannot be written, the next inspection measures again. The folder is made at the first line. @returns the file's size after */
async function append(file: string, bytes: Buffer): Promise<number | undefined> {
  try {
    await appendFile(file, bytes).catch(async () => {
      await mkdir(join(file, ".."), { recursive: true });
      await appendFile(file, bytes);
    });
    return (await stat(file)).size;
  } catch {
    return undefined;
  }
}

const BYTES = ["thumb", "colours"] as const;
const SIGNED = ["descriptor", "corners"] as const;

/** Arrays as base64. */
function packed(measurement: PictureMeasurement): Record<string, unknown> {
  const arrays = [...BYTES, ...SIGNED].map((name) => {
    const { buffer, byteOffset, byteLength } = measurement[name];
    return [name, Buffer.from(buffer, byteOffset, byteLength).toString("base64")] as const;
  });
  return { ...measurement, ...Object.fromEntries(arrays) };
}

function unpacked(m: Record<string, unknown>): PictureMeasurement {
  // Copied: small buffers share their memory with others, and would keep all of it.
  const bytes = (name: string): Uint8Array => new Uint8Array(Buffer.from(String(m[name]), "base64"));
  const signed = (name: string): Int8Array => new Int8Array(bytes(name).buffer);
  const arrays = {
    thumb: bytes("thumb"),
    colours: bytes("colours"),
    descriptor: signed("descriptor"),
    corners: signed("corners"),
  };
  return { ...(m as unknown as PictureMeasurement), ...arrays };
}
