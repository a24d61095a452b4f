/** Chooses the pictures that are kept out of training, to measure on: the same for the same seed and names, in any order. */
import { createHash } from "node:crypto";
import type { Cluster } from "./clusters.ts";
import { type CopyPair, groupPairs } from "./compare.ts";
import { thresholds } from "./thresholds.ts";

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
  const ranked = distinct.map((name) => ({ name, rank: rankOf(name, seed) })).sort((a, b) => (a.rank < b.rank ? -1 : 1));
  return ranked
    .slice(0, count)
    .map(({ name }) => name)
    .sort();
}

/** How much is held out, and by which seed. */
export interface HoldOutChoice {
  readonly seed: number;
  /** Of the pictures. */
  readonly share: number;
}

/** What `gesso inspect` proposes, and `gesso train` without other wishes takes. */
export const usualHoldOut: HoldOutChoice = { seed: 42, share: thresholds.holdOutShare.value };

/** What is known of a set's pictures, by their places in the list. */
export interface SplitFacts {
  readonly names: readonly string[];
  readonly clusters: readonly Cluster[];
  /** Copies of each other, and pictures so alike that they might be. */
  readonly alike: readonly Pick<CopyPair, "a" | "b">[];
}

/**
 * Pictures to keep out of training, so that they stand for the whole set and none that is like them stays in it: from the clusters in turn,
 * largest first, equal ones by the seed; pictures that are alike go out together or stay together. The middle of a cluster stays: it is what the cluster is about.
 *
 * @returns places in the list, ascending; none for fewer pictures than `holdOutMinimum`, and where all are alike
 */
export function proposeHoldOut({ names, clusters, alike }: SplitFacts, { seed, share }: HoldOutChoice): readonly number[] {
  if (names.length < thresholds.holdOutMinimum.value || share === 0) return [];
  const wanted = Math.min(MAX_HELD_OUT, Math.max(2, Math.round(names.length * share)));
  const queues = queueUnits(names, clusters, groupPairs(names.length, alike), seed);
  const chosen: number[] = [];
  // Each turn takes at most one unit of each cluster, and only what there is still room for.
  for (let taken = -1; taken !== chosen.length && chosen.length < wanted;) {
    taken = chosen.length;
    for (const queue of queues) {
      const at = queue.findIndex((unit) => chosen.length + unit.length <= wanted);
      if (at >= 0) chosen.push(...queue.splice(at, 1).flat());
    }
  }
  return chosen.sort((a, b) => a - b);
}

/** Pictures that go out together. */
type Unit = readonly number[];

/** Of each cluster, what may go out, in turn: single pictures first, then the smaller groups; by the seed's rank among their like. */
function queueUnits(names: readonly string[], clusters: readonly Cluster[], groups: readonly Unit[], seed: number): Unit[][] {
  const unitOf = new Map<number, Unit>(groups.flatMap((group) => group.map((place) => [place, group] as const)));
  const seen = new Set<Unit>();
  const rankAt = (place: number | undefined): string => rankOf(names[place ?? 0] ?? "", seed);
  // Where all pictures differ, each is a cluster: which come first is the seed's to say, not the files' order.
  const inTurn = clusters.toSorted((a, b) => b.length - a.length || (rankAt(a[0]) < rankAt(b[0]) ? -1 : 1));
  return inTurn.map((cluster) => {
    const units: Unit[] = [];
    for (const place of cluster) {
      const unit = unitOf.get(place) ?? [place];
      // A group that reaches into two clusters belongs to the larger.
      if (!seen.has(unit)) units.push(unit);
      seen.add(unit);
    }
    const [middle, ...others] = units;
    const rank = (unit: Unit): string => unit.map(rankAt).sort()[0] ?? "";
    const free = others.length > 0 || middle === undefined ? others : [middle];
    return free
      .map((unit) => ({ unit, rank: rank(unit) }))
      .sort((a, b) => a.unit.length - b.unit.length || (a.rank < b.rank ? -1 : 1))
      .map(({ unit }) => unit);
  });
}

function rankOf(name: string, seed: number): string {
  return createHash("sha256").update(`${seed}\0${name}`).digest("hex");
}
