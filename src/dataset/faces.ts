/** Faces of every picture: looked for once, remembered by content. The network that finds them is handed in. */
import { appendFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Face } from "../models/faces/boxes.ts";

/** Finds the faces of a picture file, surest first. */
export type FindFaces = (path: string) => Promise<readonly Face[]>;

/** How much of a person a picture shows, by the height of the largest face: RECIPES of the field. */
export type Shot = "close-up" | "half" | "full";

/** Goes up when another network or another way of looking finds other faces. */
const VERSION = 2;

/** One line of what is remembered. */
interface Line {
  readonly hash: string;
  readonly version: number;
  readonly faces: readonly Face[];
}

/**
 * Looks at every picture in turn, which is what the network's threads are quickest with.
 *
 * @param files with the SHA-256 of their bytes
 * @param folder where results are kept; undefined keeps none
 * @returns at the end the faces of each file; undefined when it was asked to stop
 */
export async function* findAllFaces(
  files: readonly { readonly path: string; readonly fileHash: string }[],
  {
    find,
    folder,
    signal,
  }: { readonly find: FindFaces; readonly folder: string | undefined; readonly signal: AbortSignal | undefined },
): AsyncGenerator<{ readonly done: number; readonly remembered: number }, readonly (readonly Face[])[] | undefined> {
  const file = folder === undefined ? undefined : join(folder, "faces.jsonl");
  const known = await readKnown(file);
  const found: (readonly Face[])[] = [];
  let remembered = 0;
  for (const { path, fileHash } of files) {
    if (signal?.aborted) return undefined;
    const before = known.get(fileHash);
    const faces = before ?? (await find(path));
    if (before) remembered++;
    else {
      known.set(fileHash, faces);
      await remember(file, { hash: fileHash, version: VERSION, faces });
    }
    found.push(faces);
    yield { done: found.length, remembered };
  }
  return found;
}

async function readKnown(file: string | undefined): Promise<Map<string, readonly Face[]>> {
  const text = file === undefined ? "" : await readFile(file, "utf8").catch(() => "");
  const known = new Map<string, readonly Face[]>();
  for (const line of text.split("\n")) {
    const parsed = parseLine(line);
    if (parsed?.version === VERSION) known.set(parsed.hash, parsed.faces);
  }
  return known;
}

function parseLine(text: string): Line | undefined {
  try {
    return text === "" ? undefined : (JSON.parse(text) as Line);
  } catch {
    return undefined; // Cut off when a process ended.
  }
}

/** Only a memory: where it cannot be written, the next inspection looks again. */
async function remember(file: string | undefined, line: Line): Promise<void> {
  if (file === undefined) return;
  const text = `${JSON.stringify(line)}\n`;
  await appendFile(file, text).catch(async () => {
    await mkdir(join(file, ".."), { recursive: true }).catch(() => undefined);
    await appendFile(file, text).catch(() => undefined);
  });
}
