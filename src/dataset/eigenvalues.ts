/**
 * Eigenvalues of a symmetric matrix: Householder's reflections make it tridiagonal, then implicit QL steps with Wilkinson's shifts make
 * it diagonal (Golub and Van Loan, Matrix Computations, sections 8.3 and 8.4). About 4/3 n^3 operations. Pure.
 */

/** @param rows of a symmetric matrix; changed. @returns its eigenvalues in no particular order */
export function symmetricEigenvalues(rows: readonly Float64Array[]): Float64Array {
  const { diagonal, below } = tridiagonalize(rows);
  return diagonalize(diagonal, below);
}

interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** The i-th lies between the places i and i + 1; the last is 0. */
  readonly below: Float64Array;
}

/** Column by column: reflects what is below the first place under the diagonal onto that place. */
function tridiagonalize(rows: readonly Float64Array[]): Tridiagonal {
  const n = rows.length;
  const below = new Float64Array(n);
  const v = new Float64Array(n);
  const p = new Float64Array(n);
  for (let k = 0; k + 2 < n; k++) {
    const length = takeColumn(rows, k, v);
    below[k] = length;
    if (length === 0) continue;
    // A - v w' - w v' with w = p - (v'p / 2) v and p = A v, where v has length sqrt(2).
    let along = 0;
    for (let i = k + 1; i < n; i++) {
      const row = rows[i];
      let sum = 0;
      if (row) for (let j = k + 1; j < n; j++) sum += (row[j] ?? 0) * (v[j] ?? 0);
      p[i] = sum;
      along += sum * (v[i] ?? 0);
    }
    for (let i = k + 1; i < n; i++) p[i] = (p[i] ?? 0) - (along / 2) * (v[i] ?? 0);
    for (let i = k + 1; i < n; i++) {
      const row = rows[i];
      const [vi, wi] = [v[i] ?? 0, p[i] ?? 0];
      if (row) for (let j = k + 1; j < n; j++) row[j] = (row[j] ?? 0) - vi * (p[j] ?? 0) - wi * (v[j] ?? 0);
    }
  }
  if (n > 1) below[n - 2] = rows[n - 1]?.[n - 2] ?? 0;
  return { diagonal: Float64Array.from(rows, (row, i) => row[i] ?? 0), below };
}

/** Writes the reflection of column k into `v`, of length sqrt(2). Gives what the column becomes; 0 where nothing is to be done. */
function takeColumn(rows: readonly Float64Array[], k: number, v: Float64Array): number {
  const n = rows.length;
  let squares = 0;
  for (let i = k + 1; i < n; i++) {
    const value = rows[i]?.[k] ?? 0;
    v[i] = value;
    squares += value * value;
  }
  if (squares === 0) return 0;
  const first = v[k + 1] ?? 0;
  const image = first > 0 ? -Math.sqrt(squares) : Math.sqrt(squares);
  v[k + 1] = first - image;
  // |v|^2 = 2 (squares - first image).
  const scale = 1 / Math.sqrt(squares - first * image);
  for (let i = k + 1; i < n; i++) v[i] = (v[i] ?? 0) * scale;
  return image;
}

/** More steps than any matrix of numbers takes for one eigenvalue. */
const MOST_STEPS = 60;

function diagonalize(d: Float64Array, e: Float64Array): Float64Array {
  const n = d.length;
  for (let low = 0; low < n; low++) {
    for (let step = 0; step < MOST_STEPS; step++) {
      const high = endOfBlock(d, e, low);
      if (high === low) break;
      stepBlock(d, e, low, high);
    }
  }
  return d;
}

/** The last place of the block that begins at `low`: behind it the matrix falls apart. */
function endOfBlock(d: Float64Array, e: Float64Array, low: number): number {
  let high = low;
  for (; high + 1 < d.length; high++) {
    const scale = Math.abs(d[high] ?? 0) + Math.abs(d[high + 1] ?? 0);
    if (Math.abs(e[high] ?? 0) <= Number.EPSILON * scale) break;
  }
  return high;
}

/** One implicit QL step from the block's end up to its beginning. */
function stepBlock(d: Float64Array, e: Float64Array, low: number, high: number): void {
  const first = d[low] ?? 0;
  const off = e[low] ?? 0;
  const half = ((d[low + 1] ?? 0) - first) / (2 * off);
  const root = Math.hypot(half, 1);
  let g = (d[high] ?? 0) - first + off / (half + (half < 0 ? -root : root));
  let [s, c, p] = [1, 1, 0];
  for (let i = high - 1; i >= low; i--) {
    const f = s * (e[i] ?? 0);
    const b = c * (e[i] ?? 0);
    const r = Math.hypot(f, g);
    e[i + 1] = r;
    if (r === 0) {
      d[i + 1] = (d[i + 1] ?? 0) - p;
      e[high] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = (d[i + 1] ?? 0) - p;
    const turn = ((d[i] ?? 0) - g) * s + 2 * c * b;
    p = s * turn;
    d[i + 1] = g + p;
    g = c * turn - b;
  }
  d[low] = (d[low] ?? 0) - p;
  e[low] = g;
  e[high] = 0;
}
