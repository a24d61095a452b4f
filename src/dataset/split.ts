/** Chooses the pictures that are kept out of training, to measure on: the same for the same seed and names, in any order. */
import { createHash } from "node:crypto";

/** Enough for a steady mean; more would only take pictures away from training. */
const MAX_HELD_OUT = 16;

/**
 * Names of the held-out pictures, sorted: about `fraction` of them, at least 1 and at most 16. A name's rank depends on it and
 * the seed alone, so adding a picture changes the choice by one at most.
 *
 * @returns none when there are fewer than 2 names, for nothing would be left to train on
 * @example chooseHeldOut(["a", "b", "c"], 42); // one of them
 */
export function chooseHeldOut(names: readonly string[], seed: number, fraction = 0.12): string[] {
  const distinct = [...new Set(names)];
  if (distinct.length < 2) return [];
  const count = Math.min(MAX_HELD_OUT, distinct.length - 1, Math.max(1, Math.round(distinct.length * fraction)));
  const ranked = distinct
    .map((name) => ({ name, rank: createHash("sha256").update(`${seed}\0${name}`).digest("hex") }))
    .sort((a, b) => (a.rank < b.rank ? -1 : 1));
  return ranked
    .slice(0, count)
    .map(({ name }) => name)
    .sort();
}
