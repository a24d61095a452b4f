/** SHA-256 of files, remembered by size and time of change so that gigabytes are not read at every start. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { UserError } from "../errors.ts";
import { writeFileAtomically } from "../formats/atomic.ts";

export interface FileHashes {
  /** SHA-256 of a file in hexadecimal. @throws UserError when it cannot be read */
  hash(path: string): Promise<string>;
  /** Writes what was learnt. */
  save(): Promise<void>;
}

interface Entry {
  readonly size: number;
  readonly mtimeMs: number;
  readonly sha256: string;
}

/** @param cacheFile a JSON file to remember in; undefined remembers nothing */
export async function openFileHashes(cacheFile: string | undefined): Promise<FileHashes> {
  const entries = await readEntries(cacheFile);
  let isChanged = false;
  return {
    async hash(path) {
      const found = await stat(path).catch((error: unknown) => {
        throw new UserError(`Cannot read ${path}.`, { fix: "Check the file and its permissions.", cause: error });
      });
      const known = entries.get(resolve(path));
      if (known && known.size === found.size && known.mtimeMs === found.mtimeMs) return known.sha256;
      const sha256 = await hashBytes(path);
      entries.set(resolve(path), { size: found.size, mtimeMs: found.mtimeMs, sha256 });
      isChanged = true;
      return sha256;
    },
    async save() {
      if (cacheFile === undefined || !isChanged) return;
      try {
        await mkdir(dirname(cacheFile), { recursive: true });
        const json = JSON.stringify(Object.fromEntries(entries));
        await writeFileAtomically(cacheFile, (write) => write(Buffer.from(json)));
      } catch {
        // Only a memory: without it the files are hashed again.
      }
    },
  };
}

async function readEntries(cacheFile: string | undefined): Promise<Map<string, Entry>> {
  if (cacheFile === undefined) return new Map();
  try {
    const json = JSON.parse(await readFile(cacheFile, "utf8")) as Record<string, Partial<Entry>>;
    const sound = Object.entries(json).filter((pair): pair is [string, Entry] => /^[0-9a-f]{64}$/.test(pair[1].sha256 ?? ""));
    return new Map(sound);
  } catch {
    return new Map(); // None yet, or a damaged one: hashed again.
  }
}

async function hashBytes(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(piece as Uint8Array);
  return hash.digest("hex");
}
