/**
 * The best approximation of a matrix by one of low rank: its truncated singular value decomposition (Eckart and Young 1936). Exact and
 * cheap for a product of thin factors; by a randomised search for the range for a dense matrix.
 */
import { Matrix, SingularValueDecomposition } from "ml-matrix";
import { normal } from "../diffusion/philox.ts";
import {
  combine,
  createVectors,
  columnsOf,
  dots,
  joinVectors,
  multiply,
  multiplyTransposed,
  orthonormalise,
  rowsOf,
  type Dense,
  type Vectors,
} from "./matrix.ts";

/**
 * How far to go: at most `rank`, and no further than it takes to keep `energy`, the share of the squared Frobenius norm (0.99). At least
 * one is needed.
 */
export interface RankChoice {
  /** Whole, 1 or more. */
  readonly rank?: number | undefined;
  /** Above 0, up to 1. */
  readonly energy?: number | undefined;
}

/** up x down; both carry the square root of the singular values, so that neither leaves the range of float16 before the other. */
export interface Approximation {
  /** 0 for a matrix of zeros. Never more than the matrix's own rank, whatever was asked for. */
  readonly rank: number;
  /** [rows, rank] */
  readonly up: Dense;
  /** [rank, columns] */
  readonly down: Dense;
  /** Those kept, greatest first. */
  readonly singularValues: Float64Array;
  /** The share of the matrix's energy that is kept, 0 to 1; 1 for zeros. */
  readonly keptEnergy: number;
  /** The squared Frobenius norm of the matrix. */
  readonly energy: number;
}

/**
 * The best approximation of scale x up x down, exactly: a basis for each factor, and the decomposition of what lies between the bases.
 *
 * @param up [rows, r]
 * @param down [r, columns]
 * @throws Error for sizes that do not fit, numbers that are not finite, or a choice that is no choice
 * @example const { up, down, keptEnergy } = reduceProduct(up, down, { rank: 8 });
 */
export function reduceProduct(up: Dense, down: Dense, choice: RankChoice, scale = 1): Approximation {
  checkChoice(choice);
  if (up.columns !== down.rows) throw new Error(`reduceProduct: inner sizes differ: ${up.columns} and ${down.rows}`);
  checkFinite("reduceProduct", up.data, down.data, [scale]);
  const [columns, rows] = [columnsOf(up), rowsOf(down)];
  const [left, right] = [orthonormalise(columns), orthonormalise(rows)];
  // up = left A and down = B^T right^T, so the middle is A B^T.
  const [a, b] = [dots(left, columns), dots(right, rows)];
  const middle = new Float64Array(left.count * right.count);
  for (let i = 0; i < left.count; i++) {
    for (let j = 0; j < right.count; j++) {
      let sum = 0;
      for (let k = 0; k < up.columns; k++) sum += (a[i * up.columns + k] ?? 0) * (b[j * up.columns + k] ?? 0);
      middle[i * right.count + j] = scale * sum;
    }
  }
  return assemble(left, middle, right, choice, undefined);
}

/**
 * How many directions more than the rank are searched, and how often the matrix is applied again (Halko et al. 2011, parts 4.4 and 4.5).
 * With three, a spectrum that falls as slowly as 1 / (1 + i / 30) loses less than 0.3 % of the energy that the rank can keep; with two, 1 %.
 */
const OVERSAMPLING = 10;
const POWER_ITERATIONS = 3;
/** Directions searched at a time where the rank is not known before. */
const BLOCK = 32;

/**
 * The best approximation of a dense matrix, all but exactly: random directions find its range (Halko, Martinsson and Tropp 2011,
 * algorithm 4.4), in blocks until enough energy is found (Yu, Gu and Li 2018, algorithm 2); within the range the decomposition is exact.
 * Reproducible: the directions are a function of the seed.
 *
 * @param d not changed
 * @throws Error for numbers that are not finite, or a choice that is no choice
 * @example const { up, down, rank } = reduceDense(difference, { energy: 0.99 });
 */
export function reduceDense(d: Dense, choice: RankChoice, seed = 0): Approximation {
  checkChoice(choice);
  checkFinite("reduceDense", d.data);
  const energy = energyOf(d.data);
  const width = Math.min(d.rows, d.columns);
  const most = Math.min(width, choice.rank === undefined ? width : choice.rank + OVERSAMPLING);
  const block = choice.energy === undefined ? most : Math.min(most, BLOCK);
  // What remains of a vector that adds nothing is rounding of the sums, which grows with the matrix.
  const floor = 1e-13 * Math.sqrt(energy);
  let range = createVectors(0, d.rows);
  let image = createVectors(0, d.columns); // D^T range
  let found = 0;
  for (let step = 0; range.count < most && energy > 0; step++) {
    const more = findRange(d, Math.min(block, most - range.count), range, floor, { seed, step });
    if (more.count === 0) break;
    const moreImage = multiplyTransposed(d, more);
    range = joinVectors(range, more);
    image = joinVectors(image, moreImage);
    found += energyOf(moreImage.data);
    if (choice.energy !== undefined && found >= enough(choice.energy, energy)) break;
  }
  const right = orthonormalise(image);
  return assemble(range, dots(image, right), right, choice, energy);
}

/** An orthonormal basis of where the matrix is largest, beyond what `known` spans. */
function findRange(
  d: Dense,
  count: number,
  known: Vectors,
  floor: number,
  { seed, step }: { seed: number; step: number },
): Vectors {
  const random = normal({ seed, purpose: "sketch", step }, count * d.columns);
  let basis = multiply(d, { count, length: d.columns, data: Float64Array.from(random) });
  basis = orthonormalise(basis, [known], floor);
  for (let i = 0; i < POWER_ITERATIONS && basis.count > 0 && count < Math.min(d.rows, d.columns); i++) {
    // Both ways, each made orthonormal: small directions would drown in the rounding of large ones.
    const back = orthonormalise(multiplyTransposed(d, basis), [], floor);
    basis = orthonormalise(multiply(d, back), [known], floor);
  }
  return basis;
}

/**
 * left x middle x right^T, cut to the rank that is asked for.
 *
 * @param middle row-major [left.count, right.count]
 * @param energy of the whole, where it is more than the middle's
 */
function assemble(
  left: Vectors,
  middle: Float64Array,
  right: Vectors,
  choice: RankChoice,
  energy: number | undefined,
): Approximation {
  const { u, values, v } = decompose(middle, left.count, right.count);
  const total = energy ?? energyOf(values);
  const rank = chooseRank(values, total, choice);
  const kept = values.slice(0, rank);
  const roots = kept.map(Math.sqrt);
  const scaled = (vectors: Matrix, signs: Float64Array): Float64Array => {
    const weights = new Float64Array(vectors.rows * rank);
    for (let i = 0; i < vectors.rows; i++) {
      for (let j = 0; j < rank; j++) weights[i * rank + j] = vectors.get(i, j) * (roots[j] ?? 0) * (signs[j] ?? 1);
    }
    return weights;
  };
  const signs = Float64Array.from(kept, (_, j) => signOfLargest(u, j));
  const ups = combine(left, scaled(u, signs), rank);
  const downs = combine(right, scaled(v, signs), rank);
  return {
    rank,
    up: { rows: left.length, columns: rank, data: Float32Array.from(columnsOfVectors(ups)) },
    down: { rows: rank, columns: right.length, data: Float32Array.from(downs.data) },
    singularValues: kept,
    keptEnergy: total === 0 ? 1 : Math.min(1, energyOf(kept) / total),
    energy: total,
  };
}

interface Decomposition {
  /** [rows, n], columns orthonormal */
  readonly u: Matrix;
  /** Greatest first. */
  readonly values: Float64Array;
  /** [columns, n] */
  readonly v: Matrix;
}

function decompose(middle: Float64Array, rows: number, columns: number): Decomposition {
  if (rows === 0 || columns === 0) return { u: new Matrix(rows, 0), values: new Float64Array(0), v: new Matrix(columns, 0) };
  const matrix = Matrix.from1DArray(rows, columns, middle);
  const svd = new SingularValueDecomposition(matrix, { autoTranspose: true });
  return {
    u: svd.leftSingularVectors,
    values: Float64Array.from(svd.diagonal),
    v: svd.rightSingularVectors,
  };
}

/** Singular vectors are free to change sign together: the left one's largest number is made positive, so that results compare. */
function signOfLargest(u: Matrix, column: number): number {
  let largest = 0;
  for (let i = 0; i < u.rows; i++) if (Math.abs(u.get(i, column)) > Math.abs(largest)) largest = u.get(i, column);
  return largest < 0 ? -1 : 1;
}

/** Singular values below this share of the greatest are the rounding of float32 entries. */
const ROUNDING = 2 ** -23;

function chooseRank(values: Float64Array, total: number, choice: RankChoice): number {
  const [greatest = 0] = values;
  const most = Math.min(values.length, choice.rank ?? Infinity);
  let kept = 0;
  for (let rank = 0; rank < most; rank++) {
    const value = values[rank] ?? 0;
    if (value <= greatest * ROUNDING) return rank;
    if (choice.energy !== undefined && kept >= enough(choice.energy, total)) return rank;
    kept += value ** 2;
  }
  return most;
}

/** A share of 1 is met when all but rounding is kept. */
function enough(share: number, total: number): number {
  return share * total * (1 - 1e-12);
}

function columnsOfVectors({ count, length, data }: Vectors): Float64Array {
  const out = new Float64Array(count * length);
  for (let j = 0; j < count; j++) for (let i = 0; i < length; i++) out[i * count + j] = data[j * length + i] ?? 0;
  return out;
}

function energyOf(values: Float32Array | Float64Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] ?? 0) ** 2;
  return sum;
}

function checkChoice({ rank, energy }: RankChoice): void {
  if (rank === undefined && energy === undefined) throw new Error("svd: a rank or an energy needed, got neither");
  if (rank !== undefined && !(Number.isInteger(rank) && rank >= 1))
    throw new Error(`svd: a rank of 1 or more needed, got ${rank}`);
  if (energy !== undefined && !(energy > 0 && energy <= 1)) {
    throw new Error(`svd: an energy above 0 and up to 1 needed, got ${energy}`);
  }
}

/** The decomposition of a NaN never ends, so none may come near it. */
function checkFinite(name: string, ...parts: readonly ArrayLike<number>[]): void {
  for (const part of parts) {
    for (let i = 0; i < part.length; i++) {
      if (!Number.isFinite(part[i])) throw new Error(`${name}: finite numbers needed, got ${part[i]} at position ${i}`);
    }
  }
}
