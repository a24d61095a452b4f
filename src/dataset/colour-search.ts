/** Which pictures of a set have so much colour in common that one may be cut out of the other. Pure. */
import { COLOUR_BINS, type Likeness } from "./measure/likeness.ts";
import { thresholds } from "./thresholds.ts";

type Coloured = Pick<Likeness, "colours">;

/** The share of colour that two pictures have in common, 0..1. */
export function colourLikeness({ colours: a }: Coloured, { colours: b }: Coloured): number {
  return sumCommon(a, 0, b, 0, a.length) / 255;
}

/** Up to so many pictures each is asked of each; of more, those that lie near each other along some of `PROJECTIONS`. */
const ASK_ALL = 400;
const PROJECTIONS = 8;
const NEIGHBOURS = 24;
/** Pairs that are asked at most, but never fewer than `LEAST_EACH` a picture: a pair takes some forty microseconds. */
const MOST_PAIRS = 12_000;
const LEAST_EACH = 8;

/** Pairs of pictures whose colours are so alike that one may be cut out of the other, the first before the second. */
export function* pairsAlikeInColour(pictures: readonly Coloured[]): Generator<readonly [a: number, b: number]> {
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
function openColours(pictures: readonly Coloured[]): (a: number, b: number, least: number) => number {
  const fine = new Uint8Array(pictures.length * COLOUR_BINS);
  const coarse = new Uint16Array((pictures.length * COLOUR_BINS) / 4);
  for (const [place, { colours }] of pictures.entries()) fine.set(colours, place * COLOUR_BINS);
  for (const [bin, count] of fine.entries()) coarse[bin >> 2] = (coarse[bin >> 2] ?? 0) + count;
  return (a, b, least) => {
    const parts = COLOUR_BINS / 4;
    if (sumCommon(coarse, a * parts, coarse, b * parts, parts) < 255 * least) return 0;
    return sumCommon(fine, a * COLOUR_BINS, fine, b * COLOUR_BINS, COLOUR_BINS) / 255;
  };
}

type Counts = Uint8Array | Uint16Array;

/** Of so many bins of two histograms, which begin at these places. */
function sumCommon(a: Counts, fromA: number, b: Counts, fromB: number, bins: number): number {
  let common = 0;
  for (let i = fromA, j = fromB, end = i + bins; i < end; i++, j++) common += Math.min(a[i] ?? 0, b[j] ?? 0);
  return common;
}

/** Pictures in order of their colours along several fixed directions: what is alike in all is near in all, and what is near in one is asked. */
function openNeighbours(pictures: readonly Coloured[]): (place: number) => Iterable<number> {
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
