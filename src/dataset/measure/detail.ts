/**
 * How much of the detail that a picture's pixels could hold is there: how its spectrum falls off near the finest frequency. Pure.
 *
 * Edges and textures have about 1/f^2 of power, so the octave below half a cycle a pixel holds a known part of what the octaves above
 * it hold. An enlargement has nothing there whatever it shows: interpolation cannot make frequencies that the smaller picture did not
 * have. Ratios of power do not depend on contrast or exposure.
 */
import type { Pixels } from "../../formats/images.ts";

/** Points of a transform, which are those of a stretch of a row or column. */
const POINTS = 64;
const BINS = POINTS / 2 + 1;
/** Rows and columns looked at, spread evenly; and so many where most of the picture shows nothing. */
const LINES = 12;
const MANY_LINES = 80;
/** Stretches that show something below which more lines are looked at, and below which nothing can be told: one edge falls on pixels by chance. */
const ENOUGH = 160;
const FEWEST = 48;
/** Stretches whose neighbours differ by less in all (sum of squares) show nothing. */
const FLAT = 100;
/** Of the stretches with the most structure this share is looked at, and of those the finest, for a picture may be blurred around its subject. */
const STRUCTURED = 0.3;
const FINEST = 0.9;
/** Bands in cycles a pixel of the picture at the size looked at: fine detail, and the structure that it is held against. */
const FINE = [0.36, 0.5] as const;
const COARSE = [0.1, 0.25] as const;
/** Power below which there is no structure, in squares of grey levels. */
const FAINTEST = 0.01;

/** How much smaller a picture is looked at: half an octave at most between two. */
export const DETAIL_SCALES = [1, 0.84, 0.71, 0.59, 0.5, 0.42, 0.35] as const;

/**
 * For the picture made smaller to each of `DETAIL_SCALES`, power at its finest frequencies over power at middling ones, where the
 * picture is finest: 0.05 to 0.3 for sharp pictures, under 0.025 for enlarged ones. Undefined where too little is there to tell by.
 */
export function measureDetail(pixels: Pixels): readonly number[] | undefined {
  const first = measureSpectra(pixels, LINES);
  const sums = first.length >= ENOUGH * BINS ? first : measureSpectra(pixels, MANY_LINES);
  const count = sums.length / BINS;
  if (count < FEWEST) return undefined;
  return DETAIL_SCALES.map((scale) => finestRatio(sums, count, scale));
}

function finestRatio(sums: Float32Array, count: number, scale: number): number {
  const coarse = new Float64Array(count);
  const ratios = new Float64Array(count);
  powersBetween(sums, COARSE, scale, coarse);
  powersBetween(sums, FINE, scale, ratios);
  for (let i = 0; i < count; i++) ratios[i] = (ratios[i] ?? 0) / ((coarse[i] ?? 0) + FAINTEST);
  const least = nthSmallest(coarse.slice(), count - Math.round(STRUCTURED * count));
  const finest = ratios.filter((_, i) => (coarse[i] ?? 0) >= least);
  return nthSmallest(finest, Math.floor(FINEST * finest.length));
}

/** From the running sums of each stretch; bands may begin between bins. */
function powersBetween(sums: Float32Array, [from, to]: readonly [number, number], scale: number, out: Float64Array): void {
  const low = edgeAt(from * scale * POINTS);
  const high = edgeAt(to * scale * POINTS);
  for (let i = 0, at = 0; i < out.length; i++, at += BINS) out[i] = sumUpTo(sums, at, high) - sumUpTo(sums, at, low);
}

/** Where a band ends: before a bin, and how far into it. */
interface Edge {
  readonly bin: number;
  readonly part: number;
}

function edgeAt(frequency: number): Edge {
  // Bin k holds the power from k - 1/2 to k + 1/2.
  const at = Math.min(BINS - 1, frequency + 0.5);
  return { bin: Math.floor(at), part: at - Math.floor(at) };
}

function sumUpTo(sums: Float32Array, first: number, { bin, part }: Edge): number {
  const before = bin === 0 ? 0 : (sums[first + bin - 1] ?? 0);
  return before + part * ((sums[first + bin] ?? 0) - before);
}

/** The n-th in order of size, from 0; 0 where there is none. Sorts no more than it must (Hoare's quickselect); changes its argument. */
function nthSmallest(values: Float64Array, n: number): number {
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const pivot = values[(low + high) >> 1] ?? 0;
    let i = low;
    let j = high;
    while (i <= j) {
      while ((values[i] ?? 0) < pivot) i++;
      while ((values[j] ?? 0) > pivot) j--;
      if (i > j) break;
      const value = values[i] ?? 0;
      values[i++] = values[j] ?? 0;
      values[j--] = value;
    }
    if (n <= j) high = j;
    else if (n >= i) low = i;
    else break;
  }
  return values[n] ?? 0;
}

/** [stretches, BINS]: of each stretch that shows something, its power up to each bin. */
function measureSpectra({ widthPx, heightPx, data, channels }: Pixels, lines: number): Float32Array {
  const rows = spread(heightPx, lines);
  const columns = spread(widthPx, lines);
  const across = Math.floor(widthPx / POINTS);
  const down = Math.floor(heightPx / POINTS);
  const out = new Float32Array((rows.length * across + columns.length * down + 1) * BINS);
  const re = new Float64Array(POINTS);
  const im = new Float64Array(POINTS);
  let stretches = 0;
  // Two stretches are transformed at once, as real and imaginary parts.
  let isWaiting = false;
  const add = (from: number, step: number): void => {
    if (!cutStretch(data, from, step, isWaiting ? im : re)) return;
    if (isWaiting) {
      transform(re, im);
      addPowers(re, im, out, stretches);
      stretches += 2;
    }
    isWaiting = !isWaiting;
  };
  const rowBytes = widthPx * channels;
  for (const y of rows) for (let i = 0; i < across; i++) add(y * rowBytes + i * POINTS * channels + 1, channels);
  for (const x of columns) for (let i = 0; i < down; i++) add(i * POINTS * rowBytes + x * channels + 1, rowBytes);
  return out.subarray(0, stretches * BINS);
}

function spread(length: number, lines: number): readonly number[] {
  const count = Math.min(lines, length);
  return Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * length) / count));
}

const hann = Float64Array.from({ length: POINTS }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / POINTS));

/** One stretch of green, less its mean, under a Hann window. Whether it shows anything. */
function cutStretch(data: Uint8Array, from: number, step: number, out: Float64Array): boolean {
  let sum = 0;
  let changes = 0;
  let before = data[from] ?? 0;
  for (let i = 0, at = from; i < POINTS; i++, at += step) {
    const value = data[at] ?? 0;
    out[i] = value;
    sum += value;
    changes += (value - before) * (value - before);
    before = value;
  }
  if (changes < FLAT) return false;
  const mean = sum / POINTS;
  for (let i = 0; i < POINTS; i++) out[i] = ((out[i] ?? 0) - mean) * (hann[i] ?? 0);
  return true;
}

/** Running sums of the powers of the two real signals whose transform, as one complex signal, this is. */
function addPowers(re: Float64Array, im: Float64Array, out: Float32Array, place: number): void {
  let first = 0;
  let second = 0;
  for (let k = 0; k < BINS; k++) {
    const mirror = (POINTS - k) & (POINTS - 1);
    const a = re[k] ?? 0;
    const b = im[k] ?? 0;
    const c = re[mirror] ?? 0;
    const d = im[mirror] ?? 0;
    first += ((a + c) * (a + c) + (b - d) * (b - d)) * (1 / (4 * POINTS * POINTS));
    second += ((b + d) * (b + d) + (c - a) * (c - a)) * (1 / (4 * POINTS * POINTS));
    out[place * BINS + k] = first;
    out[(place + 1) * BINS + k] = second;
  }
}

const cosines = Float64Array.from({ length: POINTS }, (_, k) => Math.cos((-2 * Math.PI * k) / POINTS));
const sines = Float64Array.from({ length: POINTS }, (_, k) => Math.sin((-2 * Math.PI * k) / POINTS));

/** Pairs of places that change over when the bits of their numbers are read backwards. */
const swaps = Uint8Array.from(
  Array.from({ length: POINTS }, (_, i) => {
    let reversed = 0;
    for (let bit = 1; bit < POINTS; bit *= 2) reversed = 2 * reversed + (i & bit ? 1 : 0);
    return i < reversed ? [i, reversed] : [];
  }).flat(),
);

/** The discrete Fourier transform in place: decimation in time, the first two steps of radix 2 as one of radix 4. */
function transform(re: Float64Array, im: Float64Array): void {
  for (let at = 0; at < swaps.length; at += 2) {
    swap(re, swaps[at] ?? 0, swaps[at + 1] ?? 0);
    swap(im, swaps[at] ?? 0, swaps[at + 1] ?? 0);
  }
  for (let at = 0; at < POINTS; at += 4) transformFour(re, im, at);
  for (let half = 4; half < POINTS; half *= 2) for (let at = 0; at < POINTS; at += 2 * half) joinHalves(re, im, at, half);
}

function swap(values: Float64Array, a: number, b: number): void {
  const value = values[a] ?? 0;
  values[a] = values[b] ?? 0;
  values[b] = value;
}

function transformFour(re: Float64Array, im: Float64Array, at: number): void {
  const sumRe = (re[at] ?? 0) + (re[at + 1] ?? 0);
  const sumIm = (im[at] ?? 0) + (im[at + 1] ?? 0);
  const differenceRe = (re[at] ?? 0) - (re[at + 1] ?? 0);
  const differenceIm = (im[at] ?? 0) - (im[at + 1] ?? 0);
  const otherSumRe = (re[at + 2] ?? 0) + (re[at + 3] ?? 0);
  const otherSumIm = (im[at + 2] ?? 0) + (im[at + 3] ?? 0);
  const otherDifferenceRe = (re[at + 2] ?? 0) - (re[at + 3] ?? 0);
  const otherDifferenceIm = (im[at + 2] ?? 0) - (im[at + 3] ?? 0);
  re[at] = sumRe + otherSumRe;
  im[at] = sumIm + otherSumIm;
  re[at + 2] = sumRe - otherSumRe;
  im[at + 2] = sumIm - otherSumIm;
  // Times -i.
  re[at + 1] = differenceRe + otherDifferenceIm;
  im[at + 1] = differenceIm - otherDifferenceRe;
  re[at + 3] = differenceRe - otherDifferenceIm;
  im[at + 3] = differenceIm + otherDifferenceRe;
}

/** Makes one transform of twice the length of the two that lie beside each other. */
function joinHalves(re: Float64Array, im: Float64Array, first: number, half: number): void {
  const turn = POINTS / (2 * half);
  for (let k = 0, at = first, other = first + half; k < half; k++, at++, other++) {
    const wr = cosines[k * turn] ?? 0;
    const wi = sines[k * turn] ?? 0;
    const br = re[other] ?? 0;
    const bi = im[other] ?? 0;
    const tr = br * wr - bi * wi;
    const ti = br * wi + bi * wr;
    const ar = re[at] ?? 0;
    const ai = im[at] ?? 0;
    re[other] = ar - tr;
    im[other] = ai - ti;
    re[at] = ar + tr;
    im[at] = ai + ti;
  }
}
