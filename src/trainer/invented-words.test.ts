/** How a word's predictions are held against those of invented words. */
import { describe, expect, test } from "vitest";
import { normal } from "../diffusion/philox.ts";
import { chooseInvented, compareWithInvented, measureStray } from "./invented-words.ts";

const COUNT = 15;

/** Predictions of words of one kind: the same in part, and each with something of its own; the first word's is `own` times as much. */
function predict(seed: number, own: number): readonly Float32Array[] {
  const shared = normal({ seed, purpose: "noise" }, 400);
  return Array.from({ length: COUNT + 1 }, (_, word) => {
    const alone = normal({ seed, purpose: "noise", step: 1, sample: word }, 400);
    return shared.map((x, i) => 5 * x + (word === 0 ? own : 1) * (alone[i] ?? 0));
  });
}

function compare(seed: number, own: number): ReturnType<typeof compareWithInvented> {
  const [word = new Float32Array(), ...invented] = predict(seed, own);
  return compareWithInvented([measureStray(word, invented).squares]);
}

describe("a word against invented ones", () => {
  test("one of their kind is as far from their mean as they are, on average over 200 sets", () => {
    const all = Array.from({ length: 200 }, (_, seed) => compare(seed, 1));
    const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;
    // Standard error 0.0026: a distance over 400 numbers is known to 3.5 %.
    expect(Math.abs(mean(all.map(({ times }) => times)) - 1)).toBeLessThan(0.01);
    // Student's t of 14 degrees of freedom: a mean of 0 with a standard error of 0.08, and 5 % above 1.76.
    expect(Math.abs(mean(all.map(({ deviations }) => deviations)))).toBeLessThan(0.25);
    const high = all.filter(({ deviations }) => deviations > 1.76).length;
    expect(high).toBeGreaterThanOrEqual(3);
    expect(high).toBeLessThanOrEqual(20);
  });

  test("twice as much of its own is twice their distance, and many deviations", () => {
    const { times, deviations } = compare(1, 2);
    expect(times).toBeGreaterThan(1.8);
    expect(times).toBeLessThan(2.2);
    expect(deviations).toBeGreaterThan(8);
  });

  test("what all of them share does not count, and several noises are added up", () => {
    const [word = new Float32Array(), ...invented] = predict(3, 1.5);
    const { squares, mean } = measureStray(word, invented);
    const moved = [word, ...invented].map((values) => values.map((x) => x + 100));
    const [movedWord = word, ...movedInvented] = moved;
    measureStray(movedWord, movedInvented).squares.forEach((square, i) => expect(square / (squares[i] ?? 0)).toBeCloseTo(1, 3));
    expect(mean[7]).toBeCloseTo(invented.reduce((sum, values) => sum + (values[7] ?? 0), 0) / COUNT, 4);
    const once = compareWithInvented([squares]);
    const twice = compareWithInvented([squares, squares]);
    expect(twice.times).toBeCloseTo(once.times, 6);
    expect(twice.deviations).toBeCloseTo(once.deviations, 6);
  });
});

test("invented words have about as many tokens as the word, and the word itself is none of them", () => {
  const letters = (text: string): number => text.length;
  expect(chooseInvented("cat", letters).every((word) => word.length <= 4)).toBe(true);
  expect(chooseInvented("hippopotamus", letters).every((word) => word.length >= 7)).toBe(true);
  expect(chooseInvented("zwyk", letters)).toHaveLength(COUNT);
  expect(chooseInvented("zwyk", letters)).not.toContain("zwyk");
});
