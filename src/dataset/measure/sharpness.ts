/**
 * How blurred the sharpest places of a picture are, as the width of a Gaussian, from how its differences grow with distance. Pure.
 *
 * S(k) is the mean squared difference of pixels k apart. Across a step blurred by a Gaussian of width s it is
 *   S(k) ~ k erf(k / 2s) - (2s / sqrt(pi)) (1 - exp(-k^2 / 4s^2)),
 * so S(2k) / S(k) falls from 4 (k far below s) to 2 (far above): contrast, which spoils a Laplacian's variance, cancels out. What noise
 * adds to every S(k) is measured where the picture is flat and taken off.
 */
import { type Tile, TILE_PX, type Tiles } from "./tiles.ts";

const LAGS = [1, 2, 4, 8, 16] as const;
/** Where S(2k) / S(k) tells the width best: half way between its limits. */
const BEST_RATIO = 3;
/** A tile whose pixels 16 apart differ by less (mean square) is flat. */
const FLAT = 30;
/** Lines looked at: one in this many. */
const LINE_STEP = 3;
/** Widths above this cannot be told apart at these lags. */
const WIDEST = 16;

export interface Sharpness {
  /** Standard deviation of the blur in pixels of the file; 0 is as sharp as pixels can be; undefined where nothing has an edge. */
  readonly blurPx: number | undefined;
  /** Variance of the noise and compression in the flattest places, in squares of grey levels. */
  readonly noise: number;
}

export function measureSharpness({ busy, calm }: Tiles): Sharpness {
  const noise = median(calm.map((tile) => differences(tile)[0] ?? 0)) ?? 0;
  const widths = busy.flatMap((tile) => {
    const s = differences(tile);
    // Calm places of a busy picture are not noise: at most a part of what this tile shows may be taken off.
    const floor = Math.min(noise, 0.5 * (s[0] ?? 0));
    const clean = s.map((value) => value - floor);
    return (clean.at(-1) ?? 0) < FLAT ? [] : [blurOf(clean)];
  });
  widths.sort((a, b) => a - b);
  // The sharpest quarter: a picture may be out of focus around what it shows.
  return { blurPx: widths[Math.floor(widths.length / 4)], noise };
}

/** S(k) for each lag, over both directions. */
function differences(tile: Tile): number[] {
  return LAGS.map((lag) => {
    let sum = 0;
    for (let y = 0; y < TILE_PX - lag; y += LINE_STEP) {
      for (let x = 0; x < TILE_PX - lag; x++) {
        const at = y * TILE_PX + x;
        const here = tile[at] ?? 0;
        const across = (tile[at + lag] ?? 0) - here;
        const down = (tile[at + lag * TILE_PX] ?? 0) - here;
        sum += across * across + down * down;
      }
    }
    return sum / (Math.ceil((TILE_PX - lag) / LINE_STEP) * (TILE_PX - lag));
  });
}

/** The width whose S(2k) / S(k) is the measured one, at the lag where that is told best. */
function blurOf(s: readonly number[]): number {
  let best = { lag: 1, ratio: (s[1] ?? 0) / Math.max(1e-6, s[0] ?? 0) };
  for (const [i, lag] of LAGS.slice(0, -1).entries()) {
    const ratio = (s[i + 1] ?? 0) / Math.max(1e-6, s[i] ?? 0);
    if (Math.abs(ratio - BEST_RATIO) < Math.abs(best.ratio - BEST_RATIO)) best = { lag, ratio };
    // Beyond the first lag at which edges are crossed, other things than their width are seen.
    if (ratio < BEST_RATIO) break;
  }
  return Math.min(WIDEST, best.lag * widthForRatio(best.ratio));
}

/** s / k for a ratio S(2k) / S(k), by bisection: the ratio rises with s. */
function widthForRatio(ratio: number): number {
  let [low, high] = [0, WIDEST];
  for (let i = 0; i < 30; i++) {
    const middle = (low + high) / 2;
    if (stepDifference(2, middle) / stepDifference(1, middle) < ratio) low = middle;
    else high = middle;
  }
  return low;
}

function stepDifference(k: number, s: number): number {
  if (s < 1e-3) return k;
  return k * erf(k / (2 * s)) - ((2 * s) / Math.sqrt(Math.PI)) * (1 - Math.exp((-k * k) / (4 * s * s)));
}

/** Abramowitz and Stegun 7.1.26; off by less than 1.5e-7. */
function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * x);
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return 1 - series * Math.exp(-x * x);
}

function median(values: readonly number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
