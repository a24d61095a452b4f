/** The held-out part: the same for the same seed and names, in any order. */
import { expect, test } from "vitest";
import { chooseHeldOut } from "./split.ts";

const names = Array.from({ length: 40 }, (_, i) => `picture-${i}`);

test("the choice is the same in any order of the names", () => {
  expect(chooseHeldOut([...names].reverse(), 7)).toEqual(chooseHeldOut(names, 7));
  expect(chooseHeldOut(names, 7)).toEqual(["picture-15", "picture-19", "picture-25", "picture-7", "picture-9"]);
});

test("another seed chooses others", () => {
  expect(chooseHeldOut(names, 8)).not.toEqual(chooseHeldOut(names, 7));
});

test("about the fraction is kept out: at least one, at most sixteen, never all", () => {
  const count = (total: number, fraction?: number) =>
    chooseHeldOut(
      Array.from({ length: total }, (_, i) => `n${i}`),
      1,
      fraction,
    ).length;
  expect([0, 1, 2, 5, 8, 20, 40, 1000].map((total) => count(total))).toEqual([0, 0, 1, 1, 1, 2, 5, 16]);
  expect(count(3, 1)).toBe(2);
  expect(count(20, 0.15)).toBe(3);
});

test("one picture more changes the choice by one at most", () => {
  const before = chooseHeldOut(names, 3);
  for (let i = 40; i < 60; i++) {
    const after = new Set(chooseHeldOut([...names, `picture-${i}`], 3));
    expect(before.filter((name) => !after.has(name)).length).toBeLessThanOrEqual(1);
  }
});

test("over many seeds each name is chosen about equally often", () => {
  const counts = new Map<string, number>();
  for (let seed = 0; seed < 2000; seed++) {
    for (const name of chooseHeldOut(names, seed)) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  // 2,000 draws of 5 in 40: 250 each, standard deviation 15.
  for (const name of names) expect(Math.abs((counts.get(name) ?? 0) - 250)).toBeLessThan(75);
});
