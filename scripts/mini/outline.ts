/**
 * A picture's outlines as one unit vector: histograms of oriented gradients (Dalal and Triggs 2005), which tell what a drawing shows better than its
 * colours do. Square-rooted as Arandjelović and Zisserman (2012) do with such histograms, so that one strong edge does not outweigh the rest.
 */

/** The paper's number of orientations. Its cells of 8 px are doubled: two sets draw the same subject a little apart. */
const [orientations, cellPx] = [9, 16];

/**
 * @param pixels [3, side, side] in -1..1; a side is a multiple of 16 px
 * @returns [cells, cells, 9], of length 1; zeros for a picture of one colour
 */
export function outlineOf(pixels: Float32Array, side: number): Float32Array {
  const grey = greyOf(pixels);
  const cells = side / cellPx;
  const histograms = new Float32Array(cells * cells * orientations);
  const at = (row: number, column: number): number => grey[row * side + column] ?? 0;
  for (let row = 1; row < side - 1; row++) {
    for (let column = 1; column < side - 1; column++) {
      const dx = at(row, column + 1) - at(row, column - 1);
      const dy = at(row + 1, column) - at(row - 1, column);
      const cell = Math.floor(row / cellPx) * cells + Math.floor(column / cellPx);
      addGradient(histograms.subarray(cell * orientations, (cell + 1) * orientations), dx, dy);
    }
  }
  const roots = histograms.map(Math.sqrt);
  const length = Math.hypot(...roots);
  return length === 0 ? roots : roots.map((x) => x / length);
}

function greyOf(pixels: Float32Array): Float32Array {
  const count = pixels.length / 3;
  return Float32Array.from(
    { length: count },
    (_, i) => ((pixels[i] ?? 0) + (pixels[count + i] ?? 0) + (pixels[2 * count + i] ?? 0)) / 3,
  );
}

/** Shares a gradient out to the two nearest orientations; opposite directions are the same one. */
function addGradient(histogram: Float32Array, dx: number, dy: number): void {
  const strength = Math.hypot(dx, dy);
  if (strength === 0) return;
  const turn = (Math.atan2(dy, dx) / Math.PI + 1) * orientations;
  const lower = Math.floor(turn);
  const share = turn - lower;
  for (const [bin, part] of [
    [lower % orientations, 1 - share],
    [(lower + 1) % orientations, share],
  ] as const) {
    histogram[bin] = (histogram[bin] ?? 0) + strength * part;
  }
}
