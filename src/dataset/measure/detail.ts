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
const LINES = 20;
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
  for (let i = 0; i < count; i++) {
    const power = powerBetween(sums, i, COARSE, scale);
    coarse[i] = power;
    ratios[i] = powerBetween(sums, i, FINE, scale) / (power + FAINTEST);
  }
  const least = coarse.toSorted()[count - Math.round(STRUCTURED * count)] ?? 0;
  const finest = ratios.filter((_, i) => (coarse[i] ?? 0) >= least).sort();
  return finest[Math.floor(FINEST * finest.length)] ?? 0;
}

/** From the running sums of stretch `i`; bands may begin between bins. */
function powerBetween(sums: Float32Array, i: number, [from, to]: readonly [number, number], scale: number): number {
  return sumUpTo(sums, i, to * scale * POINTS) - sumUpTo(sums, i, from * scale * POINTS);
}

function sumUpTo(sums: Float32Array, i: number, frequency: number): number {
  // Bin k holds the power from k - 1/2 to k + 1/2.
  const at = Math.min(BINS - 1, frequency + 0.5);
  const bin = Math.floor(at);
  const before = bin === 0 ? 0 : (sums[i * BINS + bin - 1] ?? 0);
  return before + (at - bin) * ((sums[i * BINS + bin] ?? 0) - before);
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
  let [sum, changes] = [0, 0];
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
  let [first, second] = [0, 0];
  for (let k = 0; k < BINS; k++) {
    const mirror = (POINTS - k) % POINTS;
    const [a, b, c, d] = [re[k] ?? 0, im[k] ?? 0, re[mirror] ?? 0, im[mirror] ?? 0];
    first += ((a + c) * (a + c) + (b - d) * (b - d)) / (4 * POINTS * POINTS);
    second += ((b + d) * (b + d) + (c - a) * (c - a)) / (4 * POINTS * POINTS);
    out[place * BINS + k] = first;
    out[(place + 1) * BINS + k] = second;
  }
}

const cosines = Float64Array.from({ length: POINTS }, (_, k) => Math.cos((-2 * Math.PI * k) / POINTS));
const sines = Float64Array.from({ length: POINTS }, (_, k) => Math.sin((-2 * Math.PI * k) / POINTS));

/** The discrete Fourier transform in place: radix 2, decimation in time. */
function transform(re: Float64Array, im: Float64Array): void {
  for (let i = 1, j = 0; i < POINTS; i++) {
    let bit = POINTS >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i >= j) continue;
    const [a, b] = [re[i] ?? 0, im[i] ?? 0];
    re[i] = re[j] ?? 0;
    im[i] = im[j] ?? 0;
    re[j] = a;
    im[j] = b;
  }
  for (let size = 2; size <= POINTS; size *= 2) {
    const half = size / 2;
    const turn = POINTS / size;
    for (let k = 0; k < half; k++) {
      const wr = cosines[k * turn] ?? 0;
      const wi = sines[k * turn] ?? 0;
      for (let at = k; at < POINTS; at += size) {
        const other = at + half;
        const tr = (re[other] ?? 0) * wr - (im[other] ?? 0) * wi;
        const ti = (re[other] ?? 0) * wi + (im[other] ?? 0) * wr;
        re[other] = (re[at] ?? 0) - tr;
        im[other] = (im[at] ?? 0) - ti;
        re[at] = (re[at] ?? 0) + tr;
        im[at] = (im[at] ?? 0) + ti;
      }
    }
  }
}
