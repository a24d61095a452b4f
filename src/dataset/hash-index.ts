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
  const near = new Int32Array(hashes.length);
  return {
    near([low, high], distance, found) {
      query++;
      const masks = masksUpTo(Math.floor(distance / PARTS));
      for (const [part, table] of tables.entries()) {
        const count = collect(table, partOf([low, high], part), masks, near);
        for (let i = 0; i < count; i++) {
          const place = near[i] ?? 0;
          if (seenBy[place] === query) continue;
          seenBy[place] = query;
          const bits = popCount((words[2 * place] ?? 0) ^ low) + popCount((words[2 * place + 1] ?? 0) ^ high);
          if (bits <= distance) found(place, bits);
        }
      }
    },
  };
}

/** Writes the places whose part is the value under one of the masks. @returns how many */
function collect({ isUsed, starts, places }: Table, value: number, masks: Int32Array, out: Int32Array): number {
  let count = 0;
  for (let m = 0; m < masks.length; m++) {
    const bucket = value ^ (masks[m] ?? 0);
    if ((((isUsed[bucket >> 5] ?? 0) >>> (bucket & 31)) & 1) === 0) continue;
    const end = starts[bucket + 1] ?? 0;
    for (let i = starts[bucket] ?? 0; i < end; i++) out[count++] = places[i] ?? 0;
  }
  return count;
}

interface Table {
  /** A bit for each value that there is: small enough for the processor's nearest memory, where most look-ups end. */
  readonly isUsed: Int32Array;
  readonly starts: Int32Array;
  readonly places: Int32Array;
}

/** Places sorted by one part of their hashes: those with value v are places[starts[v] .. starts[v + 1]]. */
function tabulate(hashes: readonly Hash[], part: number): Table {
  const isUsed = new Int32Array(VALUES >> 5);
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
    isUsed[value >> 5] = (isUsed[value >> 5] ?? 0) | (1 << (value & 31));
  }
  return { isUsed, starts, places };
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
