/** Finds the nearest of many descriptors by cosine, without multiplying most pairs to the end. Pure. */
import { DESCRIPTOR_LENGTH } from "./measure/likeness.ts";

/** Values that are multiplied before looking whether to go on. */
const BLOCK = 16;
const BLOCKS = DESCRIPTOR_LENGTH / BLOCK;

/** Descriptors that are looked through; more may be added. */
export interface DescriptorList {
  /** @returns the place of the one added */
  add(descriptor: Int8Array): number;
  /** The place of the nearest of those that are at least so alike, the first of equals; undefined where none is. */
  nearest(descriptor: Int8Array, least: number): number | undefined;
}

/** @param most descriptors that will be added */
export function openDescriptorList(most: number): DescriptorList {
  const units = new Float32Array(most * DESCRIPTOR_LENGTH);
  const rests = new Float32Array(most * BLOCKS);
  const own = new Float32Array(DESCRIPTOR_LENGTH);
  const ownRests = new Float32Array(BLOCKS);
  let count = 0;
  return {
    add(descriptor) {
      normalize(descriptor, units, count * DESCRIPTOR_LENGTH, rests, count * BLOCKS);
      return count++;
    },
    nearest(descriptor, least) {
      normalize(descriptor, own, 0, ownRests, 0);
      let best: number | undefined;
      let bound = least;
      for (let place = 0; place < count; place++) {
        const cosine = cosineAbove(bound, own, ownRests, units, rests, place);
        // The first must only reach the bound; later ones must be nearer.
        if (best === undefined ? cosine >= bound : cosine > bound) [best, bound] = [place, cosine];
      }
      return best;
    },
  };
}

/** Brought to length 1; and after each block the length of what is left. */
function normalize(from: Int8Array, to: Float32Array, at: number, rests: Float32Array, restAt: number): void {
  let squares = 0;
  for (let i = 0; i < DESCRIPTOR_LENGTH; i++) squares += (from[i] ?? 0) ** 2;
  const scale = 1 / Math.max(1, Math.sqrt(squares));
  for (let block = 0; block < BLOCKS; block++) {
    for (let i = block * BLOCK; i < (block + 1) * BLOCK; i++) {
      const value = from[i] ?? 0;
      to[at + i] = value * scale;
      squares -= value * value;
    }
    rests[restAt + block] = Math.sqrt(squares) * scale;
  }
}

/**
 * The cosine of two unit vectors, or -1 as soon as it can no longer reach `least`: what is left adds no more than the product of the
 * lengths that are left (Cauchy and Schwarz).
 */
function cosineAbove(
  least: number,
  a: Float32Array,
  restsA: Float32Array,
  b: Float32Array,
  restsB: Float32Array,
  place: number,
): number {
  let dot = 0;
  const offset = place * DESCRIPTOR_LENGTH;
  for (let block = 0; block < BLOCKS; block++) {
    // Four sums, so that no addition waits for the one before it.
    let first = 0;
    let second = 0;
    let third = 0;
    let fourth = 0;
    for (let i = block * BLOCK, end = i + BLOCK, at = offset + i; i < end; i += 4, at += 4) {
      first += (a[i] ?? 0) * (b[at] ?? 0);
      second += (a[i + 1] ?? 0) * (b[at + 1] ?? 0);
      third += (a[i + 2] ?? 0) * (b[at + 2] ?? 0);
      fourth += (a[i + 3] ?? 0) * (b[at + 3] ?? 0);
    }
    dot += first + second + (third + fourth);
    // Rounding of float32 must not lose one that just reaches it.
    if (dot + (restsA[block] ?? 0) * (restsB[place * BLOCKS + block] ?? 0) < least - 1e-5) return -1;
  }
  return dot;
}
