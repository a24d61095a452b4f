/** What compression and enlargement leave behind: JPEG's 8 x 8 grid, its quality, and the rhythm of interpolated pixels. Pure. */
import type { Pixels } from "../../formats/images.ts";

/** Rows looked at, spread evenly: neighbours say nearly the same. */
const LINES = 64;
/** Of a step from row to row every second pixel is looked at. */
const PIXEL_STEP = 2;
/** Steps between smooth neighbours in grey levels; larger ones are edges of what is shown. */
const SMOOTH = 10;

/** How JPEG's 8 x 8 grid shows. It may begin anywhere, as after a crop. */
export interface Blocks {
  /** By how many grey levels places that change jump at every eighth pixel, more than at the others; above 1.5 it is seen. */
  readonly blockiness: number;
}

export function measureBlocks(pixels: Pixels): Blocks {
  // What is shown may have a rhythm of eight pixels in one direction; the grid has it in both.
  return { blockiness: Math.sqrt(bendsAcross(pixels) * bendsDown(pixels)) };
}

/** Places and phases are told apart: places are eighths of the picture, phases the eight places that a pixel may have in a block. */
interface Bends {
  /** [place, phase]: steps less the mean of those before and after, twice. */
  readonly sums: Int32Array;
  readonly counts: Int32Array;
}

const noBends = (): Bends => ({ sums: new Int32Array(64), counts: new Int32Array(64) });

/** Of three bytes, those that have their highest bit set. */
const HIGH = 0x808080;
/** Added to three steps, sets the highest bits of those that are edges. */
const TO_EDGES = 128 - SMOOTH + ((128 - 3 * SMOOTH) << 8) + ((128 - SMOOTH) << 16);

/**
 * All bits set where a step and its neighbours (the lowest byte before it, the third after) are to be counted, else none. Without
 * branches: one that noise decides would cost more than the rest. Where nothing changes at all, as on white paper, there is nothing to
 * see a grid by.
 */
const smoothMask = (steps: number): number => (((((steps + TO_EDGES) | steps) & HIGH) - 1) >> 31) & ((0 - steps) >> 31);

/** Twice the step, less those before and after. */
const bendOf = (steps: number): number => ((steps >>> 7) & 0x1fe) - (steps & 255) - (steps >>> 16);

/** Along rows. Of the channels green: most of luma, without the arithmetic. */
function bendsAcross(pixels: Pixels): number {
  const { widthPx, heightPx } = pixels;
  const bends = noBends();
  const rowStep = Math.max(1, Math.floor(heightPx / LINES));
  for (let y = rowStep >> 1; y < heightPx; y += rowStep) {
    takeSteps(pixels, y);
    addBends(Math.min(widthPx, MOST_STEPS), bends);
  }
  return gridOf(bends, (LINES * widthPx) / 64);
}

// Kept between calls: the engine reads arrays that never change much faster than those that are handed over.
const MOST_STEPS = 65_536;
/** With room for four bytes to be read from any place. */
const steps = new Uint8Array(MOST_STEPS + 2);
const stepView = new DataView(steps.buffer);

/** The x-th becomes the step between the pixels x - 1 and x of a row, as far as there is room. */
function takeSteps({ data, widthPx, channels }: Pixels, y: number): void {
  const end = Math.min(widthPx, MOST_STEPS);
  let at = y * widthPx * channels + 1;
  let left = data[at] ?? 0;
  for (let x = 1; x < end; x++) {
    at += channels;
    const right = data[at] ?? 0;
    steps[x] = Math.abs(right - left);
    left = right;
  }
}

/** Phase by phase, so that sums stay in registers. */
function addBends(widthPx: number, { sums, counts }: Bends): void {
  const place = Math.ceil(widthPx / 8);
  for (let bin = 0; bin < 64; bin++) {
    const from = Math.max(2, (bin >> 3) * place);
    const end = Math.min(widthPx - 1, ((bin >> 3) + 1) * place);
    let sum = 0;
    let count = 0;
    for (let x = from + ((bin - from) & 7); x < end; x += 8) {
      const three = stepView.getInt32(x - 1, true) & 0xffffff;
      const mask = smoothMask(three);
      sum += bendOf(three) & mask;
      count -= mask;
    }
    sums[bin] = (sums[bin] ?? 0) + sum;
    counts[bin] = (counts[bin] ?? 0) + count;
  }
}

/** Between rows: eight rows of each phase, one in each eighth of the picture. */
function bendsDown(pixels: Pixels): number {
  const { widthPx, heightPx } = pixels;
  const bends = noBends();
  const blocks = heightPx >> 3;
  for (let bin = 0; bin < 64; bin++) {
    const y = 8 * Math.floor((bin * blocks) / 64) + (bin & 7);
    if (y >= 2 && y + 1 < heightPx) addBendsBelow(pixels, y, bin, bends);
  }
  return gridOf(bends, widthPx / PIXEL_STEP);
}

function addBendsBelow({ data, widthPx, channels }: Pixels, y: number, bin: number, { sums, counts }: Bends): void {
  const rowBytes = widthPx * channels;
  const end = (y + 1) * rowBytes;
  let sum = 0;
  let count = 0;
  for (let at = y * rowBytes + 1; at < end; at += PIXEL_STEP * channels) {
    const b = data[at - rowBytes] ?? 0;
    const c = data[at] ?? 0;
    const before = Math.abs(b - (data[at - 2 * rowBytes] ?? 0));
    const after = Math.abs((data[at + rowBytes] ?? 0) - c);
    const three = before | (Math.abs(c - b) << 8) | (after << 16);
    const mask = smoothMask(three);
    sum += bendOf(three) & mask;
    count -= mask;
  }
  sums[bin] = sum;
  counts[bin] = count;
}

/** Places that must agree: an edge of what is shown lies in one or two of them. */
const AGREEING = 3;
/** Steps without any grid that are added to each place, as a share of the steps looked at: a few pixels prove nothing. */
const PRIOR = 0.01;

/** By how much one phase bends more than the others, as far as `AGREEING` places show it. */
function gridOf({ sums, counts }: Bends, looked: number): number {
  const byPhase = Array.from({ length: 8 }, (_, phase) => {
    const means = Array.from({ length: 8 }, (_, place) => {
      const at = 8 * place + phase;
      return (sums[at] ?? 0) / ((counts[at] ?? 0) + PRIOR * looked);
    });
    return means.sort((a, b) => b - a)[AGREEING - 1] ?? 0;
  });
  const peak = Math.max(...byPhase);
  return Math.max(0, peak - (byPhase.reduce((sum, value) => sum + value, 0) - peak) / 7) / 2;
}

/** Lengths of the transform: the longest that fits. Shorter pictures are not judged. */
const LENGTHS = [512, 256] as const;
/** Rows that are added up. */
const ROWS = 96;
/** Second differences above this are edges, in grey levels. */
const MAX_BEND = 16;

/**
 * How far the rhythm of an enlargement stands out: interpolated pixels are smoother than the ones between them, so the second
 * difference swells and sinks with a period of the factor (Gallagher 2005). Peak of its spectrum over the median; 3 to 5 by chance.
 * 0 for pictures under 258 px wide.
 */
export function measureEnlargement({ data, widthPx, heightPx, channels }: Pixels): number {
  const points = LENGTHS.find((length) => widthPx >= length + 2);
  if (points === undefined) return 0;
  const rowStep = Math.max(1, Math.floor(heightPx / ROWS));
  const signal = new Int32Array(points);
  const left = (widthPx - points) >> 1;
  for (let y = rowStep >> 1; y < heightPx; y += rowStep) {
    let at = (y * widthPx + left) * channels + 1;
    let before = data[at - channels] ?? 0;
    let here = data[at] ?? 0;
    for (let i = 0; i < points; i++) {
      at += channels;
      const after = data[at] ?? 0;
      const bend = Math.abs(before - 2 * here + after);
      // Edges of what is shown would drown the rhythm of the pixels.
      signal[i] = (signal[i] ?? 0) + Math.min(bend, MAX_BEND);
      before = here;
      here = after;
    }
  }
  return peakOverMedian(spectrumOf(flatten(signal)), points);
}

/** The signal without what changes slowly, under a Hann window. */
function flatten(signal: Int32Array): Float64Array {
  const radius = 8;
  const last = signal.length - 1;
  const sums = new Float64Array(signal.length + 1);
  for (let i = 0; i <= last; i++) sums[i + 1] = (sums[i] ?? 0) + (signal[i] ?? 0);
  const out = new Float64Array(signal.length);
  for (let i = 0; i <= last; i++) {
    const from = Math.max(0, i - radius);
    const to = Math.min(last, i + radius) + 1;
    const mean = ((sums[to] ?? 0) - (sums[from] ?? 0)) / (to - from);
    const window = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / last);
    out[i] = ((signal[i] ?? 0) / Math.max(1e-9, mean) - 1) * window;
  }
  return out;
}

/** Amplitudes of frequencies 0..n/2. Changes its argument. */
function spectrumOf(re: Float64Array): Float64Array {
  const n = re.length;
  const im = new Float64Array(n);
  fft(re, im);
  const out = new Float64Array(n / 2 + 1);
  for (let f = 0; f <= n / 2; f++) out[f] = Math.sqrt((re[f] ?? 0) ** 2 + (im[f] ?? 0) ** 2);
  return out;
}

interface Turns {
  readonly cosines: Float64Array;
  readonly sines: Float64Array;
}

const knownTurns = new Map<number, Turns>();

/** exp(-2 pi i k / n) for k in 0..n / 2, made once for a length. */
function turnsOf(n: number): Turns {
  const known = knownTurns.get(n);
  if (known) return known;
  const angles = Float64Array.from({ length: n / 2 }, (_, k) => (-2 * Math.PI * k) / n);
  const made = { cosines: angles.map(Math.cos), sines: angles.map(Math.sin) };
  knownTurns.set(n, made);
  return made;
}

/** In place, decimation in time; the length is a power of two. */
function fft(re: Float64Array, im: Float64Array): void {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j] ?? 0, re[i] ?? 0];
      [im[i], im[j]] = [im[j] ?? 0, im[i] ?? 0];
    }
  }
  const { cosines, sines } = turnsOf(n);
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const wr = cosines[(k * n) / size] ?? 1;
      const wi = sines[(k * n) / size] ?? 0;
      for (let at = k; at < n; at += size) {
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

/** The highest frequency peak over the median; JPEG's own rhythm of 8 pixels, and what changes slowly, left out. */
function peakOverMedian(spectrum: Float64Array, points: number): number {
  const perEighth = points / 8;
  const sorted = spectrum
    .filter((_, f) => {
      const offGrid = Math.abs(f - perEighth * Math.round(f / perEighth));
      // A factor of 2 beats at the highest frequency, which is a multiple of an eighth as well: it is kept.
      const isGrid = offGrid <= 3 && f < points / 2 - 3;
      return f >= points / 16 && !isGrid;
    })
    .sort();
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  return median < 1e-9 ? 0 : (sorted.at(-1) ?? 0) / median;
}

/** The first eight values of the luminance table of the JPEG standard (ITU-T T.81, table K.1), in the file's zigzag order. */
const STANDARD_LUMA = [16, 11, 12, 14, 12, 10, 16, 14];

/**
 * The quality, 1..100, that a JPEG was last written with, from its quantization table as libjpeg scales it; undefined for anything
 * else. Says nothing of what the picture went through before.
 */
export function readJpegQuality(bytes: Uint8Array): number | undefined {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return undefined;
  for (let at = 2; at + 4 < bytes.length && bytes[at] === 0xff;) {
    const marker = bytes[at + 1] ?? 0;
    const length = ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0);
    if (marker === 0xda || length < 2) return undefined;
    // Table 0 with 8-bit values; the few programs that write 16 bits are not judged.
    if (marker === 0xdb && bytes[at + 4] === 0) return qualityOf(bytes.subarray(at + 5, at + 5 + STANDARD_LUMA.length));
    at += 2 + length;
  }
  return undefined;
}

function qualityOf(table: Uint8Array): number {
  const scale = STANDARD_LUMA.reduce((sum, value, i) => sum + ((table[i] ?? 0) * 100) / value, 0) / STANDARD_LUMA.length;
  return Math.round(Math.min(100, Math.max(1, scale <= 100 ? (200 - scale) / 2 : 5000 / scale)));
}
