/** What pictures are compared by: a perceptual hash with its mirror, a thumbnail, colours, and a descriptor of layout. Pure. */
import { averageParts, sumAreas } from "./areas.ts";
import type { Grid } from "./grid.ts";

/** Side of the thumbnail that copies are checked on. */
export const THUMB_SIDE = 64;
/** Side of the square that hashes are made from. */
const HASH_SIDE = 32;
/** Values of a descriptor: 4 x 4 places, each 3 of colour and 6 of direction. */
export const DESCRIPTOR_LENGTH = 16 * 9;
/** Bins of the colour histogram: 4 a channel. */
export const COLOUR_BINS = 64;

export interface Likeness {
  /** 64 bits as two halves, of the picture and of its mirror image: `pHash` (Zauner 2010), DCT of 32 x 32 luma. */
  readonly hash: readonly [number, number];
  readonly mirrorHash: readonly [number, number];
  /** [64, 64] luma, whatever the picture's shape. */
  readonly thumb: Uint8Array;
  /** Share of the picture in each of 64 colours, 255 = all. */
  readonly colours: Uint8Array;
  /** 127 = 1: see `describeLayout`. */
  readonly descriptor: Int8Array;
}

export function measureLikeness(grid: Grid): Likeness {
  const areas = sumAreas(grid.luma, grid.width, grid.height);
  const all = { left: 0, top: 0, width: grid.width, height: grid.height };
  const spectrum = lowFrequencies(averageParts(areas, all, HASH_SIDE, HASH_SIDE));
  return {
    hash: hashOf(spectrum),
    // Mirroring changes the sign of every odd horizontal frequency and nothing else.
    mirrorHash: hashOf(spectrum.map((value, i) => ((i % 8) & 1 ? -value : value))),
    thumb: rounded(averageParts(areas, all, THUMB_SIDE, THUMB_SIDE)),
    colours: countColours(grid),
    descriptor: describeLayout(grid),
  };
}

/** By a loop: `Uint8Array.from` with a function takes as long as all else that is measured here. */
function rounded(values: Float32Array): Uint8Array {
  const out = new Uint8Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = Math.floor((values[i] ?? 0) + 0.5);
  return out;
}

/** cos((2 x + 1) u pi / 64) for u in 0..7, x in 0..31. */
const cosines = Float64Array.from({ length: 8 * HASH_SIDE }, (_, i) =>
  Math.cos(((2 * (i % HASH_SIDE) + 1) * Math.floor(i / HASH_SIDE) * Math.PI) / (2 * HASH_SIDE)),
);

/** The 8 x 8 lowest frequencies of the DCT, [vertical, horizontal]. */
function lowFrequencies(thumb: Float32Array): Float64Array {
  const rows = new Float64Array(HASH_SIDE * 8);
  for (let y = 0; y < HASH_SIDE; y++) {
    for (let u = 0; u < 8; u++) {
      let sum = 0;
      for (let x = 0; x < HASH_SIDE; x++) sum += (thumb[y * HASH_SIDE + x] ?? 0) * (cosines[u * HASH_SIDE + x] ?? 0);
      rows[y * 8 + u] = sum;
    }
  }
  const out = new Float64Array(64);
  for (let v = 0; v < 8; v++) {
    for (let u = 0; u < 8; u++) {
      let sum = 0;
      for (let y = 0; y < HASH_SIDE; y++) sum += (rows[y * 8 + u] ?? 0) * (cosines[v * HASH_SIDE + y] ?? 0);
      out[v * 8 + u] = sum;
    }
  }
  return out;
}

/** One bit a frequency: above the median of all but the mean. */
function hashOf(spectrum: Float64Array): [number, number] {
  const sorted = spectrum.slice(1).sort();
  const median = sorted[31] ?? 0;
  const half = (from: number): number => {
    let bits = 0;
    for (let i = 0; i < 32; i++) if ((spectrum[from + i] ?? 0) > median) bits |= 1 << i;
    return bits >>> 0;
  };
  return [half(0), half(32)];
}

function countColours({ rgb, luma }: Grid): Uint8Array {
  const counts = new Float64Array(COLOUR_BINS);
  for (let i = 0; i < luma.length; i++) {
    const bin = ((rgb[3 * i] ?? 0) >> 6) * 16 + ((rgb[3 * i + 1] ?? 0) >> 6) * 4 + ((rgb[3 * i + 2] ?? 0) >> 6);
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return Uint8Array.from(counts, (count) => Math.round((255 * count) / luma.length));
}

const CELLS = 4;
const DIRECTIONS = 6;

/**
 * What stands where: over 4 x 4 places the mean colour (lightness, red-green, blue-yellow), and how much runs in each of 6 directions
 * (square root of gradient energy, as in HOG and GIST). The two halves are brought to equal length, so neither outweighs the other.
 */
function describeLayout(grid: Grid): Int8Array {
  const { width, height, rgb, luma } = grid;
  const colour = new Float64Array(CELLS * CELLS * 3);
  const edges = new Float64Array(CELLS * CELLS * DIRECTIONS);
  const counts = new Float64Array(CELLS * CELLS);
  for (let y = 0; y < height; y++) {
    const row = Math.floor((y * CELLS) / height) * CELLS;
    for (let column = 0; column < CELLS; column++) {
      const cell = row + column;
      const from = Math.ceil((column * width) / CELLS);
      const to = Math.ceil(((column + 1) * width) / CELLS);
      addColours(rgb, luma, y * width + from, y * width + to, colour.subarray(3 * cell, 3 * cell + 3));
      counts[cell] = (counts[cell] ?? 0) + to - from;
      // The last column and row have no neighbour beyond them.
      const last = Math.min(to, width - 1);
      if (y + 1 < height) addEdges(luma, width, y * width + from, y * width + last, edges, cell * DIRECTIONS);
    }
  }
  const colours = colour.map((sum, i) => sum / 128 / Math.max(1, counts[Math.floor(i / 3)] ?? 1));
  const strokes = edges.map((sum, i) => Math.sqrt(sum / Math.max(1, counts[Math.floor(i / DIRECTIONS)] ?? 1)));
  const mean = strokes.reduce((sum, value) => sum + value, 0) / strokes.length;
  return Int8Array.from([...scaled(colours), ...scaled(strokes.map((value) => value - mean))]);
}

/** Adds lightness, red-green and blue-yellow of the cells from..to of a row. */
function addColours(rgb: Uint8Array, luma: Float32Array, from: number, to: number, sums: Float64Array): void {
  let light = 0;
  let redGreen = 0;
  let blueYellow = 0;
  for (let at = from; at < to; at++) {
    const r = rgb[3 * at] ?? 0;
    const g = rgb[3 * at + 1] ?? 0;
    light += (luma[at] ?? 0) - 128;
    redGreen += r - g;
    blueYellow += r + g - 2 * (rgb[3 * at + 2] ?? 0);
  }
  sums[0] = (sums[0] ?? 0) + light;
  sums[1] = (sums[1] ?? 0) + redGreen;
  sums[2] = (sums[2] ?? 0) + blueYellow / 2;
}

/** Adds the energy of the gradients of the cells from..to of a row to their directions. */
function addEdges(luma: Float32Array, width: number, from: number, to: number, edges: Float64Array, first: number): void {
  for (let at = from; at < to; at++) {
    const here = luma[at] ?? 0;
    const dx = (luma[at + 1] ?? 0) - here;
    const dy = (luma[at + width] ?? 0) - here;
    const bin = first + directionOf(dx, dy);
    edges[bin] = (edges[bin] ?? 0) + dx * dx + dy * dy;
  }
}

/**
 * Which sixth of the half circle a gradient points into; a line has no sign. By slopes, for an arctangent each would cost, and without
 * branches, which noise would decide.
 */
function directionOf(dx: number, dy: number): number {
  const across = dy < 0 ? -dx : dx;
  const up = Math.abs(dy);
  return (
    Number(across <= 1.732 * up) +
    Number(across <= 0.577 * up) +
    Number(across <= 0) +
    Number(across <= -0.577 * up) +
    Number(across <= -1.732 * up)
  );
}

/** Brought to length 127 / sqrt(2). */
function scaled(values: Float64Array): number[] {
  const length = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return Array.from(values, (value) => Math.round((127 * Math.SQRT1_2 * value) / Math.max(1e-3, length)));
}
