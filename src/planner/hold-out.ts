/** Writes into a plan which pictures are held out, as the inspection of the dataset proposes them. Pure. */
import type { TrainPlan } from "./plan.ts";
import { heuristic } from "./sources.ts";

/**
 * @param names proposed by `proposeHoldOut` for the plan's seed and share; none where the set is too small, and the plan stays as it is
 * @returns the plan with the names, unless it has names of the user's, or holds nothing out
 */
export function withHoldOut(plan: TrainPlan, names: readonly string[]): TrainPlan {
  if (names.length === 0 || plan.heldOutFraction.value === 0 || plan.heldOut.value !== null) return plan;
  const reason = "from each group of pictures that look alike in turn, and none that is nearly the same stays in training";
  return { ...plan, heldOut: { value: names, reason, source: heuristic("kohya") } };
}
