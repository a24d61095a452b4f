/**
 * Finds 64-bit hashes that differ in few bits without comparing each with each: multi-index hashing (Norouzi, Punjani and Fleet 2012).
 * Of four parts of 16 bits at least one differs in no more than a quarter of the bits, so that only hashes are compared that have such
 * a part. Pure.
 */

const PARTS = 4;
const PART_BITS = 16;
const VALUES = 1 << PART_BITS;

export interface HashIndex {
  /** Calls back once for each hash within the distance, by its place in the list. In no particular order. */
  near(hash: Hash, distance: number, found: (place: number, distance: number) => void): void;
}

export type Hash = readonly [low: number, high: number];

export function indexHashes(hashes: readonly Hash[]): HashIndex {
  const words = Uint32Array.from(hashes.flat());
  const tables = Array.from({ length: PARTS }, (_, part) => tabulate(hashes, part));
  // The query that looked at a hash last: several parts may lead to it.
  const seenBy = new Int32Array(hashes.length);
  let query = 0;
  return {
    near([low, high], distance, found) {
      query++;
      const masks = masksUpTo(Math.floor(distance / PARTS));
      for (const [part, { starts, places }] of tables.entries()) {
        const value = partOf([low, high], part);
        for (const mask of masks) {
          const bucket = value ^ mask;
          const end = starts[bucket + 1] ?? 0;
          for (let i = starts[bucket] ?? 0; i < end; i++) {
            const place = places[i] ?? 0;
            if (seenBy[place] === query) continue;
            seenBy[place] = query;
            const bits = popCount((words[2 * place] ?? 0) ^ low) + popCount((words[2 * place + 1] ?? 0) ^ high);
            if (bits <= distance) found(place, bits);
          }
        }
      }
    },
  };
}

/** Places sorted by one part of their hashes: those with value v are places[starts[v] .. starts[v + 1]]. */
function tabulate(hashes: readonly Hash[], part: number): { readonly starts: Int32Array; readonly places: Int32Array } {
  const starts = new Int32Array(VALUES + 1);
  for (const hash of hashes) starts[partOf(hash, part) + 1] = (starts[partOf(hash, part) + 1] ?? 0) + 1;
  for (let value = 0; value < VALUES; value++) starts[value + 1] = (starts[value + 1] ?? 0) + (starts[value] ?? 0);
  const next = starts.slice();
  const places = new Int32Array(hashes.length);
  for (const [place, hash] of hashes.entries()) {
    const value = partOf(hash, part);
    const at = next[value] ?? 0;
    places[at] = place;
    next[value] = at + 1;
  }
  return { starts, places };
}

function partOf([low, high]: Hash, part: number): number {
  return ((part < 2 ? low : high) >>> (PART_BITS * (part % 2))) & (VALUES - 1);
}

const knownMasks = new Map<number, Int32Array>();

/** All numbers of 16 bits of which at most so many are set. */
function masksUpTo(bits: number): Int32Array {
  const known = knownMasks.get(bits);
  if (known) return known;
  const masks = Int32Array.from({ length: VALUES }, (_, mask) => mask).filter((mask) => popCount(mask) <= bits);
  knownMasks.set(bits, masks);
  return masks;
}

/** Bits in which two hashes differ. */
export function hamming(a: Hash, b: Hash): number {
  return popCount(a[0] ^ b[0]) + popCount(a[1] ^ b[1]);
}

function popCount(bits: number): number {
  let x = bits - ((bits >>> 1) & 0x55555555);
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333);
  return Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
