/** Whether one picture is cut out of another, and which pairs are worth asking. Pure. */
import { type AreaSums, averageParts, sumAreas, type Window } from "./measure/areas.ts";
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
const FINE = 16;
/** A coarse match is necessary, not enough; most pairs end there. */
const COARSE_CORRELATION = 0.6;
/** The best of the coarse windows, from each of which a better one is looked for. */
const STARTS = 3;

/** Asks pairs one after the other; what is prepared of each picture is kept between them. */
export function openCutSearch(pictures: readonly Cuttable[]): (a: number, b: number) => number | undefined {
  const prepared = new Map<number, Prepared>();
  const prepare = (place: number): Prepared | undefined => {
    const picture = pictures[place];
    const known = prepared.get(place) ?? (picture && prepareOne(picture));
    if (!known) return undefined;
    // Neighbouring pairs share a picture; more would keep every picture of a large set.
    if (prepared.size > 64) prepared.clear();
    prepared.set(place, known);
    return known;
  };
  return (a, b) => {
    const [first, second] = [prepare(a), prepare(b)];
    // One spot on paper is found in any other.
    if (!first || !second || Math.min(first.entropyBits, second.entropyBits) < thresholds.entropyBits.value) return undefined;
    const correlation = Math.max(searchWindow(first, second), searchWindow(second, first));
    return correlation >= thresholds.cutCorrelation.value ? correlation : undefined;
  };
}

interface Prepared {
  readonly aspect: number;
  readonly entropyBits: number;
  readonly areas: AreaSums;
  readonly coarse: Float32Array;
  readonly fine: Float32Array;
}

const FULL: Window = { left: 0, top: 0, width: THUMB_SIDE, height: THUMB_SIDE };

function prepareOne({ thumb, widthPx, heightPx, entropyBits }: Cuttable): Prepared {
  const areas = sumAreas(thumb, THUMB_SIDE, THUMB_SIDE);
  const coarse = averageParts(areas, FULL, COARSE, COARSE);
  return { aspect: widthPx / heightPx, entropyBits, areas, coarse, fine: averageParts(areas, FULL, FINE, FINE) };
}

/** The best correlation of `part` with a window of `whole` that has its shape. */
function searchWindow(whole: Prepared, part: Prepared): number {
  // Both thumbnails are square: a window's height in the thumbnail follows from the two shapes.
  const stretch = whole.aspect / part.aspect;
  const starts = windowsFor(stretch)
    .map((window) => ({ window, correlation: correlate(averageParts(whole.areas, window, COARSE, COARSE), part.coarse) }))
    .filter(({ correlation }) => correlation >= COARSE_CORRELATION)
    .sort((a, b) => b.correlation - a.correlation);
  return starts
    .slice(0, STARTS)
    .reduce((best, { window }) => Math.max(best, refine(whole.areas, part.fine, window, stretch)), 0);
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

const MOVES = [-1, 0, 1].flatMap((dx) => [-1, 0, 1].flatMap((dy) => [-1, 0, 1].map((ds) => [dx, dy, ds] as const)));

/** Moves and resizes the window by ever smaller steps while that helps. */
function refine(areas: AreaSums, target: Float32Array, start: Window, stretch: number): number {
  const score = (window: Window): number => correlate(averageParts(areas, window, FINE, FINE), target);
  let best = { window: start, correlation: score(start) };
  for (let step = 3; step >= 0.3;) {
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
  return best.correlation;
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
/** Pairs that are asked at most, but never fewer than `LEAST_EACH` a picture: a pair takes some twenty microseconds. */
const MOST_PAIRS = 60_000;
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
