/** Brightness and how much a picture says at all, as CleanVision (cleanlab) measures them, and how many tones it uses. Pure. */
import type { Grid } from "./grid.ts";

export interface Exposure {
  /** Perceived brightness that 5 % of the picture stays below, and that 99 % does, 0..1. */
  readonly brightness5: number;
  readonly brightness99: number;
  readonly meanBrightness: number;
  /** Entropy over the histograms of red, green and blue together, bits (0 to 9.6). */
  readonly entropyBits: number;
  /** Grey levels of luma between what 0.2 % of the picture is darker than and what 0.2 % is lighter than, 0..255. */
  readonly toneRange: number;
}

export function measureExposure({ rgb, luma }: Grid): Exposure {
  const cells = luma.length;
  const colours = new Uint32Array(768);
  // Brightness sqrt(0.241 R^2 + 0.691 G^2 + 0.068 B^2) in 256 steps.
  const steps = new Uint32Array(256);
  const tones = new Uint32Array(256);
  let bright = 0;
  for (let i = 0; i < cells; i++) {
    const r = rgb[3 * i] ?? 0;
    const g = rgb[3 * i + 1] ?? 0;
    const b = rgb[3 * i + 2] ?? 0;
    colours[r] = (colours[r] ?? 0) + 1;
    colours[256 + g] = (colours[256 + g] ?? 0) + 1;
    colours[512 + b] = (colours[512 + b] ?? 0) + 1;
    const step = Math.floor(Math.sqrt(0.241 * r * r + 0.691 * g * g + 0.068 * b * b) + 0.5);
    steps[step] = (steps[step] ?? 0) + 1;
    bright += step;
    const tone = Math.min(255, Math.round(luma[i] ?? 0));
    tones[tone] = (tones[tone] ?? 0) + 1;
  }
  return {
    brightness5: percentile(steps, 0.05 * cells) / 255,
    brightness99: percentile(steps, 0.99 * cells) / 255,
    meanBrightness: bright / cells / 255,
    entropyBits: entropy(colours, 3 * cells),
    toneRange: percentile(tones, 0.998 * cells) - percentile(tones, 0.002 * cells),
  };
}

/** The first step at which more than `rank` values are counted. */
function percentile(counts: Uint32Array, rank: number): number {
  let seen = 0;
  for (const [step, count] of counts.entries()) {
    seen += count;
    if (seen > rank) return step;
  }
  return counts.length - 1;
}

function entropy(counts: Uint32Array, total: number): number {
  let bits = 0;
  for (const count of counts) if (count > 0) bits -= (count / total) * Math.log2(count / total);
  return bits;
}
