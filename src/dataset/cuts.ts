/** Whether one picture is cut out of another, and which pairs are worth asking. Pure. */
import { type AreaSums, averageParts, sumAreas, type Window } from "./measure/areas.ts";
import { FINE_SIDE, fineLikeness, toFineSide } from "./fine-likeness.ts";
import { COLOUR_BINS, type Likeness, THUMB_SIDE } from "./measure/likeness.ts";
import { thresholds } from "./thresholds.ts";

/** What cuts are searched by. */
export interface Cuttable extends Pick<Likeness, "thumb" | "colours"> {
  readonly widthPx: number;
  readonly heightPx: number;
  readonly entropyBits: number;
}

/** Sides of the window as shares of the whole, and how far apart windows lie, in shares of the whole. */
const SCALES = [0.94, 0.87, 0.8, 0.73, 0.66, 0.6, 0.54];
const STEP = 0.07;
const COARSE = 8;
const COARSE_LENGTH = COARSE * COARSE;
const FINE = 16;
/** A coarse match is necessary, not enough: most pairs end at the first, most others at the second, after moving the window. */
const COARSE_CORRELATION = 0.7;
const COARSE_MOVED = 0.9;
/** The best of the coarse windows, from each of which a better one is looked for. */
const STARTS = 2;

/** Two pictures of which one is cut out of the other, the first before the second. */
export interface Cut {
  readonly a: number;
  readonly b: number;
  readonly correlation: number;
}

/**
 * Which of these pairs are cuts. Every picture in turn is searched for all its partners, so that its windows are cut out once and
 * forgotten after.
 */
export function findCuts(pictures: readonly Cuttable[], pairs: Iterable<readonly [a: number, b: number]>): readonly Cut[] {
  // One spot on paper is found in any other.
  const says = (place: number): boolean => (pictures[place]?.entropyBits ?? 0) >= thresholds.cutBits.value;
  const partners = pictures.map((): number[] => []);
  for (const [a, b] of pairs) {
    if (!says(a) || !says(b)) continue;
    partners[a]?.push(b);
    partners[b]?.push(a);
  }
  const cuts = new Map<number, Cut>();
  for (const [whole, picture] of pictures.entries()) {
    const own = partners[whole] ?? [];
    if (own.length === 0) continue;
    const search = openSearch(picture);
    for (const part of own) {
      const other = pictures[part];
      const correlation = other ? search(other) : 0;
      const [a, b] = [Math.min(whole, part), Math.max(whole, part)];
      const key = a * pictures.length + b;
      if (correlation >= Math.max(thresholds.cutCorrelation.value, cuts.get(key)?.correlation ?? 0))
        cuts.set(key, { a, b, correlation });
    }
  }
  return [...cuts.values()];
}

const FULL: Window = { left: 0, top: 0, width: THUMB_SIDE, height: THUMB_SIDE };

/** Gives the best correlation of a part with a window of the whole that has its shape and its details; 0 where there is none. */
function openSearch(whole: Cuttable): (part: Cuttable) => number {
  const areas = sumAreas(whole.thumb, THUMB_SIDE, THUMB_SIDE);
  const patches = new Map<readonly Window[], Float32Array>();
  return (part) => {
    // Both thumbnails are square: a window's height in the thumbnail follows from the two shapes.
    const stretch = whole.widthPx / whole.heightPx / (part.widthPx / part.heightPx);
    const windows = windowsFor(stretch);
    const known = patches.get(windows) ?? normalizedPatches(areas, windows);
    patches.set(windows, known);
    const partAreas = sumAreas(part.thumb, THUMB_SIDE, THUMB_SIDE);
    const target = averageParts(partAreas, FULL, COARSE, COARSE);
    let best = 0;
    for (const start of bestWindows(known, normalize(target.slice()))) {
      const moved = refine(areas, target, COARSE, windows[start] ?? FULL, stretch, 3, 0.7);
      if (moved.correlation < COARSE_MOVED) continue;
      const fine = averageParts(partAreas, FULL, FINE, FINE);
      const { window, correlation } = refine(areas, fine, FINE, moved.window, stretch, 1.2, 0.15);
      if (correlation <= Math.max(best, thresholds.cutCorrelation.value)) continue;
      // Skies and seas agree in light and dark wherever they are cut out.
      const details = averageParts(areas, window, FINE_SIDE, FINE_SIDE);
      if (fineLikeness(details, toFineSide(part.thumb)) >= thresholds.cutDetails.value) best = correlation;
    }
    return best;
  };
}

/** All windows at the coarse resolution, one after the other. */
function normalizedPatches(areas: AreaSums, windows: readonly Window[]): Float32Array {
  const out = new Float32Array(windows.length * COARSE_LENGTH);
  for (const [i, window] of windows.entries()) {
    out.set(normalize(averageParts(areas, window, COARSE, COARSE)), i * COARSE_LENGTH);
  }
  return out;
}

/** Brought to mean 0 and length 1, so that products are correlations; zeros where there is nothing to correlate. */
function normalize(values: Float32Array): Float32Array {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] ?? 0;
  const mean = sum / values.length;
  let squares = 0;
  for (let i = 0; i < values.length; i++) {
    const value = (values[i] ?? 0) - mean;
    values[i] = value;
    squares += value * value;
  }
  const scale = squares < values.length ? 0 : 1 / Math.sqrt(squares);
  for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) * scale;
  return values;
}

/** Places of the windows that agree best with the target. */
function bestWindows(patches: Float32Array, target: Float32Array): readonly number[] {
  const best: { place: number; correlation: number }[] = [];
  for (let place = 0, at = 0; at < patches.length; place++) {
    let correlation = 0;
    for (let k = 0; k < COARSE_LENGTH; k++, at++) correlation += (patches[at] ?? 0) * (target[k] ?? 0);
    if (correlation < COARSE_CORRELATION || correlation <= (best.length < STARTS ? 0 : (best.at(-1)?.correlation ?? 0)))
      continue;
    best.push({ place, correlation });
    best.sort((a, b) => b.correlation - a.correlation);
    best.length = Math.min(best.length, STARTS);
  }
  return best.map(({ place }) => place);
}

const knownWindows = new Map<number, readonly Window[]>();

function windowsFor(stretch: number): readonly Window[] {
  // Shapes that differ by less than a window's step share their windows; refining makes up for it.
  const key = Math.round(50 * Math.log(stretch));
  const known = knownWindows.get(key);
  if (known) return known;
  const made = SCALES.flatMap((scale) => {
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
  if (knownWindows.size > 200) knownWindows.clear();
  knownWindows.set(key, made);
  return made;
}

/** Across, down, and larger; one at a time. */
const MOVES = [
  [1, 0, 0],
  [-1, 0, 0],
  [0, 1, 0],
  [0, -1, 0],
  [0, 0, 1],
  [0, 0, -1],
] as const;

/** Moves and resizes the window by ever smaller steps while that helps. */
function refine(
  areas: AreaSums,
  target: Float32Array,
  parts: number,
  start: Window,
  stretch: number,
  firstStep: number,
  lastStep: number,
): { readonly window: Window; readonly correlation: number } {
  const score = (window: Window): number => correlate(averageParts(areas, window, parts, parts), target);
  let best = { window: start, correlation: score(start) };
  for (let step = firstStep; step >= lastStep;) {
    const { left, top, width } = best.window;
    let next = best;
    for (const [dx, dy, ds] of MOVES) {
      const wider = Math.min(THUMB_SIDE, THUMB_SIDE / stretch, width + ds * step);
      const grown = (wider - width) / 2;
      const window = {
        left: left + dx * step - grown,
        top: top + dy * step - grown * stretch,
        width: wider,
        height: wider * stretch,
      };
      if (!isInside(window)) continue;
      const correlation = score(window);
      if (correlation > next.correlation) next = { window, correlation };
    }
    if (next === best) step /= 2;
    best = next;
  }
  return best;
}

function isInside({ left, top, width, height }: Window): boolean {
  return left >= -0.5 && top >= -0.5 && left + width <= THUMB_SIDE + 0.5 && top + height <= THUMB_SIDE + 0.5;
}

/** Pearson's correlation; 0 where one of them is of one value. */
export function correlate(a: ArrayLike<number>, b: ArrayLike<number>): number {
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
  // Under one grey level of spread there is nothing to correlate but rounding.
  return spread / n < 1 ? 0 : (sumAB - (sumA * sumB) / n) / spread;
}

/** The share of colour that two pictures have in common, 0..1. */
export function colourLikeness({ colours: a }: Pick<Cuttable, "colours">, { colours: b }: Pick<Cuttable, "colours">): number {
  let common = 0;
  for (let i = 0; i < a.length; i++) common += Math.min(a[i] ?? 0, b[i] ?? 0);
  return common / 255;
}

/** Up to so many pictures each is asked of each; of more, those that lie near each other along some of `PROJECTIONS`. */
const ASK_ALL = 400;
const PROJECTIONS = 8;
const NEIGHBOURS = 24;
/** Pairs that are asked at most, but never fewer than `LEAST_EACH` a picture: a pair takes some forty microseconds. */
const MOST_PAIRS = 12_000;
const LEAST_EACH = 8;

/** Pairs of pictures whose colours are so alike that one may be cut out of the other, the first before the second. */
export function* pairsAlikeInColour(pictures: readonly Cuttable[]): Generator<readonly [a: number, b: number]> {
  const neighbours = pictures.length <= ASK_ALL ? () => pictures.keys() : openNeighbours(pictures);
  const most = Math.max(LEAST_EACH, Math.floor(MOST_PAIRS / Math.max(1, pictures.length)));
  const chosen = new Set<number>();
  for (const [a, first] of pictures.entries()) {
    const own: { b: number; likeness: number }[] = [];
    for (const b of neighbours(a)) {
      const second = pictures[b];
      if (!second || b === a) continue;
      const likeness = colourLikeness(first, second);
      if (likeness >= thresholds.cutColours.value) own.push({ b, likeness });
    }
    own.sort((x, y) => y.likeness - x.likeness);
    for (const { b } of own.slice(0, most)) chosen.add(Math.min(a, b) * pictures.length + Math.max(a, b));
  }
  for (const pair of chosen) yield [Math.floor(pair / pictures.length), pair % pictures.length];
}

/** Pictures in order of their colours along several fixed directions: what is alike in all is near in all, and what is near in one is asked. */
function openNeighbours(pictures: readonly Cuttable[]): (place: number) => Iterable<number> {
  const orders = Array.from({ length: PROJECTIONS }, (_, k) => {
    const values = Float64Array.from(pictures, ({ colours }) => project(colours, k));
    const order = Int32Array.from(pictures.keys()).sort((a, b) => (values[a] ?? 0) - (values[b] ?? 0));
    const ranks = new Int32Array(order.length);
    for (const [rank, place] of order.entries()) ranks[place] = rank;
    return { order, ranks };
  });
  return (place) => {
    const near = new Set<number>();
    for (const { order, ranks } of orders) {
      const rank = ranks[place] ?? 0;
      for (let at = Math.max(0, rank - NEIGHBOURS); at <= Math.min(order.length - 1, rank + NEIGHBOURS); at++)
        near.add(order[at] ?? 0);
    }
    return near;
  };
}

/** A sum of the histogram with signs from a small generator of random numbers; square roots, so that one colour does not drown the rest. */
function project(colours: Uint8Array, k: number): number {
  let sum = 0;
  for (let bin = 0; bin < COLOUR_BINS; bin++) {
    const bits = Math.imul(Math.imul(k * COLOUR_BINS + bin + 1, 0x9e3779b1) ^ 0x85ebca6b, 0xc2b2ae35) >>> 16;
    sum += Math.sqrt(colours[bin] ?? 0) * ((bits & 1) === 0 ? 1 : -1);
  }
  return sum;
}
