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
const WINDOW_SIZE = WINDOW.columns * WINDOW.rows;
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
  const least = Math.max(thresholds.markMinimum.value, thresholds.markShare.value * distinct.length);
  return cornerNames.flatMap((corner, place) => {
    const found = new Set<number>();
    for (const offset of windowOffsets()) {
      const patches = new Map(distinct.map((index) => [index, normalized(corners[index], place * SIZE + offset)]));
      const shared = findShared(patches);
      // What one window shares must be many; other windows then add those whose ground hid the mark in this one.
      if (shared.length >= least) for (const index of shared) found.add(index);
    }
    const pictures = [...found].flatMap((index) => groupOf.get(index) ?? [index]).sort((a, b) => a - b);
    return found.size > 0 ? [{ corner, pictures: [...new Set(pictures)] }] : [];
  });
}

function* windowOffsets(): Generator<number> {
  for (let y = 0; y + WINDOW.rows <= CORNER_ROWS; y += WINDOW.stepY) {
    for (let x = 0; x + WINDOW.columns <= CORNER_COLUMNS; x += WINDOW.stepX) yield y * CORNER_COLUMNS + x;
  }
}

/** A window of length 1 and mean 0, or of zeros where nothing is in it. */
function normalized(corners: Int8Array | undefined, from: number): Float32Array {
  const patch = new Float32Array(WINDOW_SIZE);
  let sum = 0;
  for (let i = 0; i < WINDOW_SIZE; i++) {
    const at = from + Math.floor(i / WINDOW.columns) * CORNER_COLUMNS + (i % WINDOW.columns);
    patch[i] = corners?.[at] ?? 0;
    sum += patch[i] ?? 0;
  }
  let squares = 0;
  for (let i = 0; i < WINDOW_SIZE; i++) {
    patch[i] = (patch[i] ?? 0) - sum / WINDOW_SIZE;
    squares += (patch[i] ?? 0) ** 2;
  }
  const length = Math.sqrt(squares);
  return length < FAINTEST * Math.sqrt(WINDOW_SIZE) ? new Float32Array(WINDOW_SIZE) : patch.map((value) => value / length);
}

/** Pictures whose window is like that of the picture that most others are like. */
function findShared(patches: ReadonlyMap<number, Float32Array>): readonly number[] {
  const all = [...patches.entries()];
  const step = Math.max(1, all.length / MAX_SAMPLE);
  const sample = Array.from({ length: Math.min(all.length, MAX_SAMPLE) }, (_, i) => all[Math.floor(i * step)]?.[1]);
  const limit = thresholds.markCorrelation.value;
  const partners = sample.map(() => 0);
  for (const [i, one] of sample.entries()) {
    for (let j = i + 1; j < sample.length; j++) {
      const other = sample[j];
      if (!one || !other || dot(one, other) < limit) continue;
      partners[i] = (partners[i] ?? 0) + 1;
      partners[j] = (partners[j] ?? 0) + 1;
    }
  }
  const most = Math.max(0, ...partners);
  const seed = most > 1 ? sample[partners.indexOf(most)] : undefined;
  if (!seed) return [];
  let members: number[] = [];
  let template = seed;
  for (let round = 0; round < ROUNDS; round++) {
    // The mean of many is cleaner than any one: what the pictures show behind the mark averages out.
    members = all.filter(([, patch]) => dot(template, patch) >= limit).map(([index]) => index);
    template = meanOf(members.flatMap((index) => patches.get(index) ?? []));
  }
  return members;
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < WINDOW_SIZE; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}

function meanOf(patches: readonly Float32Array[]): Float32Array {
  const sum = new Float32Array(WINDOW_SIZE);
  for (const patch of patches) for (let i = 0; i < WINDOW_SIZE; i++) sum[i] = (sum[i] ?? 0) + (patch[i] ?? 0);
  const length = Math.sqrt(dot(sum, sum));
  return sum.map((value) => value / Math.max(1e-9, length));
}
