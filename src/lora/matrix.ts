/**
 * The few dense products that adapters need, in float64, on one thread: the same bits on every machine. Inner loops keep several sums at
 * once, because JavaScript has no vector instructions; about 2 GFLOP/s.
 */

/** A dense matrix, row-major. float32 because a layer's change is, and because the largest must fit in memory. */
export interface Dense {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float32Array;
}

/** `count` vectors of one length, one after the other: a thin matrix by its columns. */
export interface Vectors {
  readonly count: number;
  readonly length: number;
  readonly data: Float64Array;
}

/** Vectors of zeros. */
export function createVectors(count: number, length: number): Vectors {
  return { count, length, data: new Float64Array(count * length) };
}

/** D x for each vector x. @returns `x.count` vectors of `d.rows` */
export function multiply(d: Dense, x: Vectors): Vectors {
  checkLength("multiply", d.columns, x.length);
  const out = createVectors(x.count, d.rows);
  for (let row = 0; row < d.rows; row += 2) {
    for (let vector = 0; vector < x.count; vector += 4) multiplyTile(d, x, out, row, vector);
  }
  return out;
}

/** Two rows by four vectors. What lies beyond the edge is worked out again for the last one, and not stored. */
function multiplyTile(d: Dense, x: Vectors, out: Vectors, row: number, vector: number): void {
  const { columns: n, data: a } = d;
  const { data: b } = x;
  const last = x.count - 1;
  const [r0, r1] = [row * n, Math.min(row + 1, d.rows - 1) * n];
  const x0 = vector * n;
  const x1 = Math.min(vector + 1, last) * n;
  const x2 = Math.min(vector + 2, last) * n;
  const x3 = Math.min(vector + 3, last) * n;
  let [s00, s01, s02, s03, s10, s11, s12, s13] = [0, 0, 0, 0, 0, 0, 0, 0];
  for (let i = 0; i < n; i++) {
    const u = a[r0 + i] ?? 0;
    const v = a[r1 + i] ?? 0;
    const y0 = b[x0 + i] ?? 0;
    const y1 = b[x1 + i] ?? 0;
    const y2 = b[x2 + i] ?? 0;
    const y3 = b[x3 + i] ?? 0;
    s00 += u * y0;
    s01 += u * y1;
    s02 += u * y2;
    s03 += u * y3;
    s10 += v * y0;
    s11 += v * y1;
    s12 += v * y2;
    s13 += v * y3;
  }
  const sums = [s00, s10, s01, s11, s02, s12, s03, s13];
  for (let j = 0; j < 4 && vector + j < x.count; j++) {
    out.data[(vector + j) * d.rows + row] = sums[2 * j] ?? 0;
    if (row + 1 < d.rows) out.data[(vector + j) * d.rows + row + 1] = sums[2 * j + 1] ?? 0;
  }
}

/** Columns worked on at once, so that the sums stay in the processor's cache. */
const STRIP = 1024;

/** D^T y for each vector y. @returns `y.count` vectors of `d.columns` */
export function multiplyTransposed(d: Dense, y: Vectors): Vectors {
  checkLength("multiplyTransposed", d.rows, y.length);
  const out = createVectors(y.count, d.columns);
  for (let from = 0; from < d.columns; from += STRIP) {
    const to = Math.min(d.columns, from + STRIP);
    for (let row = 0; row < d.rows; row += 4) {
      for (let vector = 0; vector < y.count; vector++) addRows(d, y, out, row, vector, from, to);
    }
  }
  return out;
}

/** Adds four rows of D, times four numbers of a vector, to the vector's sums. A row beyond the edge counts nothing. */
function addRows(d: Dense, y: Vectors, out: Vectors, row: number, vector: number, from: number, to: number): void {
  const { columns: n, data: a } = d;
  const at = vector * y.length + row;
  const end = d.rows - 1;
  const c0 = y.data[at] ?? 0;
  const c1 = row + 1 <= end ? (y.data[at + 1] ?? 0) : 0;
  const c2 = row + 2 <= end ? (y.data[at + 2] ?? 0) : 0;
  const c3 = row + 3 <= end ? (y.data[at + 3] ?? 0) : 0;
  const r0 = row * n;
  const r1 = Math.min(row + 1, end) * n;
  const r2 = Math.min(row + 2, end) * n;
  const r3 = Math.min(row + 3, end) * n;
  const sums = out.data;
  const z = vector * n;
  for (let i = from; i < to; i++) {
    sums[z + i] =
      (sums[z + i] ?? 0) + c0 * (a[r0 + i] ?? 0) + c1 * (a[r1 + i] ?? 0) + c2 * (a[r2 + i] ?? 0) + c3 * (a[r3 + i] ?? 0);
  }
}

/** The rows of a matrix as vectors. */
export function rowsOf(d: Dense): Vectors {
  return { count: d.rows, length: d.columns, data: Float64Array.from(d.data) };
}

/** The columns of a matrix as vectors. */
export function columnsOf(d: Dense): Vectors {
  const out = createVectors(d.columns, d.rows);
  for (let row = 0; row < d.rows; row++) {
    for (let column = 0; column < d.columns; column++) {
      out.data[column * d.rows + row] = d.data[row * d.columns + column] ?? 0;
    }
  }
  return out;
}

/** The dot products of every vector of `a` with every vector of `b`. @returns row-major [a.count, b.count] */
export function dots(a: Vectors, b: Vectors): Float64Array {
  checkLength("dots", a.length, b.length);
  const out = new Float64Array(a.count * b.count);
  const vector = { ...b, count: 1 };
  for (let j = 0; j < b.count; j++) {
    const column = dotsWithOne(a, { ...vector, data: vectorAt(b, j) });
    for (let i = 0; i < a.count; i++) out[i * b.count + j] = column[i] ?? 0;
  }
  return out;
}

function vectorAt({ data, length }: Vectors, index: number): Float64Array {
  return data.subarray(index * length, (index + 1) * length);
}

function dotsWithOne(a: Vectors, { data: v }: Vectors): Float64Array {
  const out = new Float64Array(a.count);
  const { data, length } = a;
  for (let j = 0; j < a.count; j += 4) {
    const q0 = j * length;
    const q1 = Math.min(j + 1, a.count - 1) * length;
    const q2 = Math.min(j + 2, a.count - 1) * length;
    const q3 = Math.min(j + 3, a.count - 1) * length;
    let [s0, s1, s2, s3] = [0, 0, 0, 0];
    for (let i = 0; i < length; i++) {
      const x = v[i] ?? 0;
      s0 += x * (data[q0 + i] ?? 0);
      s1 += x * (data[q1 + i] ?? 0);
      s2 += x * (data[q2 + i] ?? 0);
      s3 += x * (data[q3 + i] ?? 0);
    }
    out.set([s0, s1, s2, s3].slice(0, a.count - j), j);
  }
  return out;
}

/**
 * Sums of the vectors: vector j of the result is the sum over i of `weights[i, j]` times vector i.
 *
 * @param weights row-major [v.count, count]
 */
export function combine(v: Vectors, weights: Float64Array, count: number): Vectors {
  const out = createVectors(count, v.length);
  for (let i = 0; i < v.count; i++) {
    const from = vectorAt(v, i);
    for (let j = 0; j < count; j++) addScaled(vectorAt(out, j), from, weights[i * count + j] ?? 0);
  }
  return out;
}

function addScaled(sum: Float64Array, v: Float64Array, scale: number): void {
  if (scale === 0) return;
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + scale * (v[i] ?? 0);
}

/**
 * An orthonormal basis of what the vectors span beyond `known`: Gram and Schmidt's way, twice, which keeps it orthogonal to rounding
 * (Giraud, Langou, Rozloznik 2005). A vector that adds nothing is left out, so there may be fewer than were given.
 *
 * @param known an orthonormal basis already found
 * @param floor the length below which what remains of a vector is rounding
 * @param relativeFloor the same as a share of the vector's own length
 */
export function orthonormalise(v: Vectors, known: readonly Vectors[] = [], floor = 0, relativeFloor = 1e-13): Vectors {
  const { length } = v;
  const basis = new Float64Array(v.count * length);
  let count = 0;
  for (let j = 0; j < v.count && count < length; j++) {
    const x = vectorAt(v, j).slice();
    const before = norm(x);
    const found: Vectors = { count, length, data: basis };
    for (let pass = 0; pass < 2; pass++) for (const q of [...known, found]) takeAway(x, q);
    const after = norm(x);
    if (!(after > Math.max(floor, before * relativeFloor))) continue;
    for (let i = 0; i < length; i++) basis[count * length + i] = (x[i] ?? 0) / after;
    count++;
  }
  return { count, length, data: basis.subarray(0, count * length) };
}

/** x less its part within the basis. */
function takeAway(x: Float64Array, basis: Vectors): void {
  if (basis.count === 0) return;
  const parts = dotsWithOne(basis, { count: 1, length: x.length, data: x });
  const { data, length } = basis;
  for (let j = 0; j < basis.count; j += 4) {
    const [c0 = 0, c1 = 0, c2 = 0, c3 = 0] = parts.subarray(j, j + 4);
    const q0 = j * length;
    const q1 = Math.min(j + 1, basis.count - 1) * length;
    const q2 = Math.min(j + 2, basis.count - 1) * length;
    const q3 = Math.min(j + 3, basis.count - 1) * length;
    for (let i = 0; i < length; i++) {
      const part = c0 * (data[q0 + i] ?? 0) + c1 * (data[q1 + i] ?? 0) + c2 * (data[q2 + i] ?? 0) + c3 * (data[q3 + i] ?? 0);
      x[i] = (x[i] ?? 0) - part;
    }
  }
}

/** Euclidean length. Scaled by the largest part, so that it neither overflows nor vanishes. */
export function norm(x: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < x.length; i++) largest = Math.max(largest, Math.abs(x[i] ?? 0));
  if (largest === 0) return 0;
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += ((x[i] ?? 0) / largest) ** 2;
  return largest * Math.sqrt(sum);
}

/** Joins two sets of vectors of one length. */
export function joinVectors(a: Vectors, b: Vectors): Vectors {
  checkLength("joinVectors", a.length, b.length);
  const data = new Float64Array(a.data.length + b.data.length);
  data.set(a.data);
  data.set(b.data, a.data.length);
  return { count: a.count + b.count, length: a.length, data };
}

/**
 * Adds scale x up down to a layer's weights, in float64 per number.
 *
 * @param into [up.rows, down.columns], changed in place
 */
export function addProduct(into: Dense, up: Dense, down: Dense, scale: number): void {
  checkLength("addProduct", up.columns, down.rows);
  checkLength("addProduct", into.rows, up.rows);
  checkLength("addProduct", into.columns, down.columns);
  const sums = new Float64Array(into.columns);
  for (let row = 0; row < up.rows; row++) {
    sums.fill(0);
    for (let k = 0; k < down.rows; k += 4) addFourRows(sums, down, k, up, row);
    const at = row * into.columns;
    for (let i = 0; i < sums.length; i++) into.data[at + i] = (into.data[at + i] ?? 0) + scale * (sums[i] ?? 0);
  }
}

function addFourRows(sums: Float64Array, down: Dense, k: number, up: Dense, row: number): void {
  const { columns: n, data: b } = down;
  const last = down.rows - 1;
  const at = row * up.columns + k;
  const c0 = up.data[at] ?? 0;
  const c1 = k + 1 <= last ? (up.data[at + 1] ?? 0) : 0;
  const c2 = k + 2 <= last ? (up.data[at + 2] ?? 0) : 0;
  const c3 = k + 3 <= last ? (up.data[at + 3] ?? 0) : 0;
  const r0 = k * n;
  const r1 = Math.min(k + 1, last) * n;
  const r2 = Math.min(k + 2, last) * n;
  const r3 = Math.min(k + 3, last) * n;
  for (let i = 0; i < n; i++) {
    const sum = c0 * (b[r0 + i] ?? 0) + c1 * (b[r1 + i] ?? 0) + c2 * (b[r2 + i] ?? 0) + c3 * (b[r3 + i] ?? 0);
    sums[i] = (sums[i] ?? 0) + sum;
  }
}

function checkLength(name: string, needed: number, got: number): void {
  if (needed !== got) throw new Error(`${name}: inner sizes differ: ${needed} and ${got}`);
}
