/** Which pictures each step sees: a function of (seed, step), so that resuming needs no state. */
import { permutation } from "../diffusion/philox.ts";

/** One picture in one step. */
interface Draw {
  /** Index among the bucket's own items. */
  readonly item: number;
  /** How often the item has been drawn before, over all steps. */
  readonly epoch: number;
}

export interface StepDraw {
  readonly bucket: number;
  /** How often the dataset has been gone through before, in whole. */
  readonly epoch: number;
  readonly draws: readonly Draw[];
}

/**
 * Steps of `size` pictures of one bucket each. In every epoch each bucket's pictures (repeats counted) come in a new random order; a
 * step that an epoch cannot fill is filled by the next one, so that over time every picture is shown exactly as often as its repeats
 * ask. The order of the steps of an epoch is random too.
 *
 * @param buckets for each bucket the repeats of its items
 * @returns a function from the step (0 for the first) to its pictures
 */
export function createOrder(buckets: readonly (readonly number[])[], size: number, seed: number): (step: number) => StepDraw {
  const entries = buckets.map((repeats) => repeats.flatMap((count, item) => Array.from({ length: count }, () => item)));
  /** Steps that bucket `b` has filled when `epochs` epochs have passed. */
  const filled = (b: number, epochs: number): number => Math.floor(((entries[b]?.length ?? 0) * epochs) / size);
  const stepsUntil = (epochs: number): number => entries.reduce((sum, _, b) => sum + filled(b, epochs), 0);
  if (entries.every((list) => list.length === 0)) throw new Error("createOrder: at least one picture needed, got none");

  return (step) => {
    const epoch = findEpoch(step, stepsUntil);
    const inEpoch = entries.flatMap((_, b) =>
      Array.from({ length: filled(b, epoch + 1) - filled(b, epoch) }, (_unused, i) => ({
        bucket: b,
        index: filled(b, epoch) + i,
      })),
    );
    const shuffled = permutation({ seed, purpose: "order", step: epoch, sample: 0 }, inEpoch.length);
    const chosen = inEpoch[shuffled[step - stepsUntil(epoch)] ?? 0];
    if (!chosen) throw new Error(`createOrder: step ${step} is not in epoch ${epoch}`);
    const list = entries[chosen.bucket] ?? [];
    const draws = Array.from({ length: size }, (_, i) => drawAt(list, chosen.index * size + i, seed, chosen.bucket));
    return { bucket: chosen.bucket, epoch, draws };
  };
}

/** The `position`-th picture of a bucket's endless sequence of shuffled epochs. */
function drawAt(list: readonly number[], position: number, seed: number, bucket: number): Draw {
  const epoch = Math.floor(position / list.length);
  const order = permutation({ seed, purpose: "order", step: epoch, sample: 1 + bucket }, list.length);
  return { item: list[order[position % list.length] ?? 0] ?? 0, epoch };
}

/** The epoch that a step belongs to: the last one that begins at or before it. */
function findEpoch(step: number, stepsUntil: (epochs: number) => number): number {
  let low = 0;
  let high = 1;
  while (stepsUntil(high) <= step) high *= 2;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (stepsUntil(middle) <= step) low = middle;
    else high = middle;
  }
  return low;
}
