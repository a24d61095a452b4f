import { describe, expect, test } from "vitest";
import { outlineOf } from "./outline.ts";

const side = 64;

/** [3, side, side]: a bar of one colour on another, upright or lying. */
function bar(isUpright: boolean, colour: readonly number[], ground: readonly number[]): Float32Array {
  return Float32Array.from({ length: 3 * side * side }, (_, i) => {
    const pixel = i % (side * side);
    const across = isUpright ? pixel % side : Math.floor(pixel / side);
    const channel = Math.floor(i / (side * side));
    return (across >= 24 && across < 40 ? colour : ground)[channel] ?? 0;
  });
}

function agreement(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0);
}

const [white, red, blue] = [
  [1, 1, 1],
  [1, -1, -1],
  [-1, -1, 1],
] as const;

describe("outlines", () => {
  test("have length 1, and 9 orientations in each cell of 16 px", () => {
    const outline = outlineOf(bar(true, red, white), side);
    expect(outline).toHaveLength(4 * 4 * 9);
    expect(agreement(outline, outline)).toBeCloseTo(1, 5);
  });

  test("do not change with colours, nor with what is dark and what is light", () => {
    const outline = outlineOf(bar(true, red, white), side);
    expect(agreement(outline, outlineOf(bar(true, blue, white), side))).toBeCloseTo(1, 5);
    expect(agreement(outline, outlineOf(bar(true, white, red), side))).toBeCloseTo(1, 5);
  });

  test("tell an upright bar from a lying one", () => {
    expect(agreement(outlineOf(bar(true, red, white), side), outlineOf(bar(false, red, white), side))).toBeLessThan(0.1);
  });

  test("of a picture of one colour are zero", () => {
    expect(Math.max(...outlineOf(bar(true, red, red), side))).toBe(0);
  });
});
