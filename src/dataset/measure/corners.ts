/** The four corners of a picture without their slow changes: what a mark that stands on many pictures is found by. Pure. */
import { type Grid, resample } from "./grid.ts";

export const CORNER_COLUMNS = 32;
export const CORNER_ROWS = 16;
/** In this order in `measureCorners`. */
export const cornerNames = ["top left", "top right", "bottom left", "bottom right"] as const;
export type CornerName = (typeof cornerNames)[number];

/** A cell's side as a share of the picture's shorter side: the corners are 40 % of it wide and 20 % high. */
const CELL = 0.0125;

/** [4, 16, 32]: luma less its mean over 5 x 5 cells, clamped to -127..127. */
export function measureCorners(grid: Grid): Int8Array {
  const cell = CELL * Math.min(grid.width, grid.height);
  const [width, height] = [CORNER_COLUMNS * cell, CORNER_ROWS * cell];
  const out = new Int8Array(4 * CORNER_COLUMNS * CORNER_ROWS);
  for (const index of cornerNames.keys()) {
    const left = index % 2 === 0 ? 0 : grid.width - width;
    const top = index < 2 ? 0 : grid.height - height;
    const patch = resample(grid, CORNER_COLUMNS, CORNER_ROWS, { left, top, width, height });
    out.set(withoutMean(patch), index * CORNER_COLUMNS * CORNER_ROWS);
  }
  return out;
}

function withoutMean(patch: Float32Array): Int8Array {
  const out = new Int8Array(patch.length);
  for (let y = 0; y < CORNER_ROWS; y++) {
    for (let x = 0; x < CORNER_COLUMNS; x++) {
      let [sum, count] = [0, 0];
      for (let v = Math.max(0, y - 2); v <= Math.min(CORNER_ROWS - 1, y + 2); v++) {
        for (let u = Math.max(0, x - 2); u <= Math.min(CORNER_COLUMNS - 1, x + 2); u++) {
          sum += patch[v * CORNER_COLUMNS + u] ?? 0;
          count++;
        }
      }
      const at = y * CORNER_COLUMNS + x;
      out[at] = Math.max(-127, Math.min(127, Math.round((patch[at] ?? 0) - sum / count)));
    }
  }
  return out;
}
