/** The four corners of a picture without their slow changes: what a mark that stands on many pictures is found by. Pure. */
import type { Pixels } from "../../formats/images.ts";

export const CORNER_COLUMNS = 40;
export const CORNER_ROWS = 20;
/** In this order in `measureCorners`. */
export const cornerNames = ["top left", "top right", "bottom left", "bottom right"] as const;
export type CornerName = (typeof cornerNames)[number];

/** A cell's side as a share of the picture's shorter side: the corners are 36 % of it wide and 18 % high. */
const CELL = 0.009;

/** [4, 20, 40]: luma less its mean over 5 x 5 cells, clamped to -127..127. */
export function measureCorners(pixels: Pixels): Int8Array {
  const cellPx = CELL * Math.min(pixels.widthPx, pixels.heightPx);
  const out = new Int8Array(4 * CORNER_COLUMNS * CORNER_ROWS);
  for (const index of cornerNames.keys()) {
    const left = index % 2 === 0 ? 0 : pixels.widthPx - CORNER_COLUMNS * cellPx;
    const top = index < 2 ? 0 : pixels.heightPx - CORNER_ROWS * cellPx;
    out.set(withoutMean(averageCells(pixels, left, top, cellPx)), index * CORNER_COLUMNS * CORNER_ROWS);
  }
  return out;
}

/** Means of green, which is most of luma, over square cells; of large cells 3 x 3 points are read. */
function averageCells({ data, widthPx, heightPx, channels }: Pixels, left: number, top: number, cellPx: number): Float32Array {
  const out = new Float32Array(CORNER_COLUMNS * CORNER_ROWS);
  const points = cellPx < 2 ? 1 : cellPx < 3 ? 2 : 3;
  for (let row = 0; row < CORNER_ROWS; row++) {
    for (let column = 0; column < CORNER_COLUMNS; column++) {
      let sum = 0;
      for (let v = 0; v < points; v++) {
        const y = Math.min(heightPx - 1, Math.max(0, Math.floor(top + cellPx * (row + (v + 0.5) / points))));
        for (let u = 0; u < points; u++) {
          const x = Math.min(widthPx - 1, Math.max(0, Math.floor(left + cellPx * (column + (u + 0.5) / points))));
          sum += data[(y * widthPx + x) * channels + 1] ?? 0;
        }
      }
      out[row * CORNER_COLUMNS + column] = sum / (points * points);
    }
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
