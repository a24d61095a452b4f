/** What compression and enlargement leave behind: JPEG's 8 x 8 grid, its quality, and the rhythm of interpolated pixels. Pure. */
import type { Pixels } from "../../formats/images.ts";

/** Lines looked at in each direction, spread evenly: neighbours say nearly the same. */
const LINES = 64;
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

/**
 * Adds one step between neighbours, with those before and after it. Without branches: one that noise decides would cost more than the
 * rest. Where nothing changes at all, as on white paper, there is nothing to see a grid by.
 */
function addStep({ sums, counts }: Bends, at: number, before: number, here: number, after: number): void {
  const isSmooth = ((before - SMOOTH) & (after - SMOOTH) & (here - 3 * SMOOTH) & -(before + here + after)) >> 31;
  sums[at] = (sums[at] ?? 0) + ((2 * here - before - after) & isSmooth);
  counts[at] = (counts[at] ?? 0) - isSmooth;
}

/** Along rows. Of the channels green: most of luma, without the arithmetic. */
function bendsAcross({ data, widthPx, heightPx, channels }: Pixels): number {
  const bends = noBends();
  const rowStep = Math.max(1, Math.floor(heightPx / LINES));
  const place = Math.ceil(widthPx / 8);
  for (let y = rowStep >> 1; y < heightPx; y += rowStep) {
    let at = y * widthPx * channels + 1;
    const second = data[at + channels] ?? 0;
    let c = data[at + 2 * channels] ?? 0;
    let before = Math.abs(second - (data[at] ?? 0));
    let here = Math.abs(c - second);
    at += 3 * channels;
    for (let x = 2, group = 0, end = place; x < widthPx - 1; x++, at += channels) {
      if (x === end) {
        group += 8;
        end += place;
      }
      const d = data[at] ?? 0;
      const after = Math.abs(d - c);
      addStep(bends, group | (x & 7), before, here, after);
      before = here;
      here = after;
      c = d;
    }
  }
  return gridOf(bends, (LINES * widthPx) / 64);
}

/** Between rows, at every second pixel: eight rows of each phase, one in each eighth of the picture. */
function bendsDown({ data, widthPx, heightPx, channels }: Pixels): number {
  const bends = noBends();
  const rowBytes = widthPx * channels;
  const blocks = heightPx >> 3;
  for (let i = 0; i < LINES; i++) {
    const y = 8 * Math.floor((i * blocks) / LINES) + (i & 7);
    if (y < 2 || y + 1 >= heightPx) continue;
    const end = (y + 1) * rowBytes;
    for (let at = y * rowBytes + 1; at < end; at += 2 * channels) {
      const b = data[at - rowBytes] ?? 0;
      const c = data[at] ?? 0;
      const before = Math.abs(b - (data[at - 2 * rowBytes] ?? 0));
      addStep(bends, i, before, Math.abs(c - b), Math.abs((data[at + rowBytes] ?? 0) - c));
    }
  }
  return gridOf(bends, widthPx / 2);
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
  const signal = new Float64Array(points);
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
      signal[i] = (signal[i] ?? 0) + (bend < MAX_BEND ? bend : MAX_BEND);
      before = here;
      here = after;
    }
  }
  return peakOverMedian(spectrumOf(flatten(signal)), points);
}

/** The signal without what changes slowly, under a Hann window. */
function flatten(signal: Float64Array): Float64Array {
  const radius = 8;
  return signal.map((value, i) => {
    let [sum, count] = [0, 0];
    for (let j = Math.max(0, i - radius); j <= Math.min(signal.length - 1, i + radius); j++) {
      sum += signal[j] ?? 0;
      count++;
    }
    const window = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / (signal.length - 1));
    return (value / Math.max(1e-9, sum / count) - 1) * window;
  });
}

/** Amplitudes of frequencies 0..n/2. */
function spectrumOf(signal: Float64Array): Float64Array {
  const n = signal.length;
  const re = Float64Array.from(signal);
  const im = new Float64Array(n);
  fft(re, im);
  return Float64Array.from({ length: n / 2 + 1 }, (_, f) => Math.hypot(re[f] ?? 0, im[f] ?? 0));
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
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const [wr, wi] = [Math.cos((-2 * Math.PI * k) / size), Math.sin((-2 * Math.PI * k) / size)];
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
  const kept = Array.from(spectrum).flatMap((value, f) => {
    const offGrid = Math.abs(f - perEighth * Math.round(f / perEighth));
    // A factor of 2 beats at the highest frequency, which is a multiple of an eighth as well: it is kept.
    const isGrid = offGrid <= 3 && f < points / 2 - 3;
    return f < points / 16 || isGrid ? [] : [value];
  });
  const sorted = kept.toSorted((a, b) => a - b);
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
