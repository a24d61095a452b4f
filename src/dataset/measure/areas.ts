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

/** The means of columns x rows equal parts of a window, [rows, columns], of up to 64 columns. */
export function averageParts(areas: AreaSums, window: Window, columns: number, rows: number): Float32Array {
  const out = new Float32Array(columns * rows);
  averageInto(out, 0, areas, window, columns, rows);
  return out;
}

/** As `averageParts`, written into a list from a place on. */
export function averageInto(
  out: Float32Array,
  from: number,
  areas: AreaSums,
  window: Window,
  columns: number,
  rows: number,
): void {
  const inverse = (columns * rows) / (window.width * window.height);
  placeColumns(areas, window, columns);
  sumAbove(areas, window.top, columns, above);
  for (let row = 0, at = from; row < rows; row++) {
    sumAbove(areas, window.top + ((row + 1) * window.height) / rows, columns, below);
    let left = (below[0] ?? 0) - (above[0] ?? 0);
    for (let column = 1; column <= columns; column++, at++) {
      const right = (below[column] ?? 0) - (above[column] ?? 0);
      out[at] = (right - left) * inverse;
      left = right;
    }
    for (let column = 0; column <= columns; column++) above[column] = below[column] ?? 0;
  }
}

// Kept between calls, of which a large dataset makes millions.
const MOST_COLUMNS = 64;
const above = new Float64Array(MOST_COLUMNS + 1);
const below = new Float64Array(MOST_COLUMNS + 1);
/** Of each edge of the columns: the cell that it lies in, and how far into it. */
const cells = new Int32Array(MOST_COLUMNS + 1);
const fractions = new Float64Array(MOST_COLUMNS + 1);

function placeColumns({ width }: AreaSums, window: Window, columns: number): void {
  for (let column = 0; column <= columns; column++) {
    const x = Math.min(width, Math.max(0, window.left + (column * window.width) / columns));
    const cell = Math.min(width - 1, Math.floor(x));
    cells[column] = cell;
    fractions[column] = x - cell;
  }
}

/** The sums above a height and left of each edge of the columns: between corners they grow evenly, for cells are even. */
function sumAbove({ width, height, sums }: AreaSums, top: number, columns: number, out: Float64Array): void {
  const stride = width + 1;
  const y = Math.min(height, Math.max(0, top));
  const y0 = Math.min(height - 1, Math.floor(y));
  const v = y - y0;
  for (let column = 0; column <= columns; column++) {
    const u = fractions[column] ?? 0;
    const at = y0 * stride + (cells[column] ?? 0);
    const first = sums[at] ?? 0;
    const upper = first + u * ((sums[at + 1] ?? 0) - first);
    const second = sums[at + stride] ?? 0;
    out[column] = upper + v * (second + u * ((sums[at + stride + 1] ?? 0) - second) - upper);
  }
}
