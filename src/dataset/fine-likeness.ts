/** Whether two pictures agree in their details, and not only in where they are light and dark. Pure. */
import { averageParts, sumAreas } from "./measure/areas.ts";
import { THUMB_SIDE } from "./measure/likeness.ts";

/** Side of the squares that are compared. */
export const FINE_SIDE = 32;
/** What is within so many cells is averaged, and taken off. */
const RADIUS = 2;
/** Details that differ from what is around them by less (root mean square, grey levels) are grain: there is nothing to agree in. */
const FAINTEST = 0.7;

/**
 * Pearson's correlation of the details of two squares of `FINE_SIDE` cells: of what differs from its surroundings, and from the rest of
 * its row and column. Two evening skies over the sea agree in light and dark, and in their horizon, and not in this. 0 where one of
 * them has no details.
 */
export function fineLikeness(a: Float32Array, b: Float32Array): number {
  const [first, second] = [takeOffMeans(takeOffLines(a)), takeOffMeans(takeOffLines(b))];
  let [products, squaresA, squaresB] = [0, 0, 0];
  for (let i = 0; i < first.length; i++) {
    const [x, y] = [first[i] ?? 0, second[i] ?? 0];
    products += x * y;
    squaresA += x * x;
    squaresB += y * y;
  }
  if (Math.min(squaresA, squaresB) < FAINTEST * FAINTEST * first.length) return 0;
  return products / Math.sqrt(squaresA * squaresB);
}

/** A thumbnail at the size that `fineLikeness` compares. */
export function toFineSide(thumb: ArrayLike<number>): Float32Array {
  const all = { left: 0, top: 0, width: THUMB_SIDE, height: THUMB_SIDE };
  return averageParts(sumAreas(thumb, THUMB_SIDE, THUMB_SIDE), all, FINE_SIDE, FINE_SIDE);
}

/** Less the means of each row and each column: what runs across the whole picture, such as a horizon, is gone. */
function takeOffLines(values: Float32Array): Float32Array {
  const rows = new Float32Array(FINE_SIDE);
  const columns = new Float32Array(FINE_SIDE);
  let mean = 0;
  for (let y = 0, i = 0; y < FINE_SIDE; y++) {
    for (let x = 0; x < FINE_SIDE; x++, i++) {
      const part = (values[i] ?? 0) / FINE_SIDE;
      rows[y] = (rows[y] ?? 0) + part;
      columns[x] = (columns[x] ?? 0) + part;
    }
    mean += (rows[y] ?? 0) / FINE_SIDE;
  }
  const out = new Float32Array(values.length);
  for (let y = 0, i = 0; y < FINE_SIDE; y++)
    for (let x = 0; x < FINE_SIDE; x++, i++) out[i] = (values[i] ?? 0) - (rows[y] ?? 0) - (columns[x] ?? 0) + mean;
  return out;
}

function takeOffMeans(values: Float32Array): Float32Array {
  const { sums, width } = sumAreas(values, FINE_SIDE, FINE_SIDE);
  const stride = width + 1;
  const out = new Float32Array(values.length);
  for (let y = 0, i = 0; y < FINE_SIDE; y++) {
    const [above, below] = [Math.max(0, y - RADIUS), Math.min(FINE_SIDE, y + RADIUS + 1)];
    const [top, bottom] = [above * stride, below * stride];
    for (let x = 0; x < FINE_SIDE; x++, i++) {
      const left = Math.max(0, x - RADIUS);
      const right = Math.min(FINE_SIDE, x + RADIUS + 1);
      const sum = (sums[bottom + right] ?? 0) - (sums[top + right] ?? 0) - (sums[bottom + left] ?? 0) + (sums[top + left] ?? 0);
      out[i] = (values[i] ?? 0) - sum / ((right - left) * (below - above));
    }
  }
  return out;
}
