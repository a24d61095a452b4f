import { expect, test } from "vitest";
import { type Face, findBoxes, keepSurest } from "./boxes.ts";

const whole = { left: 0, top: 0, width: 192, height: 192 };

test("a box is centred on its place, moved by what the network says", () => {
  const scores = new Float32Array(4).fill(-20);
  const boxes = new Float32Array(4 * 16);
  // The second of 2 x 2 places has its middle at (144, 48); the box is 96 wide, 48 tall, 12 to the left and 24 below.
  scores[1] = 2;
  boxes.set([-12, 24, 96, 48], 16);
  const [face, ...others] = findBoxes({ boxes, scores }, { inset: whole, sidePx: 192, surest: 0.5 });
  expect(others).toEqual([]);
  expect(face).toMatchObject({ left: 84 / 192, top: 48 / 192, width: 0.5, height: 0.25 });
  expect(face?.score).toBeCloseTo(1 / (1 + Math.exp(-2)), 6);
});

test("shares are those of the picture, not of the square that it lies in", () => {
  const boxes = new Float32Array(16);
  boxes.set([0, 0, 48, 48]);
  const inset = { left: 48, top: 0, width: 96, height: 192 };
  const [face] = findBoxes({ boxes, scores: Float32Array.of(3) }, { inset, sidePx: 192, surest: 0.5 });
  expect(face).toMatchObject({ left: 0.25, top: 0.375, width: 0.5, height: 0.25 });
});

test("of boxes that overlap by more than 30 % the surest stays", () => {
  const at = (left: number, score: number): Face => ({ left, top: 0, width: 1, height: 1, score });
  // Moved by 0.5 two boxes share 0.5 of 1.5; moved by 0.6, 0.4 of 1.6.
  expect(keepSurest([at(0, 0.7), at(0.5, 0.9)])).toEqual([at(0.5, 0.9)]);
  expect(keepSurest([at(0, 0.7), at(0.6, 0.9)])).toEqual([at(0.6, 0.9), at(0, 0.7)]);
});
