/** How varied a set is: clusters of pictures that look alike, and a diversity score. Pure. */
import { openDescriptorList } from "./descriptor-search.ts";
import { symmetricEigenvalues } from "./eigenvalues.ts";
import { thresholds } from "./thresholds.ts";

/** Pictures by their place in the list; the first is the one nearest to all others of the cluster. */
export type Cluster = readonly number[];

/** Pictures that the exact measure of diversity is taken over; more are sampled evenly. */
const MAX_FOR_DIVERSITY = 150;

/** Cosine of two descriptors of `describeLayout`, -1..1. */
export function likeness(a: Int8Array, b: Int8Array): number {
  let dot = 0;
  let lengths = 0;
  let lengthA = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i] ?? 0;
    const y = b[i] ?? 0;
    dot += x * y;
    lengthA += x * x;
    lengths += y * y;
  }
  return dot / Math.max(1, Math.sqrt(lengthA * lengths));
}

/**
 * Clusters by the leader method: a picture joins the nearest leader that is near enough, or becomes one. Linear in clusters, which for
 * sets of thousands matters more than the finer order of agglomeration. The largest cluster comes first.
 */
export function findClusters(descriptors: readonly Int8Array[]): readonly Cluster[] {
  const clusters: number[][] = [];
  const leaders = openDescriptorList(descriptors.length);
  for (const [index, descriptor] of descriptors.entries()) {
    const nearest = leaders.nearest(descriptor, thresholds.clusterLikeness.value);
    if (nearest === undefined) clusters[leaders.add(descriptor)] = [index];
    else clusters[nearest]?.push(index);
  }
  return clusters.map((members) => medoidFirst(members, descriptors)).sort((a, b) => b.length - a.length);
}

/** The member with the largest mean likeness to the others first; of large clusters by a sample. */
function medoidFirst(members: readonly number[], descriptors: readonly Int8Array[]): Cluster {
  const sample = members.filter((_, i) => i % Math.ceil(members.length / 40) === 0);
  const none = new Int8Array();
  const scores = sample.map((index) =>
    sample.reduce((sum, other) => sum + likeness(descriptors[index] ?? none, descriptors[other] ?? none), 0),
  );
  const medoid = sample[scores.indexOf(Math.max(...scores))];
  return medoid === undefined ? members : [medoid, ...members.filter((index) => index !== medoid)];
}

/**
 * The Vendi score (Friedman and Dieng 2022): exp of the entropy of the eigenvalues of K / n, the number of really different pictures
 * that the set amounts to. K is exp(-(1 - cosine) / width): 1 for equal pictures, near 0 for unrelated ones.
 *
 * @returns over the number of pictures: 1 when all differ, 1 / n when all are equal
 */
export function measureDiversity(descriptors: readonly Int8Array[]): number {
  const step = Math.max(1, descriptors.length / MAX_FOR_DIVERSITY);
  const sample = Array.from(
    { length: Math.min(descriptors.length, MAX_FOR_DIVERSITY) },
    (_, i) => descriptors[Math.floor(i * step)],
  );
  const n = sample.length;
  if (n < 2) return 1;
  const width = thresholds.diversityWidth.value;
  const none = new Int8Array();
  const kernel = sample.map((a) =>
    Float64Array.from(sample, (b) => Math.exp(-(1 - likeness(a ?? none, b ?? none)) / width) / n),
  );
  const entropy = symmetricEigenvalues(kernel).reduce((sum, value) => (value > 1e-12 ? sum - value * Math.log(value) : sum), 0);
  return Math.exp(entropy) / n;
}
