/** How many pictures a step sees. */
import type { TrainSettings } from "./plan.ts";

/** Pictures that one optimizer step sees. */
export function picturesPerStep({ batch, accumulation, gpus }: Pick<TrainSettings, "batch" | "accumulation" | "gpus">): number {
  return batch * accumulation * gpus;
}
