/** Corners as fields of equal contrast everywhere, and what is done with them to find marks. Pure. */
import { CORNER_COLUMNS, CORNER_ROWS } from "./measure/corners.ts";

/** Cells to each side over which contrast is levelled. */
const RADIUS = 4;
/** Contrast, in grey levels, that is left as faint as it is: the grain of flat ground. */
const GRAIN = 4;
/** Values beyond this are cut: one bright spot is no mark. */
const MOST = 2.5;

/** [rows, columns]: each cell over the root mean square of the 9 x 9 around it, so that a mark counts the same on busy and on calm ground. */
export function levelContrast(corner: Int8Array): Float32Array {
  const stride = CORNER_COLUMNS + 1;
  const sums = new Float64Array(stride * (CORNER_ROWS + 1));
  for (let y = 0, from = 0; y < CORNER_ROWS; y++) {
    let row = 0;
    for (let x = 0, at = (y + 1) * stride + 1; x < CORNER_COLUMNS; x++, at++, from++) {
      row += (corner[from] ?? 0) ** 2;
      sums[at] = (sums[at - stride] ?? 0) + row;
    }
  }
  const out = new Float32Array(corner.length);
  for (let y = 0, at = 0; y < CORNER_ROWS; y++) {
    const top = Math.max(0, y - RADIUS) * stride;
    const bottom = Math.min(CORNER_ROWS, y + RADIUS + 1) * stride;
    for (let x = 0; x < CORNER_COLUMNS; x++, at++) {
      const left = Math.max(0, x - RADIUS);
      const right = Math.min(CORNER_COLUMNS, x + RADIUS + 1);
      const sum = (sums[bottom + right] ?? 0) - (sums[top + right] ?? 0) - (sums[bottom + left] ?? 0) + (sums[top + left] ?? 0);
      const mean = (sum * stride) / ((right - left) * (bottom - top));
      out[at] = Math.max(-MOST, Math.min(MOST, (corner[at] ?? 0) / Math.sqrt(mean + GRAIN * GRAIN)));
    }
  }
  return out;
}

/** Of fields, some of them with the other sign. */
export function meanOf(signed: readonly { readonly field: Float32Array; readonly sign: number }[]): Float32Array {
  const out = new Float32Array(CORNER_COLUMNS * CORNER_ROWS);
  for (const { field, sign } of signed)
    for (let i = 0; i < out.length; i++) out[i] = (out[i] ?? 0) + (sign * (field[i] ?? 0)) / signed.length;
  return out;
}

/** Of stretches of two lists that begin at these places. */
export function dot(a: Float32Array, fromA: number, b: Float32Array, fromB: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += (a[fromA + i] ?? 0) * (b[fromB + i] ?? 0);
  return sum;
}
