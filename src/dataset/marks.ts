/** Marks that stand in the same corner of many pictures, such as watermarks and signatures. Pure. */
import { CORNER_COLUMNS, CORNER_ROWS, cornerNames, type CornerName } from "./measure/corners.ts";
import { thresholds } from "./thresholds.ts";

export interface RepeatedMark {
  readonly corner: CornerName;
  /** Places in the list. */
  readonly pictures: readonly number[];
}

const SIZE = CORNER_COLUMNS * CORNER_ROWS;
/** A mark fills a part of the corner: windows of 14 x 4 cells, over each other, are looked at one by one. */
const WINDOW = { columns: 14, rows: 4, stepX: 4, stepY: 1 } as const;
const LENGTH = WINDOW.columns * WINDOW.rows;
/** Pictures that are compared each with each; the others are compared with what these have in common. */
const MAX_SAMPLE = 60;
/** Rounds of averaging the pictures that share the mark and looking again which do. */
const ROUNDS = 3;
/** Root mean square of a window below which there is nothing in it, in grey levels. */
const FAINTEST = 1;

/**
 * @param corners of each picture, see `measureCorners`
 * @param groups copies of each other, which share everything and so no mark: only the first of each is looked at
 */
export function findMarks(corners: readonly Int8Array[], groups: readonly (readonly number[])[]): readonly RepeatedMark[] {
  const repeated = new Set(groups.flatMap((group) => group.slice(1)));
  const groupOf = new Map(groups.flatMap((group) => group.map((index) => [index, group] as const)));
  const distinct = [...corners.keys()].filter((index) => !repeated.has(index));
  return cornerNames.flatMap((corner, place) => {
    const found = findInCorner(
      distinct.flatMap((index) => corners[index] ?? []),
      place * SIZE,
    );
    const pictures = found.flatMap((i) => groupOf.get(distinct[i] ?? 0) ?? [distinct[i] ?? 0]).sort((a, b) => a - b);
    return found.length > 0 ? [{ corner, pictures: [...new Set(pictures)] }] : [];
  });
}

/**
 * Places of the pictures that have the mark of a corner. What windows share must be shared by many pictures; a mark then shows in many
 * windows, and a picture has it that shows it in some of them, or shows its reverse in all: white letters with a dark outline are
 * light on a dark ground and dark on a white one.
 */
function findInCorner(corners: readonly Int8Array[], from: number): readonly number[] {
  const least = Math.max(thresholds.markMinimum.value, thresholds.markShare.value * corners.length);
  const counts = new Float64Array(corners.length);
  const likeness = new Float64Array(corners.length);
  const patches = new Float32Array(corners.length * LENGTH);
  let windows = 0;
  for (const offset of windowOffsets()) {
    for (const [i, own] of corners.entries()) cutPatch(own, from + offset, patches.subarray(i * LENGTH, (i + 1) * LENGTH));
    const shared = findShared(patches, corners.length);
    if (!shared || shared.members.length < least) continue;
    windows++;
    for (const i of shared.members) counts[i] = (counts[i] ?? 0) + 1;
    for (const i of corners.keys()) likeness[i] = (likeness[i] ?? 0) + dot(patches, i, shared.template, 0);
  }
  if (windows < thresholds.markWindows.value) return [];
  return [...corners.keys()].filter(
    (i) =>
      (counts[i] ?? 0) >= thresholds.markWindowShare.value * windows ||
      (likeness[i] ?? 0) <= -thresholds.markReverse.value * windows,
  );
}

function* windowOffsets(): Generator<number> {
  for (let y = 0; y + WINDOW.rows <= CORNER_ROWS; y += WINDOW.stepY) {
    for (let x = 0; x + WINDOW.columns <= CORNER_COLUMNS; x += WINDOW.stepX) yield y * CORNER_COLUMNS + x;
  }
}

/** A window of length 1 and mean 0, or of zeros where nothing is in it. */
function cutPatch(corners: Int8Array, from: number, patch: Float32Array): void {
  let sum = 0;
  for (let row = 0, i = 0; row < WINDOW.rows; row++) {
    for (let at = from + row * CORNER_COLUMNS; at < from + row * CORNER_COLUMNS + WINDOW.columns; at++, i++) {
      const value = corners[at] ?? 0;
      patch[i] = value;
      sum += value;
    }
  }
  const mean = sum / LENGTH;
  let squares = 0;
  for (let i = 0; i < LENGTH; i++) {
    const value = (patch[i] ?? 0) - mean;
    patch[i] = value;
    squares += value * value;
  }
  const scale = squares < FAINTEST * FAINTEST * LENGTH ? 0 : 1 / Math.sqrt(squares);
  for (let i = 0; i < LENGTH; i++) patch[i] = (patch[i] ?? 0) * scale;
}

/** Pictures whose window is like that of the picture that most others are like, and what they have in common. */
function findShared(
  patches: Float32Array,
  count: number,
): { readonly members: readonly number[]; readonly template: Float32Array } | undefined {
  const sample = Array.from({ length: Math.min(count, MAX_SAMPLE) }, (_, i) =>
    Math.floor((i * count) / Math.min(count, MAX_SAMPLE)),
  );
  const limit = thresholds.markCorrelation.value;
  const partners = sample.map(() => 0);
  for (const [i, one] of sample.entries()) {
    for (let j = i + 1; j < sample.length; j++) {
      if (dot(patches, one, patches, sample[j] ?? 0) < limit) continue;
      partners[i] = (partners[i] ?? 0) + 1;
      partners[j] = (partners[j] ?? 0) + 1;
    }
  }
  const most = Math.max(0, ...partners);
  const seed = sample[partners.indexOf(most)];
  if (seed === undefined || most < 2) return undefined;
  let template: Float32Array = patches.slice(seed * LENGTH, (seed + 1) * LENGTH);
  let members: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    // The mean of many is cleaner than any one: what the pictures show behind the mark averages out.
    members = [];
    for (let i = 0; i < count; i++) if (dot(patches, i, template, 0) >= limit) members.push(i);
    template = meanOf(patches, members);
  }
  return { members, template };
}

/** Of the i-th patch of one list and the j-th of the other. */
function dot(a: Float32Array, i: number, b: Float32Array, j: number): number {
  const [from, to] = [i * LENGTH, j * LENGTH];
  let sum = 0;
  for (let k = 0; k < LENGTH; k++) sum += (a[from + k] ?? 0) * (b[to + k] ?? 0);
  return sum;
}

/** Brought to length 1. */
function meanOf(patches: Float32Array, members: readonly number[]): Float32Array {
  const sum = new Float32Array(LENGTH);
  for (const i of members) for (let k = 0; k < LENGTH; k++) sum[k] = (sum[k] ?? 0) + (patches[i * LENGTH + k] ?? 0);
  const length = Math.sqrt(dot(sum, 0, sum, 0));
  return sum.map((value) => value / Math.max(1e-9, length));
}
