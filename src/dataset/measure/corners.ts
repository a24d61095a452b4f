/** The four corners of a picture without their slow changes: what a mark that stands on many pictures is found by. Pure. */
import type { Pixels } from "../../formats/images.ts";

export const CORNER_COLUMNS = 80;
export const CORNER_ROWS = 32;
export const CORNERS_LENGTH = 4 * CORNER_COLUMNS * CORNER_ROWS;
/** In this order in `measureCorners`. */
export const cornerNames = ["top left", "top right", "bottom left", "bottom right"] as const;
export type CornerName = (typeof cornerNames)[number];

/** A cell's side as a share of the picture's shorter side: the corners are 48 % of it wide and 19 % high. */
const CELL = 0.006;

/** Cells to each side over which the mean is taken. */
const RADIUS = 2;

/** [4, 32, 80]: luma less its mean over 5 x 5 cells, clamped to -127..127. */
export function measureCorners(pixels: Pixels): Int8Array {
  const cellPx = CELL * Math.min(pixels.widthPx, pixels.heightPx);
  const out = new Int8Array(CORNERS_LENGTH);
  for (const index of cornerNames.keys()) {
    const left = index % 2 === 0 ? 0 : pixels.widthPx - CORNER_COLUMNS * cellPx;
    const top = index < 2 ? 0 : pixels.heightPx - CORNER_ROWS * cellPx;
    takeOffMeans(sumCells(pixels, left, top, cellPx), out, index * CORNER_COLUMNS * CORNER_ROWS);
  }
  return out;
}

// Kept between calls: the engine reads arrays that never change twice as fast as those that are handed over.
const MOST_POINTS = 3;
const columns = new Int32Array(CORNER_COLUMNS * MOST_POINTS);
const sums = new Int32Array(CORNER_COLUMNS * MOST_POINTS);
const cells = new Int32Array(CORNER_COLUMNS * CORNER_ROWS);
const tall = new Int32Array(CORNER_COLUMNS);

/** Sums of green, which is most of luma, over square cells, in `cells`; of large cells 3 x 3 points are read. @returns the points read in each */
function sumCells({ data, widthPx, heightPx, channels }: Pixels, left: number, top: number, cellPx: number): number {
  const points = Math.min(MOST_POINTS, Math.max(1, Math.floor(cellPx)));
  const place = (start: number, point: number, limit: number): number =>
    Math.min(limit - 1, Math.max(0, Math.floor(start + (cellPx * (point + 0.5)) / points)));
  const across = CORNER_COLUMNS * points;
  for (let u = 0; u < across; u++) columns[u] = place(left, u, widthPx) * channels + 1;
  for (let cellRow = 0, at = 0; cellRow < CORNER_ROWS; cellRow++) {
    sums.fill(0);
    for (let v = cellRow * points; v < (cellRow + 1) * points; v++)
      addPoints(data, place(top, v, heightPx) * widthPx * channels, across);
    for (let u = 0; u < across; u += points, at++) {
      let sum = sums[u] ?? 0;
      for (let next = u + 1; next < u + points; next++) sum += sums[next] ?? 0;
      cells[at] = sum;
    }
  }
  return points * points;
}

function addPoints(data: Uint8Array, row: number, across: number): void {
  for (let u = 0; u < across; u++) sums[u] = (sums[u] ?? 0) + (data[row + (columns[u] ?? 0)] ?? 0);
}

/** Of `cells`, written from a place on. */
function takeOffMeans(points: number, out: Int8Array, from: number): void {
  // Sums over five rows, kept from row to row, then over five columns of those.
  tall.fill(0);
  for (let y = 0; y < RADIUS; y++) addRow(y, 1);
  for (let y = 0, at = 0; y < CORNER_ROWS; y++) {
    if (y + RADIUS < CORNER_ROWS) addRow(y + RADIUS, 1);
    if (y > RADIUS) addRow(y - RADIUS - 1, -1);
    const rows = Math.min(CORNER_ROWS, y + RADIUS + 1) - Math.max(0, y - RADIUS);
    for (let x = 0; x < CORNER_COLUMNS; x++, at++) {
      const left = Math.max(0, x - RADIUS);
      const right = Math.min(CORNER_COLUMNS - 1, x + RADIUS);
      let sum = 0;
      for (let u = left; u <= right; u++) sum += tall[u] ?? 0;
      const mean = sum / (rows * (right - left + 1));
      out[from + at] = Math.max(-127, Math.min(127, Math.floor(((cells[at] ?? 0) - mean) / points + 0.5)));
    }
  }
}

function addRow(y: number, sign: 1 | -1): void {
  for (let x = 0, at = y * CORNER_COLUMNS; x < CORNER_COLUMNS; x++, at++) tall[x] = (tall[x] ?? 0) + sign * (cells[at] ?? 0);
}
