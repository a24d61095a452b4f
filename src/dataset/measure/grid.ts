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
  // Division by multiplying: exact for sums of up to nine bytes.
  const inverse = Math.ceil(65536 / count);
  const rowBytes = widthPx * channels;
  const step = stride * channels;
  // Points lie in the middle of cells, and cells in the middle of the picture, or its mirror image would be shrunk to something else.
  const inset = (cellPx - 1 - (perSide - 1) * stride) >> 1;
  const left = ((widthPx - width * cellPx) >> 1) + inset;
  const top = ((heightPx - height * cellPx) >> 1) + inset;
  const lastOf = (start: number, cells: number): number => start + (cells - 1) * cellPx + (perSide - 1) * stride;
  const view = viewOf(data, lastOf(top, height) * rowBytes + lastOf(left, width) * channels);
  for (let y = 0, cell = 0; y < height; y++) {
    let from = (top + y * cellPx) * rowBytes + left * channels;
    for (let x = 0; x < width; x++, cell++, from += cellPx * channels) {
      let redBlue = 0;
      let green = 0;
      for (let i = 0, at = from; i < perSide; i++, at += stride * rowBytes) {
        // One, two or three points, each read at once: red in the lowest byte, then green, blue, and what follows.
        const a = view.getInt32(at, true);
        const b = perSide > 1 ? view.getInt32(at + step, true) : 0;
        const c = perSide > 2 ? view.getInt32(at + 2 * step, true) : 0;
        redBlue += (a & RED_AND_BLUE) + (b & RED_AND_BLUE) + (c & RED_AND_BLUE);
        green += ((a >>> 8) & 255) + ((b >>> 8) & 255) + ((c >>> 8) & 255);
      }
      const red = redBlue & 0xffff;
      const blue = redBlue >>> 16;
      rgb[3 * cell] = (red * inverse) >> 16;
      rgb[3 * cell + 1] = (green * inverse) >> 16;
      rgb[3 * cell + 2] = (blue * inverse) >> 16;
      luma[cell] = (0.299 * red + 0.587 * green + 0.114 * blue) / count;
    }
  }
  return { width, height, cellPx, rgb, luma };
}

const RED_AND_BLUE = 0xff00ff;

/** A copy with a byte more where the pixel at `last`, of three bytes, would be read beyond the end by four at a time. */
function viewOf(data: Uint8Array, last: number): DataView {
  if (last + 4 <= data.length) return new DataView(data.buffer, data.byteOffset, data.length);
  const copy = new Uint8Array(last + 4);
  copy.set(data);
  return new DataView(copy.buffer);
}
