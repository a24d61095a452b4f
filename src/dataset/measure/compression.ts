/** What compression and enlargement leave behind: JPEG's 8 x 8 grid, its quality, and the rhythm of interpolated pixels. Pure. */
import type { Pixels } from "../../formats/images.ts";

/** Rows looked at, spread evenly: neighbours say nearly the same. Columns would say it again, and are slow to read. */
const ROWS = 96;
/** Steps between smooth neighbours in grey levels; larger ones are edges of what is shown. */
const SMOOTH = 10;

/** How JPEG's 8 x 8 grid shows. It may begin anywhere, as after a crop. */
export interface Blocks {
  /** By how many grey levels smooth places jump at every eighth pixel, more than at the others; above 1 it is seen. */
  readonly blockiness: number;
  /** The same as a factor, for places so smooth that hardly anything but the grid changes: 1 without a grid. */
  readonly blockRatio: number;
}

export function measureBlocks({ data, widthPx, heightPx, channels }: Pixels): Blocks {
  const rowStep = Math.max(1, Math.floor(heightPx / ROWS));
  const bends = new Int32Array(8);
  const steps = new Int32Array(8);
  const counts = new Int32Array(8);
  for (let y = rowStep >> 1; y < heightPx; y += rowStep) {
    let at = y * widthPx * channels + 1; // Green: most of luma, without the arithmetic.
    const second = data[at + channels] ?? 0;
    let c = data[at + 2 * channels] ?? 0;
    let before = Math.abs(second - (data[at] ?? 0));
    let here = Math.abs(c - second);
    at += 3 * channels;
    for (let x = 2; x < widthPx - 1; x++, at += channels) {
      const d = data[at] ?? 0;
      const after = Math.abs(d - c);
      // All bits where all three are small, else none: a branch that noise decides would cost more than the rest.
      const isSmooth = ((before - SMOOTH) & (after - SMOOTH) & (here - 3 * SMOOTH)) >> 31;
      const phase = x & 7;
      bends[phase] = (bends[phase] ?? 0) + ((2 * here - before - after) & isSmooth);
      steps[phase] = (steps[phase] ?? 0) + (here & isSmooth);
      counts[phase] = (counts[phase] ?? 0) - isSmooth;
      before = here;
      here = after;
      c = d;
    }
  }
  const [bend, otherBends] = peakAndRest(bends, counts);
  const [step, otherSteps] = peakAndRest(steps, counts);
  // A hundredth of a grey level: a picture of one colour has no steps at all.
  return { blockiness: Math.max(0, bend - otherBends) / 2, blockRatio: (step + 0.01) / (otherSteps + 0.01) };
}

/** The largest of eight means, and the mean of the seven others. */
function peakAndRest(sums: Int32Array, counts: Int32Array): readonly [number, number] {
  const means = Array.from(sums, (sum, i) => sum / Math.max(1, counts[i] ?? 0));
  const peak = Math.max(...means);
  return [peak, (means.reduce((sum, mean) => sum + mean, 0) - peak) / 7];
}

/** Length of the transform; shorter pictures are not judged. */
const POINTS = 512;
/** Second differences above this are edges, in grey levels. */
const MAX_BEND = 16;

/**
 * How far the rhythm of an enlargement stands out: interpolated pixels are smoother than the ones between them, so the second
 * difference swells and sinks with a period of the factor (Gallagher 2005). Peak of its spectrum over the median; 3 to 5 by chance.
 * 0 for pictures under 514 px wide.
 */
export function measureEnlargement({ data, widthPx, heightPx, channels }: Pixels): number {
  if (widthPx < POINTS + 2) return 0;
  const rowStep = Math.max(1, Math.floor(heightPx / ROWS));
  const signal = new Float64Array(POINTS);
  const left = (widthPx - POINTS) >> 1;
  for (let y = rowStep >> 1; y < heightPx; y += rowStep) {
    let at = (y * widthPx + left) * channels + 1;
    let before = data[at - channels] ?? 0;
    let here = data[at] ?? 0;
    for (let i = 0; i < POINTS; i++) {
      at += channels;
      const after = data[at] ?? 0;
      const bend = Math.abs(before - 2 * here + after);
      // Edges of what is shown would drown the rhythm of the pixels.
      signal[i] = (signal[i] ?? 0) + (bend < MAX_BEND ? bend : MAX_BEND);
      before = here;
      here = after;
    }
  }
  return peakOverMedian(spectrumOf(flatten(signal)));
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
function peakOverMedian(spectrum: Float64Array): number {
  const perEighth = POINTS / 8;
  const kept = Array.from(spectrum).flatMap((value, f) => {
    const offGrid = Math.abs(f - perEighth * Math.round(f / perEighth));
    // A factor of 2 beats at the highest frequency, which is a multiple of an eighth as well: it is kept.
    const isGrid = offGrid <= 3 && f < POINTS / 2 - 3;
    return f < POINTS / 16 || isGrid ? [] : [value];
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
