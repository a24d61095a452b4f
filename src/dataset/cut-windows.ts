/** Where in a picture another may have been cut out: windows of many sizes, held against the other at a coarse resolution. Pure. */
import { type AreaSums, averageParts, type Window } from "./measure/areas.ts";
import { THUMB_SIDE } from "./measure/likeness.ts";

/** Sides of the window as shares of the whole, and how far apart windows lie, in shares of the whole. */
const SCALES = [0.94, 0.87, 0.8, 0.73, 0.66, 0.6, 0.54];
const STEP = 0.07;
/** Parts along a window's side. */
export const COARSE = 8;
const LENGTH = COARSE * COARSE;
/** Blocks of 2 x 2 parts in a window. */
const BLOCKS = LENGTH / 4;
/** A window agrees with a picture cut out of it by at least so much, before it is moved to the right place. */
const CORRELATION = 0.65;
/** Windows from each of which a better one is looked for. */
const STARTS = 2;

/** What a whole picture is searched by. */
export interface Coarse {
  /** [8, 8] means, see `toUnit`. */
  readonly values: Float64Array;
  /** [4, 4] sums of 2 x 2 of these, over 2. */
  readonly blocks: Float64Array;
  /** Length of what is left without the blocks. */
  readonly rest: number;
}

export function coarseOf(areas: AreaSums): Coarse {
  const all = { left: 0, top: 0, width: THUMB_SIDE, height: THUMB_SIDE };
  const values = toUnit(averageParts(areas, all, COARSE, COARSE));
  const blocks = new Float64Array(BLOCKS);
  let lengths = 0;
  for (let block = 0; block < BLOCKS; block++) {
    const at = 2 * ((block >> 2) * COARSE + (block & 3));
    const upper = (values[at] ?? 0) + (values[at + 1] ?? 0);
    const lower = (values[at + COARSE] ?? 0) + (values[at + COARSE + 1] ?? 0);
    blocks[block] = (upper + lower) / 2;
    lengths += (blocks[block] ?? 0) ** 2;
  }
  return { values, blocks, rest: Math.sqrt(Math.max(0, 1 - lengths)) };
}

/** With mean 0 and length 1, so that products are correlations; zeros where there is nothing to correlate. */
export function toUnit(values: Float32Array): Float64Array {
  let [sum, squares] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    sum += values[i] ?? 0;
    squares += (values[i] ?? 0) ** 2;
  }
  const mean = sum / values.length;
  const scale = scaleToUnit(squares - mean * sum, values.length);
  const out = new Float64Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = ((values[i] ?? 0) - mean) * scale;
  return out;
}

/** What brings so many values of mean 0 to length 1; 0 where they differ by less than a grey level: that is rounding. */
export function scaleToUnit(squares: number, count: number): number {
  return squares < count ? 0 : 1 / Math.sqrt(squares);
}

/**
 * Gives the windows of a picture that agree best with another, which has the other's shape if `stretch` is the picture's aspect over
 * the other's. Windows are cut out once for each shape.
 */
export function openWindows(areas: AreaSums): (other: Coarse, stretch: number) => readonly Window[] {
  const cut = new Set<WindowSet>();
  return (other, stretch) => {
    const set = windowsFor(stretch);
    if (!cut.has(set)) for (let place = 0; place < set.windows.length; place++) cutBlocks(areas, set, place);
    cut.add(set);
    return bestWindows(areas, set, other);
  };
}

/**
 * Windows of a shape, with room for what is in them, which every picture fills anew: as many as that would keep the collector busy. A
 * product of two windows is the product of their blocks and of what is left, and that is no more than the product of the lengths that
 * are left (Cauchy and Schwarz): the blocks alone rule most windows out.
 */
interface WindowSet {
  readonly windows: readonly Window[];
  /** [n, 9] edges of the 8 x 8 parts, across and down, on whole cells and rising: moving the window makes up for half a cell. */
  readonly columns: Uint8Array;
  readonly rows: Uint8Array;
  /** [n] what brings the means of the parts, less their own mean, to length 1. */
  readonly scales: Float64Array;
  /** [n, 4, 4] scaled sums of 2 x 2 of them, over 2. */
  readonly blocks: Float64Array;
  /** [n] length of what is left without the blocks. */
  readonly rests: Float64Array;
}

const EDGES = COARSE + 1;
/** 1 / n for the areas of parts. */
const inverses = Float64Array.from({ length: THUMB_SIDE * THUMB_SIDE + 1 }, (_, area) => 1 / area);

/** Block by block, each of two parts above two others. */
function cutBlocks({ sums, width }: AreaSums, { columns, rows, scales, blocks, rests }: WindowSet, place: number): void {
  const first = place * EDGES;
  const from = place * BLOCKS;
  let [sum, squares, blockSquares] = [0, 0, 0];
  for (let row = 0, block = from; row < COARSE; row += 2) {
    const [y0, y1, y2] = [rows[first + row] ?? 0, rows[first + row + 1] ?? 0, rows[first + row + 2] ?? 0];
    const [top, middle, bottom] = [y0 * (width + 1), y1 * (width + 1), y2 * (width + 1)];
    let x = columns[first] ?? 0;
    let upper = (sums[middle + x] ?? 0) - (sums[top + x] ?? 0);
    let lower = (sums[bottom + x] ?? 0) - (sums[middle + x] ?? 0);
    for (let column = first + 1; column < first + EDGES; column += 2, block++) {
      const x1 = columns[column] ?? 0;
      const x2 = columns[column + 1] ?? 0;
      const upper1 = (sums[middle + x1] ?? 0) - (sums[top + x1] ?? 0);
      const lower1 = (sums[bottom + x1] ?? 0) - (sums[middle + x1] ?? 0);
      const upper2 = (sums[middle + x2] ?? 0) - (sums[top + x2] ?? 0);
      const lower2 = (sums[bottom + x2] ?? 0) - (sums[middle + x2] ?? 0);
      const a = (upper1 - upper) * (inverses[(x1 - x) * (y1 - y0)] ?? 0);
      const b = (upper2 - upper1) * (inverses[(x2 - x1) * (y1 - y0)] ?? 0);
      const c = (lower1 - lower) * (inverses[(x1 - x) * (y2 - y1)] ?? 0);
      const d = (lower2 - lower1) * (inverses[(x2 - x1) * (y2 - y1)] ?? 0);
      const value = (a + b + c + d) / 2;
      blocks[block] = value;
      sum += 2 * value;
      squares += a * a + b * b + c * c + d * d;
      blockSquares += value * value;
      x = x2;
      upper = upper2;
      lower = lower2;
    }
  }
  // What they are multiplied with has mean 0: their own need not be taken off, but from the lengths.
  const ofMean = (sum * sum) / LENGTH;
  const scale = scaleToUnit(squares - ofMean, LENGTH);
  scales[place] = scale;
  for (let block = from; block < from + BLOCKS; block++) blocks[block] = (blocks[block] ?? 0) * scale;
  rests[place] = Math.sqrt(Math.max(0, 1 - (blockSquares - ofMean) * scale * scale));
}

function bestWindows(areas: AreaSums, set: WindowSet, other: Coarse): readonly Window[] {
  const { windows, blocks, rests } = set;
  const best: { place: number; correlation: number }[] = [];
  let least = CORRELATION;
  for (let place = 0; place < rests.length; place++) {
    if (dot(blocks, place * BLOCKS, other.blocks) + (rests[place] ?? 0) * other.rest < least) continue;
    const correlation = correlateParts(areas, set, place, other.values);
    if (correlation < least || (best.length === STARTS && correlation <= least)) continue;
    best.push({ place, correlation });
    best.sort((a, b) => b.correlation - a.correlation);
    best.length = Math.min(best.length, STARTS);
    if (best.length === STARTS) least = best.at(-1)?.correlation ?? least;
  }
  return best.flatMap(({ place }) => windows[place] ?? []);
}

/** Of the means of a window's parts with values of mean 0 and length 1. */
function correlateParts(
  { sums, width }: AreaSums,
  { columns, rows, scales }: WindowSet,
  place: number,
  values: Float64Array,
): number {
  const first = place * EDGES;
  let products = 0;
  for (let row = first, at = 0; row < first + COARSE; row++) {
    const top = (rows[row] ?? 0) * (width + 1);
    const bottom = (rows[row + 1] ?? 0) * (width + 1);
    const height = (rows[row + 1] ?? 0) - (rows[row] ?? 0);
    let x = columns[first] ?? 0;
    let left = (sums[bottom + x] ?? 0) - (sums[top + x] ?? 0);
    for (let column = first + 1; column < first + EDGES; column++, at++) {
      const end = columns[column] ?? 0;
      const right = (sums[bottom + end] ?? 0) - (sums[top + end] ?? 0);
      products += (right - left) * (inverses[(end - x) * height] ?? 0) * (values[at] ?? 0);
      x = end;
      left = right;
    }
  }
  return products * (scales[place] ?? 0);
}

/** Of the blocks from a place on with those of another picture. Four sums, so that no addition waits for the one before it. */
function dot(a: Float64Array, from: number, b: Float64Array): number {
  let first = 0;
  let second = 0;
  let third = 0;
  let fourth = 0;
  for (let k = 0, at = from; k < BLOCKS; k += 4, at += 4) {
    first += (a[at] ?? 0) * (b[k] ?? 0);
    second += (a[at + 1] ?? 0) * (b[k + 1] ?? 0);
    third += (a[at + 2] ?? 0) * (b[k + 2] ?? 0);
    fourth += (a[at + 3] ?? 0) * (b[k + 3] ?? 0);
  }
  return first + second + (third + fourth);
}

const knownWindows = new Map<number, WindowSet>();

function windowsFor(stretch: number): WindowSet {
  // Shapes that differ by less than a window's step share their windows; moving them makes up for it.
  const key = Math.round(20 * Math.log(stretch));
  const known = knownWindows.get(key);
  if (known) return known;
  const windows = SCALES.flatMap((scale) => {
    const width = scale * THUMB_SIDE * Math.min(1, 1 / stretch);
    const height = width * stretch;
    const places = (room: number): readonly number[] => {
      const steps = Math.max(1, Math.round(room / (STEP * THUMB_SIDE)));
      return Array.from({ length: steps + 1 }, (_, i) => (room * i) / steps);
    };
    return places(THUMB_SIDE - height).flatMap((top) =>
      places(THUMB_SIDE - width).map((left) => ({ left, top, width, height })),
    );
  });
  const made = {
    windows,
    columns: Uint8Array.from(windows.flatMap(({ left, width }) => edgesOf(left, width))),
    rows: Uint8Array.from(windows.flatMap(({ top, height }) => edgesOf(top, height))),
    scales: new Float64Array(windows.length),
    blocks: new Float64Array(windows.length * BLOCKS),
    rests: new Float64Array(windows.length),
  };
  if (knownWindows.size > 200) knownWindows.clear();
  knownWindows.set(key, made);
  return made;
}

/** A cell apart at least, also of a window that is too narrow for that. */
function edgesOf(start: number, length: number): readonly number[] {
  const first = Math.min(THUMB_SIDE - COARSE, Math.max(0, Math.round(start)));
  return Array.from({ length: EDGES }, (_, i) =>
    Math.min(THUMB_SIDE - COARSE + i, Math.max(first + i, Math.round(start + (i * length) / COARSE))),
  );
}
