import { expect, test } from "vitest";
import { symmetricEigenvalues } from "./eigenvalues.ts";

const eigenvalues = (rows: readonly (readonly number[])[]): number[] => [
  ...symmetricEigenvalues(rows.map((row) => Float64Array.from(row))).sort(),
];

test("the second difference of n points has the eigenvalues 2 - 2 cos(k pi / (n + 1)), also when points are shuffled", () => {
  const n = 30;
  const expected = Array.from({ length: n }, (_, k) => 2 - 2 * Math.cos(((k + 1) * Math.PI) / (n + 1)));
  // 7 and 30 have no common factor: each place comes once.
  const places = expected.map((_, i) => (7 * i) % n);
  const matrix = places.map((a) => places.map((b) => (a === b ? 2 : Math.abs(a - b) === 1 ? -1 : 0)));
  for (const [k, value] of eigenvalues(matrix).entries()) expect(value).toBeCloseTo(expected[k] ?? NaN, 12);
});

test("a matrix of ones has its size and zeros, and a diagonal one its diagonal", () => {
  const ones = eigenvalues(Array.from({ length: 6 }, () => new Array<number>(6).fill(1)));
  expect(ones.at(-1)).toBeCloseTo(6, 12);
  for (const value of ones.slice(0, -1)) expect(Math.abs(value)).toBeLessThan(1e-12);
  expect(eigenvalues([[3, 0, 0], [0, -1, 0], [0, 0, 2]])).toEqual([-1, 2, 3]); // prettier-ignore
  expect(eigenvalues([[5]])).toEqual([5]);
});

test("sums and sums of squares of eigenvalues are those of a full matrix", () => {
  const n = 40;
  const matrix = Array.from({ length: n }, (_, i) =>
    Array.from({ length: n }, (_, j) => Math.sin(3 * i * j + i + j) + 1 / (1 + i + j)),
  );
  const values = eigenvalues(matrix);
  const flat = matrix.flat();
  const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
  expect(sum(values)).toBeCloseTo(sum(matrix.map((row, i) => row[i] ?? 0)), 10);
  expect(sum(values.map((value) => value ** 2))).toBeCloseTo(sum(flat.map((value) => value ** 2)), 8);
});
