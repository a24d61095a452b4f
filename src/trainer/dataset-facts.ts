/** What the planner is told of a dataset. */
import type { BaseModel } from "../checkpoints/base.ts";
import { insertTrigger } from "../dataset/captions.ts";
import type { Dataset } from "../dataset/read.ts";
import type { DatasetFacts } from "../planner/plan.ts";
import { longestCaption } from "./text-form.ts";

/**
 * The facts of a dataset that `planTraining` goes by.
 *
 * @param reader the base, whose text encoders count the captions' tokens, and the trigger word that will stand in front of them;
 *   without it they are not counted, and the plan takes the base's own length
 */
export function describeDataset(
  { folder, items }: Dataset,
  reader?: { readonly base: Pick<BaseModel, "textEncoders">; readonly trigger: string | null | undefined },
): DatasetFacts {
  const triggered = items.map(({ caption }) => insertTrigger(caption, reader?.trigger ?? "").caption);
  return {
    folder,
    pictures: items.length,
    picturesPerEpoch: items.reduce((sum, { repeats }) => sum + repeats, 0),
    captions: [...new Set(items.map(({ caption }) => caption))].filter((caption) => caption !== ""),
    longestCaption: reader && longestCaption(reader.base, triggered),
    maxAspect: Math.max(1, ...items.map(({ widthPx, heightPx }) => Math.max(widthPx / heightPx, heightPx / widthPx))),
  };
}
