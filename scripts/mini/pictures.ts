/** Mini's training pictures in memory, as `npm run mini:data` wrote them. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { UserError } from "../../src/errors.ts";

export interface Pictures {
  readonly count: number;
  readonly side: number;
  readonly captions: readonly string[];
  readonly fileNames: readonly string[];
  /** uint8 [count, 3, side, side] */
  readonly pixels: Uint8Array;
}

/** @throws UserError when the folder has not been made */
export function readPictures(folder: string): Pictures {
  let facts: { shape: [number, number, number, number]; rows: { file_name: string; text: string }[] };
  try {
    facts = JSON.parse(readFileSync(path.join(folder, "pixels.json"), "utf8")) as typeof facts;
  } catch (cause) {
    throw new UserError(`No training pictures in ${folder}.`, { fix: "Make them first: npm run mini:data", cause });
  }
  const [count, , side] = facts.shape;
  return {
    count,
    side,
    captions: facts.rows.map((row) => row.text),
    fileNames: facts.rows.map((row) => row.file_name),
    pixels: readFileSync(path.join(folder, "pixels.bin")),
  };
}

export interface Crop {
  readonly picture: number;
  readonly top: number;
  readonly left: number;
  readonly isFlipped: boolean;
}

/** Writes the crop's pixels, in -1..1, as [3, size, size] at `offset` of `out`. */
export function copyCrop(pictures: Pictures, crop: Crop, size: number, out: Float32Array, offset: number): void {
  const { side, pixels } = pictures;
  for (let channel = 0; channel < 3; channel++) {
    for (let y = 0; y < size; y++) {
      const row = ((crop.picture * 3 + channel) * side + crop.top + y) * side + crop.left;
      const to = offset + (channel * size + y) * size;
      for (let x = 0; x < size; x++) {
        const from = crop.isFlipped ? row + size - 1 - x : row + x;
        out[to + x] = (pixels[from] ?? 0) / 127.5 - 1;
      }
    }
  }
}
