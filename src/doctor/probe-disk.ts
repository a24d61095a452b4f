/** The disks that a run writes to: what is free, and how fast they are. */
import { constants, existsSync } from "node:fs";
import { type FileHandle, open, rm, statfs } from "node:fs/promises";
import path from "node:path";
import type { DiskFacts, DiskRole } from "./facts.ts";

const measuredBytes = 64 * 2 ** 20;
const blockBytes = 4 * 2 ** 20;
/** On a disk that is so slow, what was written until then has said enough. */
const longestMs = 1000;

/** File systems that are not a disk of this machine, by Linux's magic numbers (linux/magic.h). */
const remoteKinds: Readonly<Record<number, string>> = {
  0x6969: "NFS",
  0x517b: "SMB",
  0xff534d42: "SMB",
  0xfe534d42: "SMB",
  0x01021997: "a Windows drive in WSL, or another 9P share",
  0x65735546: "a FUSE file system",
};

/** Node's types leave it to the browser's. */
const { WebAssembly: wasm } = globalThis as unknown as {
  WebAssembly: { Memory: new (size: { initial: number }) => { readonly buffer: ArrayBuffer } };
};

/** Measures where `folder` is or will be: in the nearest folder above it that is there. Nothing is left behind. */
export async function probeDisk(role: DiskRole, folder: string): Promise<DiskFacts> {
  const place = nearestExisting(path.resolve(folder));
  const facts = { role, path: folder, freeBytes: null, problem: null, writeBytesPerSecond: null, readBytesPerSecond: null };
  try {
    const { bavail, bsize, type } = await statfs(place);
    const found = {
      ...facts,
      freeBytes: bavail * bsize,
      remote: process.platform === "linux" ? (remoteKinds[type] ?? null) : null,
    };
    // Filling up the last of a disk would be rude.
    if (found.freeBytes < 4 * measuredBytes) return { ...found, problem: await tryToWrite(place) };
    return { ...found, ...(await measure(place)) };
  } catch (error) {
    return { ...facts, remote: null, problem: explain(error) };
  }
}

function nearestExisting(folder: string): string {
  let place = folder;
  while (!existsSync(place) && path.dirname(place) !== place) place = path.dirname(place);
  return place;
}

const explain = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? (error as Error).message;
const probeName = (place: string): string => path.join(place, `.gesso-doctor-${process.pid}.tmp`);

async function tryToWrite(place: string): Promise<string | null> {
  const file = probeName(place);
  try {
    await (await open(file, "wx")).close();
    return null;
  } catch (error) {
    return explain(error);
  } finally {
    await rm(file, { force: true });
  }
}

async function measure(place: string): Promise<Pick<DiskFacts, "problem" | "writeBytesPerSecond" | "readBytesPerSecond">> {
  const file = probeName(place);
  // Memory of WebAssembly begins on a page, as reading past the system's cache demands; Node's buffers do not.
  const block = new Uint8Array(new wasm.Memory({ initial: blockBytes / 65536 }).buffer);
  // Compressing file systems store zeros for nothing.
  for (let i = 0, state = 1; i < block.length; i++) block[i] = (state = (Math.imul(state, 1664525) + 1013904223) | 0) >>> 24;
  try {
    const written = await writeBlocks(file, block);
    return { problem: null, ...written, readBytesPerSecond: await readBlocks(file, block) };
  } catch (error) {
    return { problem: explain(error), writeBytesPerSecond: null, readBytesPerSecond: null };
  } finally {
    await rm(file, { force: true });
  }
}

async function writeBlocks(file: string, block: Uint8Array): Promise<{ readonly writeBytesPerSecond: number }> {
  const handle = await open(file, "wx");
  try {
    const start = performance.now();
    let bytes = 0;
    while (bytes < measuredBytes && performance.now() - start < longestMs) {
      bytes += (await handle.write(block)).bytesWritten;
    }
    await handle.sync();
    return { writeBytesPerSecond: rate(bytes, start) };
  } finally {
    await handle.close();
  }
}

async function readBlocks(file: string, block: Uint8Array): Promise<number | null> {
  let handle: FileHandle | undefined;
  try {
    const direct = constants.O_DIRECT as number | undefined;
    if (direct === undefined) return null;
    handle = await open(file, constants.O_RDONLY | direct);
    const start = performance.now();
    let bytes = 0;
    while (performance.now() - start < longestMs) {
      const { bytesRead } = await handle.read(block, 0, block.length);
      if (bytesRead === 0) break;
      bytes += bytesRead;
    }
    return rate(bytes, start);
  } catch {
    return null; // Not every file system can be read so.
  } finally {
    await handle?.close();
  }
}

const rate = (bytes: number, startMs: number): number => bytes / (Math.max(performance.now() - startMs, 0.1) / 1000);
