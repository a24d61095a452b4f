/** How large a layer's change is and how many directions it uses, worked out on its factors, without making the change itself. */
import { EigenvalueDecomposition, Matrix } from "ml-matrix";

export interface Spectrum {
  /** Frobenius norm of the change. */
  readonly norm: number;
  /**
   * exp of the entropy of the singular values, each as a share of their sum (Roy and Vetterli 2007): 1 for a single direction, the rank
   * where all count alike. 0 for a change of zeros.
   */
  readonly effectiveRank: number;
}

/**
 * The spectrum of scale x up x down.
 *
 * @param up [out, rank], row-major
 * @param down [rank, in], row-major
 */
export function productSpectrum(up: Float32Array, down: Float32Array, rank: number, scale: number): Spectrum {
  return spectrumOf(productSingularValues(up, down, rank).map((value) => Math.abs(scale) * value));
}

/** The spectrum of the Kronecker product of two matrices: its singular values are the products of theirs. */
export function kroneckerSpectrum(one: Float64Array, two: Float64Array, scale: number): Spectrum {
  const values = new Float64Array(one.length * two.length);
  one.forEach((a, i) => two.forEach((b, j) => (values[i * two.length + j] = Math.abs(scale) * a * b)));
  return spectrumOf(values);
}

/**
 * Singular values of up x down from two rank x rank matrices of inner products: with G = up^T up = V D V^T and H = down down^T they are the
 * roots of the eigenvalues of D^1/2 V^T H V D^1/2.
 */
export function productSingularValues(up: Float32Array, down: Float32Array, rank: number): Float64Array {
  const columns = innerProducts(up, rank, 1, rank, up.length / rank);
  const width = down.length / rank;
  const rows = innerProducts(down, rank, width, 1, width);
  const { vectors, values } = eigen(columns);
  const roots = Matrix.diag(values.map((value) => Math.sqrt(Math.max(0, value))));
  const basis = vectors.mmul(roots);
  return Float64Array.from(eigen(basis.transpose().mmul(rows).mmul(basis)).values, (value) => Math.sqrt(Math.max(0, value)));
}

/** Singular values of a dense matrix, by the inner products of its shorter side. */
export function denseSingularValues(data: Float32Array, rows: number): Float64Array {
  const columns = data.length / rows;
  const gram =
    rows <= columns ? innerProducts(data, rows, columns, 1, columns) : innerProducts(data, columns, 1, columns, rows);
  return Float64Array.from(eigen(gram).values, (value) => Math.sqrt(Math.max(0, value)));
}

/** Of `count` vectors with `length` numbers each: number k of vector i lies at i * vectorStride + k * stride. */
function innerProducts(data: Float32Array, count: number, vectorStride: number, stride: number, length: number): Matrix {
  const sums = new Float64Array(count * count);
  const column = new Float64Array(count);
  for (let k = 0; k < length; k++) {
    for (let i = 0; i < count; i++) column[i] = data[i * vectorStride + k * stride] ?? 0;
    for (let i = 0; i < count; i++) {
      const value = column[i] ?? 0;
      if (value === 0) continue;
      for (let j = 0, at = i * count; j <= i; j++, at++) sums[at] = (sums[at] ?? 0) + value * (column[j] ?? 0);
    }
  }
  const matrix = Matrix.zeros(count, count);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j <= i; j++) {
      matrix.set(i, j, sums[i * count + j] ?? 0);
      matrix.set(j, i, sums[i * count + j] ?? 0);
    }
  }
  return matrix;
}

function eigen(matrix: Matrix): { vectors: Matrix; values: number[] } {
  const { eigenvectorMatrix, realEigenvalues } = new EigenvalueDecomposition(matrix, { assumeSymmetric: true });
  return { vectors: eigenvectorMatrix, values: realEigenvalues };
}

function spectrumOf(singularValues: Float64Array): Spectrum {
  // Below this a root of an eigenvalue is rounding.
  const floor = 1e-7 * singularValues.reduce((most, value) => Math.max(most, value), 0);
  const values = singularValues.filter((value) => value > floor);
  const sum = values.reduce((total, value) => total + value, 0);
  const entropy = values.reduce((total, value) => total - (value / sum) * Math.log(value / sum), 0);
  return {
    norm: Math.sqrt(singularValues.reduce((total, value) => total + value ** 2, 0)),
    effectiveRank: sum > 0 ? Math.exp(entropy) : 0,
  };
}
