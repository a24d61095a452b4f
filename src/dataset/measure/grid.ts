/** A small copy of a picture, from which most measurements are taken: box averages over whole squares of pixels. Pure. */
import type { Pixels } from "../../formats/images.ts";

/** Box averages of a picture, row by row. */
export interface Grid {
  readonly width: number;
  readonly height: number;
  /** Pixels of the picture along one side of a cell. */
  readonly cellPx: number;
  /** [height, width, 3], 0..255 */
  readonly rgb: Uint8Array;
  /** [height, width], Rec. 601 luma, 0..255 */
  readonly luma: Float32Array;
}

/** The longest side of the small copy, in cells: enough to place edges, few enough to cost nothing. */
const LONGEST_SIDE = 128;

/**
 * Shrinks a picture to at most 255 cells a side by a whole factor. Of each cell at least 2 x 2 pixels are read: all of a small one, a
 * lattice of a large one, so that the cost stays well below that of decoding.
 */
export function shrink({ widthPx, heightPx, data, channels }: Pixels): Grid {
  const cellPx = Math.max(1, Math.floor(Math.max(widthPx, heightPx) / LONGEST_SIDE));
  const stride = Math.max(1, cellPx >> 1);
  const width = Math.max(1, Math.floor(widthPx / cellPx));
  const height = Math.max(1, Math.floor(heightPx / cellPx));
  const rgb = new Uint8Array(3 * width * height);
  const luma = new Float32Array(width * height);
  const count = Math.ceil(cellPx / stride) ** 2;
  const rowBytes = widthPx * channels;
  const step = stride * channels;
  for (let y = 0, cell = 0; y < height; y++) {
    for (let x = 0; x < width; x++, cell++) {
      let red = 0;
      let green = 0;
      let blue = 0;
      const from = y * cellPx * rowBytes + x * cellPx * channels;
      for (let dy = 0; dy < cellPx; dy += stride) {
        const start = from + dy * rowBytes;
        for (let at = start; at < start + cellPx * channels; at += step) {
          red += data[at] ?? 0;
          green += data[at + 1] ?? 0;
          blue += data[at + 2] ?? 0;
        }
      }
      rgb[3 * cell] = red / count;
      rgb[3 * cell + 1] = green / count;
      rgb[3 * cell + 2] = blue / count;
      luma[cell] = (0.299 * red + 0.587 * green + 0.114 * blue) / count;
    }
  }
  return { width, height, cellPx, rgb, luma };
}

/** A part of a plane [height, width] averaged into columns x rows cells that cover it evenly. */
export function resample(
  plane: { readonly width: number; readonly height: number; readonly luma: ArrayLike<number> },
  columns: number,
  rows: number,
  window: Window = { left: 0, top: 0, width: plane.width, height: plane.height },
): Float32Array {
  const out = new Float32Array(columns * rows);
  for (let row = 0; row < rows; row++) {
    const [y0, y1] = span(window.top, window.height, row, rows, plane.height);
    for (let column = 0; column < columns; column++) {
      const [x0, x1] = span(window.left, window.width, column, columns, plane.width);
      let sum = 0;
      for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) sum += plane.luma[y * plane.width + x] ?? 0;
      out[row * columns + column] = sum / ((y1 - y0) * (x1 - x0));
    }
  }
  return out;
}

/** A rectangle in cells; fractions allowed. */
export interface Window {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** The whole cells nearest to the i-th of n parts of a stretch; never empty. */
function span(start: number, length: number, i: number, n: number, limit: number): readonly [number, number] {
  const from = Math.min(limit - 1, Math.max(0, Math.round(start + (length * i) / n)));
  const to = Math.min(limit, Math.max(from + 1, Math.round(start + (length * (i + 1)) / n)));
  return [from, to];
}
