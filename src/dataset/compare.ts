/** Which pictures of a set are copies of each other: exact, altered, mirrored, or cut out of one another. Pure. */
import type { Window } from "./measure/grid.ts";
import { type Likeness, THUMB_SIDE } from "./measure/likeness.ts";
import { thresholds } from "./thresholds.ts";

/** What a picture is compared by. */
export interface Comparable extends Pick<Likeness, "hash" | "mirrorHash" | "thumb" | "colours"> {
  readonly fileHash: string;
  readonly pixelHash: string;
  readonly widthPx: number;
  readonly heightPx: number;
  readonly entropyBits: number;
}

/** How two pictures are the same: the first that holds. */
export type CopyKind = "same file" | "same pixels" | "altered" | "mirrored" | "cut out" | "similar";

/** Two pictures, by their place in the list, the first before the second. */
export interface CopyPair {
  readonly a: number;
  readonly b: number;
  readonly kind: CopyKind;
  /** Bits in which the hashes differ, of 64; of the mirror image where mirrored. */
  readonly distance: number;
  /** Correlation of the thumbnails, at the best window where one is cut out of the other; 1 for the same pixels. */
  readonly correlation: number;
}

/** Pictures that each one is searched in for a cut: those whose colours are most like its own. */
const CUT_CANDIDATES = 4;

/** Every pair that is one of `CopyKind`. Time grows with the square: 10,000 pictures take seconds. */
export function findCopies(pictures: readonly Comparable[]): readonly CopyPair[] {
  const pairs: CopyPair[] = [];
  const candidates = pictures.map((): { a: number; b: number; colours: number }[] => []);
  for (const [a, first] of pictures.entries()) {
    for (let b = a + 1; b < pictures.length; b++) {
      const second = pictures[b];
      if (!second) continue;
      const colours = colourLikeness(first, second);
      const found = compare(first, second, colours);
      if (found) pairs.push({ a, b, ...found });
      else if (colours >= thresholds.cutColours.value) {
        keepBest(candidates[a], { a, b, colours });
        keepBest(candidates[b], { a, b, colours });
      }
    }
  }
  const distinct = new Map(candidates.flat().map(({ a, b }) => [a * pictures.length + b, { a, b }]));
  for (const { a, b } of distinct.values()) {
    const [first, second] = [pictures[a], pictures[b]];
    const cut = first && second && findCut(first, second);
    if (cut) pairs.push({ a, b, ...cut });
  }
  return pairs.sort((x, y) => x.a - y.a || x.b - y.b);
}

function keepBest(list: { colours: number }[] | undefined, candidate: { a: number; b: number; colours: number }): void {
  if (!list || (list.length >= CUT_CANDIDATES && (list.at(-1)?.colours ?? 0) >= candidate.colours)) return;
  list.push(candidate);
  list.sort((x, y) => y.colours - x.colours);
  list.length = Math.min(list.length, CUT_CANDIDATES);
}

function compare(a: Comparable, b: Comparable, colours: number): Omit<CopyPair, "a" | "b"> | undefined {
  if (a.fileHash === b.fileHash) return { kind: "same file", distance: 0, correlation: 1 };
  if (a.pixelHash === b.pixelHash) return { kind: "same pixels", distance: 0, correlation: 1 };
  if (colours < thresholds.similarColours.value) return undefined;
  const limit = thresholds.similarHashBits.value;
  const straight = hamming(a.hash, b.hash);
  const mirrored = hamming(a.mirrorHash, b.hash);
  if (Math.min(straight, mirrored) > limit) return undefined;
  const isMirrored = mirrored < straight;
  const distance = isMirrored ? mirrored : straight;
  const correlation = correlate(isMirrored ? mirror(a.thumb) : a.thumb, b.thumb);
  if (correlation >= thresholds.copyCorrelation.value && distance <= thresholds.copyHashBits.value) {
    return { kind: isMirrored ? "mirrored" : "altered", distance, correlation };
  }
  return correlation >= thresholds.similarCorrelation.value ? { kind: "similar", distance, correlation } : undefined;
}

function findCut(a: Comparable, b: Comparable): Omit<CopyPair, "a" | "b"> | undefined {
  // One spot on paper is found in any other.
  if (Math.min(a.entropyBits, b.entropyBits) < thresholds.entropyBits.value) return undefined;
  const correlation = Math.max(searchWindow(a, b), searchWindow(b, a));
  return correlation >= thresholds.cutCorrelation.value
    ? { kind: "cut out", distance: hamming(a.hash, b.hash), correlation }
    : undefined;
}

/** Bits in which two hashes differ. */
export function hamming(a: readonly [number, number], b: readonly [number, number]): number {
  return popCount(a[0] ^ b[0]) + popCount(a[1] ^ b[1]);
}

function popCount(bits: number): number {
  let x = bits - ((bits >>> 1) & 0x55555555);
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333);
  return Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** The share of colour that two pictures have in common, 0..1. */
function colourLikeness({ colours: a }: Comparable, { colours: b }: Comparable): number {
  let common = 0;
  for (let i = 0; i < a.length; i++) common += Math.min(a[i] ?? 0, b[i] ?? 0);
  return common / 255;
}

function mirror(thumb: Uint8Array): Uint8Array {
  return thumb.map((_, i) => thumb[i - (i % THUMB_SIDE) + THUMB_SIDE - 1 - (i % THUMB_SIDE)] ?? 0);
}

/** Pearson's correlation; 0 where one of them is of one value. */
function correlate(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const n = a.length;
  let sumA = 0;
  let sumB = 0;
  let sumAA = 0;
  let sumBB = 0;
  let sumAB = 0;
  for (let i = 0; i < n; i++) {
    const x = a[i] ?? 0;
    const y = b[i] ?? 0;
    sumA += x;
    sumB += y;
    sumAA += x * x;
    sumBB += y * y;
    sumAB += x * y;
  }
  const spread = Math.sqrt(Math.max(0, sumAA - (sumA * sumA) / n) * Math.max(0, sumBB - (sumB * sumB) / n));
  // Under two grey levels of spread there is nothing to correlate but rounding.
  return spread / n < 4 ? 0 : (sumAB - (sumA * sumB) / n) / spread;
}

/** Sides of the window as shares of the whole, and how finely it is moved. */
const SCALES = [0.9, 0.8, 0.7, 0.6];
const SHIFTS = 5;
const COARSE = 8;
const FINE = 16;
/** A coarse match is necessary, not enough; most pairs end there. */
const COARSE_CORRELATION = 0.8;

/** The best correlation of `part` with a window of `whole` that has its shape. */
function searchWindow(whole: Comparable, part: Comparable): number {
  // Both thumbnails are square: a window's height in the thumbnail follows from the two shapes.
  const stretch = whole.widthPx / whole.heightPx / (part.widthPx / part.heightPx);
  const sums = sumsOf(whole.thumb);
  const target = averages(sumsOf(part.thumb), FULL, COARSE);
  let best = { correlation: -1, window: FULL };
  for (const window of windows(stretch)) {
    const correlation = correlate(averages(sums, window, COARSE), target);
    if (correlation > best.correlation) best = { correlation, window };
  }
  if (best.correlation < COARSE_CORRELATION) return 0;
  return refine(sums, averages(sumsOf(part.thumb), FULL, FINE), best.window, stretch);
}

const FULL: Window = { left: 0, top: 0, width: THUMB_SIDE, height: THUMB_SIDE };

function windows(stretch: number): readonly Window[] {
  const steps = Array.from({ length: SHIFTS }, (_, i) => i / (SHIFTS - 1));
  return SCALES.flatMap((scale) => {
    const width = scale * THUMB_SIDE * Math.min(1, 1 / stretch);
    const height = width * stretch;
    return steps.flatMap((down) =>
      steps.map((right) => ({ left: (THUMB_SIDE - width) * right, top: (THUMB_SIDE - height) * down, width, height })),
    );
  });
}

/** Moves and resizes the window by ever smaller steps while that helps. */
function refine(sums: Float64Array, target: Float64Array, start: Window, stretch: number): number {
  const score = (window: Window): number => correlate(averages(sums, window, FINE), target);
  let best = { window: start, correlation: score(start) };
  for (let step = 2; step >= 0.5; step /= 2) {
    for (const [dx, dy, ds] of MOVES) {
      const { left, top, width } = best.window;
      const wider = Math.min(THUMB_SIDE, width + ds * step);
      const window = { left: left + dx * step, top: top + dy * step, width: wider, height: wider * stretch };
      if (window.left < -0.5 || window.top < -0.5 || window.left + wider > THUMB_SIDE + 0.5) continue;
      if (window.top + window.height > THUMB_SIDE + 0.5) continue;
      const correlation = score(window);
      if (correlation > best.correlation) best = { window, correlation };
    }
  }
  return best.correlation;
}

const SUM_SIDE = THUMB_SIDE + 1;

/** [33, 33]: the sum of all values above and to the left of each point, so that any rectangle's sum takes four look-ups. */
function sumsOf(thumb: Uint8Array): Float64Array {
  const sums = new Float64Array(SUM_SIDE * SUM_SIDE);
  for (let y = 0; y < THUMB_SIDE; y++) {
    let row = 0;
    for (let x = 0; x < THUMB_SIDE; x++) {
      row += thumb[y * THUMB_SIDE + x] ?? 0;
      sums[(y + 1) * SUM_SIDE + x + 1] = (sums[y * SUM_SIDE + x + 1] ?? 0) + row;
    }
  }
  return sums;
}

/** A window averaged into side x side cells. */
function averages(sums: Float64Array, { left, top, width, height }: Window, side: number): Float64Array {
  const out = new Float64Array(side * side);
  const columns = edges(left, width, side);
  const rows = edges(top, height, side);
  for (let row = 0; row < side; row++) {
    const y0 = rows[2 * row] ?? 0;
    const y1 = rows[2 * row + 1] ?? 0;
    for (let column = 0; column < side; column++) {
      const x0 = columns[2 * column] ?? 0;
      const x1 = columns[2 * column + 1] ?? 0;
      const below = (sums[y1 * SUM_SIDE + x1] ?? 0) - (sums[y1 * SUM_SIDE + x0] ?? 0);
      const above = (sums[y0 * SUM_SIDE + x1] ?? 0) - (sums[y0 * SUM_SIDE + x0] ?? 0);
      out[row * side + column] = (below - above) / ((y1 - y0) * (x1 - x0));
    }
  }
  return out;
}

/** First and last edge of the whole cells nearest to each of n parts of a stretch; none is empty. */
function edges(start: number, length: number, n: number): Int32Array {
  const out = new Int32Array(2 * n);
  for (let i = 0; i < n; i++) {
    const from = Math.min(THUMB_SIDE - 1, Math.max(0, Math.round(start + (length * i) / n)));
    out[2 * i] = from;
    out[2 * i + 1] = Math.min(THUMB_SIDE, Math.max(from + 1, Math.round(start + (length * (i + 1)) / n)));
  }
  return out;
}

const MOVES = [-1, 0, 1].flatMap((dx) => [-1, 0, 1].flatMap((dy) => [-1, 0, 1].map((ds) => [dx, dy, ds] as const)));

/** Groups of pictures that are connected by pairs, each sorted, in order of their first. */
export function groupPairs(count: number, pairs: readonly Pick<CopyPair, "a" | "b">[]): readonly (readonly number[])[] {
  const parent = Array.from({ length: count }, (_, i) => i);
  const rootOf = (i: number): number => {
    let root = i;
    while (parent[root] !== root) root = parent[root] ?? root;
    parent[i] = root;
    return root;
  };
  for (const { a, b } of pairs) {
    const [low, high] = [rootOf(a), rootOf(b)].sort((x, y) => x - y);
    if (low !== undefined && high !== undefined) parent[high] = low;
  }
  const groups = new Map<number, number[]>();
  for (const i of parent.keys()) {
    const root = rootOf(i);
    const group = groups.get(root);
    if (group) group.push(i);
    else groups.set(root, [i]);
  }
  return [...groups.values()].filter((group) => group.length > 1);
}
