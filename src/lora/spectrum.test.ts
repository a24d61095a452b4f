import { Matrix, SingularValueDecomposition } from "ml-matrix";
import { expect, it } from "vitest";
import { normal } from "../diffusion/philox.ts";
import { denseSingularValues, kroneckerSpectrum, productSpectrum } from "./spectrum.ts";

const draw = (step: number, count: number): Float32Array => normal({ seed: 4, purpose: "init", step }, count);

/** [rows, columns] as a matrix. */
const matrixOf = (data: Float32Array, rows: number): Matrix => Matrix.from1DArray(rows, data.length / rows, data);

/** Norm and effective rank by the definition, on all singular values. */
function byDefinition(matrix: Matrix): { norm: number; effectiveRank: number } {
  const values = new SingularValueDecomposition(matrix, { autoTranspose: true }).diagonal.filter((value) => value > 1e-6);
  const sum = values.reduce((a, b) => a + b, 0);
  const entropy = values.reduce((total, value) => total - (value / sum) * Math.log(value / sum), 0);
  return { norm: Math.hypot(...values), effectiveRank: Math.exp(entropy) };
}

it("the spectrum of a product is that of the whole matrix", () => {
  const [up, down] = [draw(0, 30 * 5), draw(1, 5 * 20)];
  const whole = matrixOf(up, 30).mmul(matrixOf(down, 5)).mul(0.5);
  const got = productSpectrum(up, down, 5, 0.5);
  const expected = byDefinition(whole);
  expect(got.norm).toBeCloseTo(expected.norm, 6);
  expect(got.effectiveRank).toBeCloseTo(expected.effectiveRank, 6);
});

it("that of a Kronecker product is made of its factors' singular values", () => {
  const [one, two] = [draw(2, 4 * 3), draw(3, 5 * 6)];
  const whole = matrixOf(one, 4).kroneckerProduct(matrixOf(two, 5));
  const got = kroneckerSpectrum(denseSingularValues(one, 4), denseSingularValues(two, 5), 1);
  const expected = byDefinition(whole);
  expect(got.norm).toBeCloseTo(expected.norm, 5);
  expect(got.effectiveRank).toBeCloseTo(expected.effectiveRank, 5);
});

it("k equal directions have the effective rank k, one direction 1, and zeros 0", () => {
  const identity = Float32Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1);
  expect(productSpectrum(identity, identity, 3, 2)).toEqual({
    norm: Math.sqrt(12),
    effectiveRank: expect.closeTo(3, 9) as number,
  });
  expect(productSpectrum(Float32Array.of(1, 2), Float32Array.of(3, 4), 1, 1).effectiveRank).toBeCloseTo(1, 9);
  expect(productSpectrum(new Float32Array(6), draw(0, 6), 2, 1)).toEqual({ norm: 0, effectiveRank: 0 });
});
