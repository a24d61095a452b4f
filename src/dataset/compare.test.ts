import sharp from "sharp";
import { expect, test } from "vitest";
import { findClusters, measureDiversity } from "./clusters.ts";
import { type Comparable, findCopies, groupPairs } from "./compare.ts";
import { hamming } from "./hash-index.ts";
import { hashBytes, measureBytes } from "./measure/picture.ts";

/** Descriptors along axes: the same number is the same picture, others are unrelated. */
const axis = (i: number): Int8Array => Int8Array.from({ length: 144 }, (_, k) => (k === i ? 127 : 0));

test("hamming counts bits in which hashes differ, the highest included", () => {
  expect(hamming([0x80000000, 1], [0, 0])).toBe(2);
  expect(hamming([0xffffffff, 0xffffffff], [0, 0])).toBe(64);
});

test("pairs make groups through what they share", () => {
  expect(
    groupPairs(6, [
      { a: 0, b: 2 },
      { a: 2, b: 5 },
      { a: 3, b: 4 },
    ]),
  ).toEqual([
    [0, 2, 5],
    [3, 4],
  ]);
});

test("diversity is near 1 for unrelated pictures, and 1 / n for one picture n times", () => {
  expect(measureDiversity([0, 1, 2, 3, 4].map(axis))).toBeGreaterThan(0.95);
  expect(measureDiversity([7, 7, 7, 7].map(axis))).toBeCloseTo(0.25, 3);
  expect(measureDiversity([1, 1, 2, 2].map(axis))).toBeGreaterThan(0.45);
  expect(measureDiversity([1, 1, 2, 2].map(axis))).toBeLessThan(0.55);
});

test("clusters hold what is alike, the largest first", () => {
  expect(findClusters([3, 1, 1, 2, 1].map(axis)).map((cluster) => cluster.toSorted())).toEqual([[1, 2, 4], [0], [3]]);
});

test("a picture in few dark greens is a copy when it was made smaller and lighter; another in the same greens is none", async () => {
  const read = async (bytes: Buffer): Promise<Comparable> => ({
    fileHash: hashBytes(bytes),
    ...(await measureBytes("picture", bytes)).measurement,
  });
  const draw = (turn: number): Promise<Buffer> => {
    const leaves = Array.from({ length: 60 }, (_, i) => {
      const [x, y] = [(i * 97 * turn + 31 * turn) % 640, (i * 61 * turn + 17) % 480];
      return `<ellipse cx="${x}" cy="${y}" rx="${14 + ((i * 13 * turn) % 40)}" ry="${8 + ((i * 7) % 25)}" fill="rgb(14 ${62 - ((i * turn) % 5)} 10)"/>`;
    });
    const page = `<svg width="640" height="480"><rect width="640" height="480" fill="#103f0c"/>${leaves.join("")}</svg>`;
    return sharp(Buffer.from(page)).flatten().png().toBuffer();
  };
  const own = await draw(1);
  const lighter = await sharp(own).resize(420).linear(1.06, 4).jpeg({ quality: 80 }).toBuffer();
  const pairs = findCopies(await Promise.all([own, lighter, await draw(3)].map(read)));
  expect(pairs.map(({ a, b, kind }) => [a, b, kind])).toEqual([[0, 1, "altered"]]);
});
