import { describe, expect, it } from "vitest";
import { normal } from "../diffusion/philox.ts";
import {
  addProduct,
  columnsOf,
  dots,
  multiply,
  multiplyTransposed,
  norm,
  orthonormalise,
  rowsOf,
  type Dense,
  type Vectors,
} from "./matrix.ts";
import { reduceDense, reduceProduct, type Approximation } from "./svd.ts";

let sample = 0;
function random(rows: number, columns: number): Dense {
  return { rows, columns, data: normal({ seed: 1, purpose: "noise", sample: sample++ }, rows * columns) };
}

/** a b, in float64, by the definition. */
function naiveProduct(a: Dense, b: Dense): Float64Array {
  const out = new Float64Array(a.rows * b.columns);
  for (let i = 0; i < a.rows; i++)
    for (let j = 0; j < b.columns; j++)
      for (let k = 0; k < a.columns; k++) {
        out[i * b.columns + j] =
          (out[i * b.columns + j] ?? 0) + (a.data[i * a.columns + k] ?? 0) * (b.data[k * b.columns + j] ?? 0);
      }
  return out;
}

/** A matrix with the given singular values, as two factors and as a whole. */
function withSingularValues(
  rows: number,
  columns: number,
  values: readonly number[],
): { up: Dense; down: Dense; whole: Dense } {
  const left = orthonormalise(columnsOf(random(rows, values.length)));
  const right = orthonormalise(columnsOf(random(columns, values.length)));
  const up = new Float32Array(rows * values.length);
  values.forEach((value, k) => {
    for (let i = 0; i < rows; i++) up[i * values.length + k] = value * (left.data[k * rows + i] ?? 0);
  });
  const ups = { rows, columns: values.length, data: up };
  const downs = { rows: values.length, columns, data: Float32Array.from(right.data) };
  return { up: ups, down: downs, whole: { rows, columns, data: Float32Array.from(naiveProduct(ups, downs)) } };
}

function relativeDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return norm(Array.from(a, (value, i) => value - (b[i] ?? NaN))) / norm(b);
}

const rebuilt = ({ up, down }: Approximation): Float64Array => naiveProduct(up, down);

/** How far the vectors are from orthonormal: the largest number of Q^T Q - I. */
function skew(q: Vectors): number {
  return Math.max(...dots(q, q).map((value, at) => Math.abs(value - (at % (q.count + 1) === 0 ? 1 : 0))));
}

describe("products", () => {
  it.each([[1, 1, 1], [5, 7, 3], [6, 1030, 4], [9, 33, 9]])("of [%i, %i] with %i vectors match naive loops, both ways", (rows, columns, count) => {
    const d = random(rows, columns);
    const [x, y] = [random(columns, count), random(rows, count)];
    const transposed = { rows: columns, columns: rows, data: Float32Array.from(columnsOf(d).data) };
    const asMatrix = (v: Vectors): Float64Array => columnsOf({ rows: v.count, columns: v.length, data: Float32Array.from(v.data) }).data;
    expect(relativeDistance(asMatrix(multiply(d, columnsOf(x))), naiveProduct(d, x))).toBeLessThan(1e-7);
    expect(relativeDistance(asMatrix(multiplyTransposed(d, columnsOf(y))), naiveProduct(transposed, y))).toBeLessThan(1e-7);
  }); // prettier-ignore

  it("addProduct adds scale x up down", () => {
    const [into, up, down] = [random(5, 11), random(5, 6), random(6, 11)];
    const expected = naiveProduct(up, down).map((value, i) => (into.data[i] ?? 0) + 0.25 * value);
    addProduct(into, up, down, 0.25);
    expect(relativeDistance(into.data, expected)).toBeLessThan(1e-7);
  });

  it("refuse sizes that do not fit", () => {
    expect(() => multiply(random(2, 3), rowsOf(random(1, 4)))).toThrow("inner sizes differ: 3 and 4");
  });
});

describe("orthonormalise", () => {
  it("gives an orthonormal basis, also of vectors that are nearly the same", () => {
    const v = rowsOf(random(1, 50));
    const close = { count: 12, length: 50, data: new Float64Array(600) };
    const noise = random(12, 50).data;
    for (let i = 0; i < 600; i++) close.data[i] = (v.data[i % 50] ?? 0) + 1e-7 * (noise[i] ?? 0);
    const basis = orthonormalise(close);
    expect(basis.count).toBe(12);
    expect(skew(basis)).toBeLessThan(1e-14);
  });

  it("leaves out what is spanned already", () => {
    const v = rowsOf(random(4, 9));
    const twice = { count: 8, length: 9, data: Float64Array.of(...v.data, ...v.data.map((x) => 3 * x)) };
    expect(orthonormalise(twice).count).toBe(4);
    expect(orthonormalise(v, [orthonormalise(v)]).count).toBe(0);
    expect(orthonormalise(rowsOf(random(9, 4))).count).toBe(4);
  });
});

const spectrum = [8, 4, 2, 1, 0.5, 0.25];
const squares = spectrum.map((value) => value ** 2);
const share = (rank: number): number => squares.slice(0, rank).reduce((a, b) => a + b, 0) / squares.reduce((a, b) => a + b, 0);

describe.each([
  ["reduceProduct", ({ up, down }: ReturnType<typeof withSingularValues>, choice: object) => reduceProduct(up, down, choice)],
  ["reduceDense", ({ whole }: ReturnType<typeof withSingularValues>, choice: object) => reduceDense(whole, choice)],
] as const)("%s", (_, reduce) => {
  const made = [withSingularValues(40, 70, spectrum), withSingularValues(70, 40, spectrum)] as const;

  it.each([0, 1] as const)("finds the singular values and, cut at a rank, misses exactly the rest (%i)", (shape) => {
    const matrix = made[shape];
    const result = reduce(matrix, { rank: 3 });
    expect(result.rank).toBe(3);
    [8, 4, 2].forEach((value, i) => expect(result.singularValues[i]).toBeCloseTo(value, 5));
    expect(result.keptEnergy).toBeCloseTo(share(3), 6);
    const miss = relativeDistance(rebuilt(result), matrix.whole.data);
    expect(miss).toBeCloseTo(Math.sqrt(1 - share(3)), 5); // Eckart and Young: no approximation of this rank is nearer
  });

  it("gives the matrix back at its own rank, and asks for no more than that", () => {
    const result = reduce(made[0], { rank: 20 });
    expect(result.rank).toBe(6);
    expect(relativeDistance(rebuilt(result), made[0].whole.data)).toBeLessThan(1e-6);
    expect(result.keptEnergy).toBeCloseTo(1, 6);
  });

  it.each([[0.5, 1], [0.74, 1], [0.76, 2], [0.99, 4], [1, 6]])("the energy %d takes rank %i", (energy, rank) => {
    const result = reduce(made[1], { energy });
    expect(result.rank).toBe(rank);
    expect(result.keptEnergy).toBeGreaterThanOrEqual(energy * (1 - 1e-6));
  }); // prettier-ignore

  it("a rank beside an energy is the most that is taken", () => {
    expect(reduce(made[0], { energy: 0.99, rank: 2 }).rank).toBe(2);
    expect(reduce(made[0], { energy: 0.5, rank: 5 }).rank).toBe(1);
  });

  it("shares the singular values between both matrices evenly", () => {
    const { up, down } = reduce(made[0], { rank: 6 });
    const ups = dots(columnsOf(up), columnsOf(up));
    const downs = dots(rowsOf(down), rowsOf(down));
    spectrum.forEach((value, i) => {
      expect(ups[i * 7]).toBeCloseTo(value, 5);
      expect(downs[i * 7]).toBeCloseTo(value, 5);
    });
    expect(Math.abs(ups[1] ?? NaN)).toBeLessThan(1e-5);
  });

  it("gives the same bits again", () => {
    expect(reduce(made[0], { rank: 4 })).toEqual(reduce(made[0], { rank: 4 }));
  });

  it("zeros have rank 0 and lose nothing", () => {
    const zero = (rows: number, columns: number): Dense => ({ rows, columns, data: new Float32Array(rows * columns) });
    const result = reduce({ up: zero(5, 2), down: zero(2, 7), whole: zero(5, 7) }, { rank: 2 });
    expect(result).toMatchObject({
      rank: 0,
      keptEnergy: 1,
      energy: 0,
      up: { rows: 5, columns: 0 },
      down: { rows: 0, columns: 7 },
    });
  });

  it("keeps the scale of tiny and of large matrices", () => {
    for (const factor of [1e-12, 1e12]) {
      const matrix = withSingularValues(12, 9, [3 * factor, factor]);
      const result = reduce(matrix, { rank: 2 });
      expect(result.rank).toBe(2);
      expect(relativeDistance(rebuilt(result), matrix.whole.data)).toBeLessThan(1e-6);
    }
  });

  it("refuses numbers that are not finite, and no choice", () => {
    const bad = withSingularValues(5, 4, [1, 1]);
    bad.whole.data[3] = NaN;
    bad.up.data[3] = NaN;
    expect(() => reduce(bad, { rank: 1 })).toThrow("got NaN at position 3");
    expect(() => reduce(made[0], {})).toThrow("a rank or an energy needed");
    expect(() => reduce(made[0], { rank: 0 })).toThrow("a rank of 1 or more needed, got 0");
    expect(() => reduce(made[0], { energy: 1.5 })).toThrow("an energy above 0 and up to 1 needed, got 1.5");
  });
});

it("reduceProduct takes factors of more rank than the matrix is wide", () => {
  const [up, down] = [random(6, 20), random(20, 9)];
  const result = reduceProduct(up, down, { energy: 1 }, 0.5);
  expect(result.rank).toBe(6);
  expect(relativeDistance(rebuilt(result), naiveProduct(up, down).map((x) => x / 2))).toBeLessThan(1e-6); // prettier-ignore
});

it("reduceDense finds a rank beyond its first block, of a spectrum that falls slowly", () => {
  const values = Array.from({ length: 90 }, (_, i) => 1 / (1 + i / 30));
  const { whole } = withSingularValues(100, 120, values);
  const energies = values.map((value) => value ** 2);
  const total = energies.reduce((a, b) => a + b, 0);
  const needed = energies.findIndex((_, i) => energies.slice(0, i + 1).reduce((a, b) => a + b, 0) >= 0.9 * total) + 1;
  const { rank, keptEnergy } = reduceDense(whole, { energy: 0.9 });
  expect(rank).toBeGreaterThanOrEqual(needed);
  expect(rank).toBeLessThanOrEqual(needed + 1);
  expect(keptEnergy).toBeGreaterThanOrEqual(0.9);
  const cut = reduceDense(whole, { rank: 20 });
  const best = energies.slice(0, 20).reduce((a, b) => a + b, 0) / total;
  expect(cut.keptEnergy).toBeGreaterThan(0.99 * best);
});
