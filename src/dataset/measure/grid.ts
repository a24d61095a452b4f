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
  const perSide = Math.ceil(cellPx / stride);
  const count = perSide ** 2;
  const rowBytes = widthPx * channels;
  const step = stride * channels;
  // Points lie in the middle of cells, and cells in the middle of the picture, or its mirror image would be shrunk to something else.
  const inset = (cellPx - 1 - (perSide - 1) * stride) >> 1;
  const left = ((widthPx - width * cellPx) >> 1) + inset;
  const top = ((heightPx - height * cellPx) >> 1) + inset;
  for (let y = 0, cell = 0; y < height; y++) {
    for (let x = 0; x < width; x++, cell++) {
      let red = 0;
      let green = 0;
      let blue = 0;
      const from = (top + y * cellPx) * rowBytes + (left + x * cellPx) * channels;
      for (let i = 0; i < perSide; i++) {
        const start = from + i * stride * rowBytes;
        for (let at = start; at < start + perSide * step; at += step) {
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
