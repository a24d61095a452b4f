/** The held-out part: the same for the same seed and names, in any order. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { findClusters } from "./clusters.ts";
import { chooseHeldOut, type HoldOutChoice, proposeHoldOut, usualHoldOut } from "./split.ts";

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

/** Descriptors along axes: the same number is the same look, others are unrelated. */
const axis = (i: number): Int8Array => Int8Array.from({ length: 144 }, (_, k) => (k === i ? 127 : 0));

interface Pair {
  readonly a: number;
  readonly b: number;
}

/** Proposes for pictures of the given looks. */
function propose(looks: readonly number[], alike: readonly Pair[], choice: HoldOutChoice = usualHoldOut): readonly number[] {
  const pictures = looks.map((_, i) => `picture ${i}`);
  return proposeHoldOut({ names: pictures, clusters: findClusters(looks.map(axis)), alike }, choice);
}

const twoLooks = Array.from({ length: 20 }, (_, i) => i % 2);

test("a proposal takes from every cluster, and leaves each its middle", () => {
  const chosen = propose(twoLooks, []);
  expect(chosen).toHaveLength(2);
  expect(chosen.map((i) => i % 2).sort()).toEqual([0, 1]);
  const middles = findClusters(twoLooks.map(axis)).map(([first]) => first);
  for (let seed = 0; seed < 50; seed++)
    for (const middle of middles) expect(propose(twoLooks, [], { seed, share: 0.5 })).not.toContain(middle);
});

test("another seed proposes others, the same one the same", () => {
  const of = (seed: number) => propose(twoLooks, [], { seed, share: 0.12 });
  expect(of(7)).toEqual(of(7));
  expect(new Set([1, 2, 3, 4, 5, 6].map((seed) => of(seed).join())).size).toBeGreaterThan(3);
});

test("where all pictures differ, each is held out about equally often over many seeds", () => {
  const counts = new Map<number, number>();
  const looks = Array.from({ length: 20 }, (_, i) => i);
  for (let seed = 0; seed < 500; seed++)
    for (const i of propose(looks, [], { seed, share: 0.2 })) counts.set(i, (counts.get(i) ?? 0) + 1);
  // 500 draws of 4 in 20: 100 each, standard deviation 9.
  for (const i of looks) expect(Math.abs((counts.get(i) ?? 0) - 100)).toBeLessThan(45);
});

test("nothing is proposed of fewer than 15 pictures, of none that is to be held out, and of a set that is all alike", () => {
  expect(propose(twoLooks.slice(0, 14), [])).toEqual([]);
  expect(propose(twoLooks, [], { seed: 1, share: 0 })).toEqual([]);
  const chain = Array.from({ length: 19 }, (_, a) => ({ a, b: a + 1 }));
  expect(propose(twoLooks, chain)).toEqual([]);
});

test("single pictures go before groups, and a group goes out whole where there is room for it", () => {
  // Of one look there are 18 copies of three, of the other two that belong together.
  const looks = Array.from({ length: 20 }, (_, i) => (i < 18 ? 0 : 1));
  const thirds = Array.from({ length: 18 }, (_, b) => ({ a: b % 6, b })).filter(({ a, b }) => a !== b);
  expect(propose(looks, [...thirds, { a: 18, b: 19 }])).toEqual([18, 19]);
  const six = propose(looks, [...thirds, { a: 18, b: 19 }], { seed: 1, share: 0.25 });
  expect(six).toHaveLength(5);
  expect(new Set(six.slice(0, 3).map((i) => i % 6)).size).toBe(1);
});

test("no picture that is held out has one like it in training, and there are no more than asked for", () => {
  const sets = fc.integer({ min: 15, max: 40 }).chain((count) =>
    fc.record({
      looks: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: count, maxLength: count }),
      alike: fc.array(fc.record({ a: fc.nat(count - 1), b: fc.nat(count - 1) }), { maxLength: 30 }),
      seed: fc.nat(1000),
      share: fc.double({ min: 0.01, max: 0.5, noNaN: true }),
    }),
  );
  fc.assert(
    fc.property(sets, ({ looks, alike, seed, share }) => {
      const chosen = new Set(propose(looks, alike, { seed, share }));
      for (const { a, b } of alike) expect(chosen.has(a)).toBe(chosen.has(b));
      expect(chosen.size).toBeLessThanOrEqual(Math.min(16, Math.max(2, Math.round(looks.length * share))));
    }),
  );
});
