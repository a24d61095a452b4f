/** Whether one picture is cut out of another, and which pairs are worth asking. Pure. */
import { type AreaSums, averageInto, averageParts, sumAreas, type Window } from "./measure/areas.ts";
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
  const targets = pictures.map((picture, place) => ((partners[place]?.length ?? 0) > 0 ? targetOf(picture) : undefined));
  for (const [whole, picture] of pictures.entries()) {
    const own = partners[whole] ?? [];
    if (own.length === 0) continue;
    const search = openSearch(picture);
    for (const part of own) {
      const other = targets[part];
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

/** What a picture is searched by in others, made once. */
interface Target {
  readonly picture: Cuttable;
  /** [8, 8] means of the whole picture, as they are, and as a patch. */
  readonly means: Float32Array;
  readonly patch: Patches;
}

function targetOf(picture: Cuttable): Target {
  const means = averageParts(sumAreas(picture.thumb, THUMB_SIDE, THUMB_SIDE), FULL, COARSE, COARSE);
  const patch = noPatches(1);
  patch.values.set(means);
  finishPatch(patch, 0);
  return { picture, means, patch };
}

/** Gives the best correlation of a part with a window of the whole that has its shape and its details; 0 where there is none. */
function openSearch(whole: Cuttable): (part: Target) => number {
  const areas = sumAreas(whole.thumb, THUMB_SIDE, THUMB_SIDE);
  const isCut = new Set<WindowSet>();
  return ({ picture: part, means, patch }) => {
    // Both thumbnails are square: a window's height in the thumbnail follows from the two shapes.
    const stretch = whole.widthPx / whole.heightPx / (part.widthPx / part.heightPx);
    const set = windowsFor(stretch);
    const { windows, patches } = set;
    if (!isCut.has(set)) cutPatches(areas, set);
    isCut.add(set);
    let best = 0;
    for (const start of bestWindows(patches, patch)) {
      const moved = refine(areas, means, COARSE, windows[start] ?? FULL, stretch, 3, 0.7);
      if (moved.correlation < COARSE_MOVED) continue;
      const fine = averageParts(sumAreas(part.thumb, THUMB_SIDE, THUMB_SIDE), FULL, FINE, FINE);
      const { window, correlation } = refine(areas, fine, FINE, moved.window, stretch, 1.2, 0.15);
      if (correlation <= Math.max(best, thresholds.cutCorrelation.value)) continue;
      // Skies and seas agree in light and dark wherever they are cut out.
      const details = averageParts(areas, window, FINE_SIDE, FINE_SIDE);
      if (fineLikeness(details, toFineSide(part.thumb)) >= thresholds.cutDetails.value) best = correlation;
    }
    return best;
  };
}

/**
 * Windows at the coarse resolution, one after the other. A product of two patches is the product of their blocks and of what is left,
 * and that is no more than the product of the lengths that are left (Cauchy and Schwarz): the blocks alone rule most windows out.
 */
interface Patches {
  /** [n, 8, 8], of mean 0 and length 1; zeros where there is nothing to correlate. */
  readonly values: Float32Array;
  /** [n, 4, 4] sums of 2 x 2 of them, over 2. */
  readonly blocks: Float32Array;
  /** [n] length of what is left without the blocks. */
  readonly rests: Float32Array;
}

/** Blocks along a side are a quarter of 16. */
const BLOCKS_LENGTH = 16;

function noPatches(count: number): Patches {
  return {
    values: new Float32Array(count * COARSE_LENGTH),
    blocks: new Float32Array(count * BLOCKS_LENGTH),
    rests: new Float32Array(count),
  };
}

/** From the means of a window's parts in `values`. */
function finishPatch({ values, blocks, rests }: Patches, place: number): void {
  const at = place * COARSE_LENGTH;
  normalize(values, at);
  let squares = 0;
  for (let block = 0; block < BLOCKS_LENGTH; block++) {
    const corner = at + 2 * ((block >> 2) * COARSE + (block & 3));
    const upper = (values[corner] ?? 0) + (values[corner + 1] ?? 0);
    const lower = (values[corner + COARSE] ?? 0) + (values[corner + COARSE + 1] ?? 0);
    const sum = (upper + lower) / 2;
    blocks[place * BLOCKS_LENGTH + block] = sum;
    squares += sum * sum;
  }
  rests[place] = Math.sqrt(Math.max(0, 1 - squares));
}

function cutPatches(areas: AreaSums, { windows, patches }: WindowSet): void {
  for (const [place, window] of windows.entries()) {
    averageInto(patches.values, place * COARSE_LENGTH, areas, window, COARSE, COARSE);
    finishPatch(patches, place);
  }
}

/** Brings a patch to mean 0 and length 1, so that products are correlations; to zeros where there is nothing to correlate. */
function normalize(values: Float32Array, from: number): void {
  const end = from + COARSE_LENGTH;
  let sum = 0;
  for (let i = from; i < end; i++) sum += values[i] ?? 0;
  const mean = sum / COARSE_LENGTH;
  let squares = 0;
  for (let i = from; i < end; i++) {
    const value = (values[i] ?? 0) - mean;
    values[i] = value;
    squares += value * value;
  }
  const scale = squares < COARSE_LENGTH ? 0 : 1 / Math.sqrt(squares);
  for (let i = from; i < end; i++) values[i] = (values[i] ?? 0) * scale;
}

/** Places of the windows that agree best with the target. */
function bestWindows(patches: Patches, target: Patches): readonly number[] {
  const best: { place: number; correlation: number }[] = [];
  let least = COARSE_CORRELATION;
  for (let place = 0; place < patches.rests.length; place++) {
    const rest = (patches.rests[place] ?? 0) * (target.rests[0] ?? 0);
    if (multiply(patches.blocks, place, target.blocks) + rest < least) continue;
    const correlation = multiply(patches.values, place, target.values);
    if (correlation < least || (best.length === STARTS && correlation <= least)) continue;
    best.push({ place, correlation });
    best.sort((a, b) => b.correlation - a.correlation);
    best.length = Math.min(best.length, STARTS);
    if (best.length === STARTS) least = best.at(-1)?.correlation ?? least;
  }
  return best.map(({ place }) => place);
}

/** Of the patch at a place with the one that `b` is. Two sums, so that one addition need not wait for the other. */
function multiply(a: Float32Array, place: number, b: Float32Array): number {
  let even = 0;
  let odd = 0;
  for (let k = 0, at = place * b.length; k < b.length; k += 2, at += 2) {
    even += (a[at] ?? 0) * (b[k] ?? 0);
    odd += (a[at + 1] ?? 0) * (b[k + 1] ?? 0);
  }
  return even + odd;
}

/** Windows of a shape, with room for their patches, which every picture fills anew: as many as that would keep the collector busy. */
interface WindowSet {
  readonly windows: readonly Window[];
  readonly patches: Patches;
}

const knownWindows = new Map<number, WindowSet>();

function windowsFor(stretch: number): WindowSet {
  // Shapes that differ by less than a window's step share their windows; refining makes up for it.
  const key = Math.round(50 * Math.log(stretch));
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
  const made = { windows, patches: noPatches(windows.length) };
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
  const likenessOf = openColours(pictures);
  // The most alike so far, best first; of thousands of neighbours a list of all would cost more than comparing them.
  const places = new Int32Array(most);
  const values = new Float64Array(most);
  for (const a of pictures.keys()) {
    let count = 0;
    for (const b of neighbours(a)) {
      if (b === a) continue;
      const least = count < most ? thresholds.cutColours.value : (values[most - 1] ?? 0);
      const likeness = likenessOf(a, b, least);
      if (likeness < thresholds.cutColours.value || (count === most && likeness <= least)) continue;
      let at = count < most ? count++ : most - 1;
      for (; at > 0 && (values[at - 1] ?? 0) < likeness; at--) {
        values[at] = values[at - 1] ?? 0;
        places[at] = places[at - 1] ?? 0;
      }
      values[at] = likeness;
      places[at] = b;
    }
    for (const b of places.subarray(0, count)) chosen.add(Math.min(a, b) * pictures.length + Math.max(a, b));
  }
  for (const pair of chosen) yield [Math.floor(pair / pictures.length), pair % pictures.length];
}

/**
 * As `colourLikeness`, of two places in the list; or 0 as soon as it is below `least`. Bins taken together four by four have at least as
 * much in common, which rules most pictures out in a quarter of the time.
 */
function openColours(pictures: readonly Cuttable[]): (a: number, b: number, least: number) => number {
  const fine = new Uint8Array(pictures.length * COLOUR_BINS);
  const coarse = new Uint16Array((pictures.length * COLOUR_BINS) / 4);
  for (const [place, { colours }] of pictures.entries()) fine.set(colours, place * COLOUR_BINS);
  for (const [bin, count] of fine.entries()) coarse[bin >> 2] = (coarse[bin >> 2] ?? 0) + count;
  return (a, b, least) => {
    if (sumCommon(coarse, a, b, COLOUR_BINS / 4) < 255 * least) return 0;
    return sumCommon(fine, a, b, COLOUR_BINS) / 255;
  };
}

function sumCommon(counts: Uint8Array | Uint16Array, a: number, b: number, bins: number): number {
  let common = 0;
  for (let i = a * bins, j = b * bins, end = i + bins; i < end; i++, j++) common += Math.min(counts[i] ?? 0, counts[j] ?? 0);
  return common;
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
  // The picture that asked for one last: several directions may lead to it.
  const askedBy = new Int32Array(pictures.length).fill(-1);
  const near = new Int32Array(PROJECTIONS * (2 * NEIGHBOURS + 1));
  return (place) => {
    let count = 0;
    for (const { order, ranks } of orders) {
      const rank = ranks[place] ?? 0;
      for (let at = Math.max(0, rank - NEIGHBOURS); at <= Math.min(order.length - 1, rank + NEIGHBOURS); at++) {
        const other = order[at] ?? 0;
        if (askedBy[other] === place) continue;
        askedBy[other] = place;
        near[count++] = other;
      }
    }
    return near.subarray(0, count);
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
