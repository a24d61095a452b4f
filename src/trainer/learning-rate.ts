/** The learning rate over a run. */

export interface RateSchedule {
  readonly schedule: "constant" | "cosine";
  readonly steps: number;
  readonly warmupSteps: number;
}

/**
 * What the peak rate is multiplied with at a step (1 for the first): a straight rise over the warm-up, then constant, or half a cosine
 * down to zero just after the last step (Loshchilov and Hutter 2017, eq. 5).
 */
export function rateFactor(step: number, { schedule, steps, warmupSteps }: RateSchedule): number {
  if (step <= warmupSteps) return step / warmupSteps;
  if (schedule === "constant") return 1;
  const progress = (step - 1 - warmupSteps) / Math.max(1, steps - warmupSteps);
  return 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress)));
}
