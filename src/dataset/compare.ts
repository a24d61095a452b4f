/** Which pictures of a set are copies of each other: exact, altered, mirrored, or cut out of one another. Pure. */
import { colourLikeness, pairsAlikeInColour } from "./colour-search.ts";
import { correlate, type Cuttable, findCuts } from "./cuts.ts";
import { fineLikeness, toFineSide } from "./fine-likeness.ts";
import { hamming, indexHashes } from "./hash-index.ts";
import { type Likeness, THUMB_SIDE } from "./measure/likeness.ts";
import { thresholds } from "./thresholds.ts";

/** What a picture is compared by. */
export interface Comparable extends Pick<Likeness, "hash" | "mirrorHash" | "colours">, Cuttable {
  readonly fileHash: string;
  readonly pixelHash: string;
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

/**
 * Pairs that are one of `CopyKind`. Of pictures with the same pixels each is paired with the first alone. Neither time nor memory
 * grows with the square of the number of pictures, unless they are all alike.
 */
export function findCopies(pictures: readonly Comparable[]): readonly CopyPair[] {
  const pairs = new Map<number, CopyPair>();
  const add = (pair: CopyPair): unknown => pairs.set(pair.a * pictures.length + pair.b, pair);
  const { firsts, repeats } = findRepeats(pictures);
  repeats.forEach(add);
  // What holds for the first of the same pixels holds for all.
  const distinct = firsts.flatMap((place) => pictures[place] ?? []);
  const placeOf = (index: number): number => firsts[index] ?? 0;
  for (const pair of findAltered(distinct)) add({ ...pair, a: placeOf(pair.a), b: placeOf(pair.b) });
  const isFound = ([a, b]: readonly [number, number]): boolean => pairs.has(placeOf(a) * pictures.length + placeOf(b));
  const asked = [...pairsAlikeInColour(distinct)].filter((pair) => !isFound(pair));
  for (const { a, b, correlation } of findCuts(distinct, asked)) {
    const distance = hamming(distinct[a]?.hash ?? [0, 0], distinct[b]?.hash ?? [0, 0]);
    add({ a: placeOf(a), b: placeOf(b), kind: "cut out", distance, correlation });
  }
  return [...pairs.values()].sort((x, y) => x.a - y.a || x.b - y.b);
}

/** Files and pixels that were there before, each paired with the first, and the places of all firsts. */
function findRepeats(pictures: readonly Comparable[]): {
  readonly firsts: readonly number[];
  readonly repeats: readonly CopyPair[];
} {
  const files = new Map<string, number>();
  const pixels = new Map<string, number>();
  const firsts: number[] = [];
  const repeats: CopyPair[] = [];
  for (const [b, { fileHash, pixelHash }] of pictures.entries()) {
    const sameFile = files.get(fileHash);
    const a = sameFile ?? pixels.get(pixelHash);
    if (a === undefined) firsts.push(b);
    else repeats.push({ a, b, kind: sameFile === undefined ? "same pixels" : "same file", distance: 0, correlation: 1 });
    // One picture stands for all with its pixels, whichever file they are in.
    files.set(fileHash, sameFile ?? b);
    pixels.set(pixelHash, pixels.get(pixelHash) ?? b);
  }
  return { firsts, repeats };
}

function findAltered(pictures: readonly Comparable[]): readonly CopyPair[] {
  const pairs = new Map<number, CopyPair>();
  const index = indexHashes(pictures.map(({ hash }) => hash));
  for (const [a, own] of pictures.entries()) {
    let first: Comparable | undefined;
    const look = (isMirrored: boolean) => (b: number, distance: number) => {
      const second = pictures[b];
      if (!second || b === a || (!isMirrored && b < a)) return;
      // Read once: a thumbnail may lie on disk.
      first ??= { ...own };
      const key = Math.min(a, b) * pictures.length + Math.max(a, b);
      const pair = compare(first, second, distance, isMirrored);
      if (pair && pair.correlation > (pairs.get(key)?.correlation ?? 0))
        pairs.set(key, { a: Math.min(a, b), b: Math.max(a, b), ...pair });
    };
    index.near(own.hash, thresholds.similarHashBits.value, look(false));
    index.near(own.mirrorHash, thresholds.similarHashBits.value, look(true));
  }
  return [...pairs.values()];
}

function compare(a: Comparable, b: Comparable, distance: number, isMirrored: boolean): Omit<CopyPair, "a" | "b"> | undefined {
  const thumb = isMirrored ? mirror(a.thumb) : a.thumb;
  const correlation = correlate(thumb, b.thumb);
  if (correlation < thresholds.similarCorrelation.value) return undefined;
  const details = fineLikeness(toFineSide(thumb), toFineSide(b.thumb));
  const colours = colourLikeness(a, b);
  // Making a picture lighter moves its colours, and makes a faint one differ in light and dark; its details stay.
  const isNear = distance <= thresholds.copyHashBits.value;
  const isAlike = correlation >= thresholds.copyCorrelationSure.value;
  const isSure =
    (isAlike && colours >= thresholds.copyColours.value) ||
    ((isAlike || isNear) && details >= thresholds.copyDetailsSure.value);
  if (!isSure && colours < thresholds.similarColours.value) return undefined;
  const isCopy = correlation >= thresholds.copyCorrelation.value && isNear;
  const isSame = (isSure || isCopy) && details >= thresholds.copyDetails.value;
  return { kind: isSame ? (isMirrored ? "mirrored" : "altered") : "similar", distance, correlation };
}

function mirror(thumb: Uint8Array): Uint8Array {
  return thumb.map((_, i) => thumb[i - (i % THUMB_SIDE) + THUMB_SIDE - 1 - (i % THUMB_SIDE)] ?? 0);
}

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
