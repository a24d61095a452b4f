/** What a preflight is on: the pictures that take the most, and the step that shows them. */
import type { TrainSettings } from "../planner/plan.ts";
import type { StepDraw } from "./order.ts";
import type { RunPictures } from "./pictures.ts";

/** The bucket in training with the most pixels, and up to a step's pictures of it. */
interface LargestPictures {
  readonly bucket: number;
  /** Indices among all pictures, in the order of the bucket's own. */
  readonly trained: readonly number[];
}

function largestTrained({ buckets, pictures }: RunPictures, perStep: number): LargestPictures {
  const areaOf = (bucket: number): number => (buckets[bucket]?.widthPx ?? 0) * (buckets[bucket]?.heightPx ?? 0);
  const used = [...new Set(pictures.filter(({ isHeldOut }) => !isHeldOut).map(({ bucketIndex }) => bucketIndex))];
  const bucket = used.reduce((a, b) => (areaOf(b) > areaOf(a) ? b : a), used[0] ?? 0);
  const trained = pictures.flatMap(({ bucketIndex, isHeldOut }, i) => (bucketIndex === bucket && !isHeldOut ? [i] : []));
  return { bucket, trained: trained.slice(0, perStep) };
}

/** Indices of the pictures that have to be encoded for a preflight. */
export function preflightPictures(run: RunPictures, { batch, accumulation }: TrainSettings): ReadonlySet<number> {
  return new Set(largestTrained(run, batch * accumulation).trained);
}

/** A step on them; where there are fewer than a step holds, they come again. */
export function preflightDraw(run: RunPictures, { batch, accumulation }: TrainSettings): StepDraw {
  const { bucket, trained } = largestTrained(run, batch * accumulation);
  const draws = Array.from({ length: batch * accumulation }, (_, i) => ({ item: i % Math.max(1, trained.length), epoch: 0 }));
  return { bucket, epoch: 0, draws };
}
