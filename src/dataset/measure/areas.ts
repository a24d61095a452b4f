/** Means over rectangles of a plane, whose edges may lie between its cells. Pure. */

/** Sums of all cells above and left of each corner: [height + 1, width + 1]. */
export interface AreaSums {
  readonly width: number;
  readonly height: number;
  readonly sums: Float64Array;
}

/** A rectangle in cells; fractions allowed. */
export interface Window {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

export function sumAreas(plane: ArrayLike<number>, width: number, height: number): AreaSums {
  const sums = new Float64Array((width + 1) * (height + 1));
  for (let y = 0, from = 0; y < height; y++) {
    let row = 0;
    for (let x = 0, at = (y + 1) * (width + 1) + 1; x < width; x++, at++, from++) {
      row += plane[from] ?? 0;
      sums[at] = (sums[at - width - 1] ?? 0) + row;
    }
  }
  return { width, height, sums };
}

/** The means of columns x rows equal parts of a window, [rows, columns]. */
export function averageParts(areas: AreaSums, window: Window, columns: number, rows: number): Float32Array {
  const out = new Float32Array(columns * rows);
  const area = (window.width / columns) * (window.height / rows);
  let above = new Float64Array(columns + 1);
  let below = new Float64Array(columns + 1);
  sumAbove(areas, window, window.top, above);
  for (let row = 0, at = 0; row < rows; row++) {
    sumAbove(areas, window, window.top + ((row + 1) * window.height) / rows, below);
    for (let column = 0; column < columns; column++, at++) {
      const right = (below[column + 1] ?? 0) - (above[column + 1] ?? 0);
      out[at] = (right - (below[column] ?? 0) + (above[column] ?? 0)) / area;
    }
    [above, below] = [below, above];
  }
  return out;
}

/** The sums above a height and left of each edge of a window's columns: between corners they grow evenly, for cells are even. */
function sumAbove({ width, height, sums }: AreaSums, window: Window, top: number, out: Float64Array): void {
  const stride = width + 1;
  const y = Math.min(height, Math.max(0, top));
  const y0 = Math.min(height - 1, Math.floor(y));
  const v = y - y0;
  const step = window.width / (out.length - 1);
  for (let column = 0; column < out.length; column++) {
    const x = Math.min(width, Math.max(0, window.left + column * step));
    const x0 = Math.min(width - 1, Math.floor(x));
    const u = x - x0;
    const at = y0 * stride + x0;
    const upper = (1 - u) * (sums[at] ?? 0) + u * (sums[at + 1] ?? 0);
    const lower = (1 - u) * (sums[at + stride] ?? 0) + u * (sums[at + stride + 1] ?? 0);
    out[column] = (1 - v) * upper + v * lower;
  }
}
