/** The four corners of a picture without their slow changes: what a mark that stands on many pictures is found by. Pure. */
import type { Pixels } from "../../formats/images.ts";

export const CORNER_COLUMNS = 80;
export const CORNER_ROWS = 32;
/** In this order in `measureCorners`. */
export const cornerNames = ["top left", "top right", "bottom left", "bottom right"] as const;
export type CornerName = (typeof cornerNames)[number];

/** A cell's side as a share of the picture's shorter side: the corners are 48 % of it wide and 19 % high. */
const CELL = 0.006;

/** [4, 32, 80]: luma less its mean over 5 x 5 cells, clamped to -127..127. */
export function measureCorners(pixels: Pixels): Int8Array {
  const cellPx = CELL * Math.min(pixels.widthPx, pixels.heightPx);
  const out = new Int8Array(4 * CORNER_COLUMNS * CORNER_ROWS);
  for (const index of cornerNames.keys()) {
    const left = index % 2 === 0 ? 0 : pixels.widthPx - CORNER_COLUMNS * cellPx;
    const top = index < 2 ? 0 : pixels.heightPx - CORNER_ROWS * cellPx;
    out.set(withoutMean(sumCells(pixels, left, top, cellPx)), index * CORNER_COLUMNS * CORNER_ROWS);
  }
  return out;
}

/** Sums of green, which is most of luma, over square cells; of large cells 3 x 3 points are read. */
function sumCells({ data, widthPx, heightPx, channels }: Pixels, left: number, top: number, cellPx: number): CellSums {
  const points = cellPx < 2 ? 1 : cellPx < 3 ? 2 : 3;
  const place = (start: number, point: number, limit: number): number =>
    Math.min(limit - 1, Math.max(0, Math.floor(start + (cellPx * (point + 0.5)) / points)));
  const columns = new Int32Array(CORNER_COLUMNS * points);
  for (let u = 0; u < columns.length; u++) columns[u] = place(left, u, widthPx) * channels + 1;
  const cells = new Int32Array(CORNER_COLUMNS * CORNER_ROWS);
  for (let v = 0; v < CORNER_ROWS * points; v++) {
    const row = place(top, v, heightPx) * widthPx * channels;
    const first = Math.floor(v / points) * CORNER_COLUMNS;
    for (let column = 0, u = 0; column < CORNER_COLUMNS; column++) {
      let sum = 0;
      for (const end = u + points; u < end; u++) sum += data[row + (columns[u] ?? 0)] ?? 0;
      cells[first + column] = (cells[first + column] ?? 0) + sum;
    }
  }
  return { cells, points: points * points };
}

interface CellSums {
  /** [32, 80] */
  readonly cells: Int32Array;
  /** Read in each cell. */
  readonly points: number;
}

function withoutMean({ cells, points }: CellSums): Int8Array {
  const out = new Int8Array(cells.length);
  // Sums over five rows, then over five columns of those.
  const tall = new Int32Array(CORNER_COLUMNS);
  for (let y = 0; y < CORNER_ROWS; y++) {
    const [top, bottom] = [Math.max(0, y - 2), Math.min(CORNER_ROWS - 1, y + 2)];
    for (let x = 0; x < CORNER_COLUMNS; x++) {
      let sum = 0;
      for (let v = top; v <= bottom; v++) sum += cells[v * CORNER_COLUMNS + x] ?? 0;
      tall[x] = sum;
    }
    for (let x = 0; x < CORNER_COLUMNS; x++) {
      const left = Math.max(0, x - 2);
      const right = Math.min(CORNER_COLUMNS - 1, x + 2);
      let sum = 0;
      for (let u = left; u <= right; u++) sum += tall[u] ?? 0;
      const at = y * CORNER_COLUMNS + x;
      const mean = sum / ((bottom - top + 1) * (right - left + 1));
      out[at] = Math.max(-127, Math.min(127, Math.round(((cells[at] ?? 0) - mean) / points)));
    }
  }
  return out;
}
