import { expect, test } from "vitest";
import { type Hash, hamming, indexHashes } from "./hash-index.ts";
import { averageParts, sumAreas } from "./measure/areas.ts";
import { measureBorders } from "./measure/borders.ts";

/** Whole numbers below 2^32, the same in every run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 0x85ebca6b) + 0x9e3779b9) >>> 0;
    return state;
  };
}

test("an index finds the hashes that comparing each with each finds, each once", () => {
  const next = numbers(7);
  const hashes: Hash[] = [];
  for (let i = 0; i < 400; i++) {
    const [low, high] = hashes[i - 40] ?? [next(), next()];
    // Every hash after the first forty is an earlier one with a few bits turned.
    const flips = i < 40 ? 0 : next() & next() & next();
    hashes.push([(low ^ flips) >>> 0, (high ^ (flips >>> 3)) >>> 0]);
  }
  const index = indexHashes(hashes);
  for (const distance of [3, 10, 15]) {
    for (const [place, hash] of hashes.entries()) {
      const found: number[] = [];
      index.near(hash, distance, (other) => found.push(other));
      const wanted = hashes.flatMap((other, i) => (hamming(hash, other) <= distance ? [i] : []));
      expect(found.sort((a, b) => a - b)).toEqual(wanted);
      expect(wanted).toContain(place);
    }
  }
});

test("means over windows count cells by the part of them that lies inside", () => {
  const areas = sumAreas([0, 10, 20, 30, 40, 50], 3, 2);
  const mean = (left: number, top: number, width: number, height: number): number =>
    averageParts(areas, { left, top, width, height }, 1, 1)[0] ?? NaN;
  expect(mean(0, 0, 3, 2)).toBeCloseTo(25, 5);
  expect(mean(0.5, 0, 1, 1)).toBeCloseTo(5, 5);
  expect(mean(1, 0.75, 1, 0.5)).toBeCloseTo(25, 5);
  expect([...averageParts(areas, { left: 0, top: 0, width: 3, height: 2 }, 3, 2)]).toEqual([0, 10, 20, 30, 40, 50]);
});

test("a bar on one side is measured to the pixel, and a slope like an evening sky is none", () => {
  const [widthPx, heightPx] = [120, 90];
  const paint = (shade: (x: number, y: number) => number) => {
    const data = new Uint8Array(3 * widthPx * heightPx);
    for (let i = 0; i < data.length; i++) data[i] = shade(Math.floor(i / 3) % widthPx, Math.floor(i / 3 / widthPx));
    return { widthPx, heightPx, channels: 3, data } as const;
  };
  const barred = paint((x, y) => (y >= 78 ? 240 : 60 + ((x * 7 + y * 13) % 90)));
  expect(measureBorders(barred)).toEqual({ leftPx: 0, topPx: 0, rightPx: 0, bottomPx: 12 });
  const sky = paint((x, y) => (y < 60 ? 40 + y : 160 + ((x * 7 + y * 13) % 90)));
  expect(measureBorders(sky)?.topPx).toBe(0);
});
