/** Which checkpoint becomes the result. */
import type { Validation } from "./events.ts";

export interface Choice {
  readonly step: number;
  /** A sentence. */
  readonly reason: string;
}

/** The checkpoint with the lowest held-out loss; the last one where nothing was held out or measured. */
export function chooseStep(checkpoints: readonly number[], validations: readonly Validation[]): Choice {
  const last = Math.max(...checkpoints);
  const measured = validations.filter(({ step, heldOut }) => heldOut !== null && checkpoints.includes(step));
  const [first, ...others] = measured;
  if (!first)
    return { step: last, reason: "It is the last step: no pictures were held out to tell whether an earlier one is better." };
  const best = others.reduce(
    (least, entry) => ((entry.heldOut ?? Infinity) < (least.heldOut ?? Infinity) ? entry : least),
    first,
  );
  const found = `Its loss on held-out pictures is the lowest of ${measured.length} checkpoints: ${best.ratio.toFixed(4)} of the base model's.`;
  if (best.ratio >= 1)
    return { step: best.step, reason: `${found} That is no better than the base: check captions and settings.` };
  if (best.step !== last) return { step: best.step, reason: found };
  return {
    step: best.step,
    reason: measured.length > 1 ? `${found} It is the last one, so more steps may do better still.` : found,
  };
}
