/** What the planner is told of a dataset. */
import type { Dataset } from "../dataset/read.ts";
import type { DatasetFacts } from "../planner/plan.ts";

/** The facts of a dataset that `planTraining` goes by. */
export function describeDataset({ folder, items }: Dataset): DatasetFacts {
  return {
    folder,
    pictures: items.length,
    picturesPerEpoch: items.reduce((sum, { repeats }) => sum + repeats, 0),
    captions: [...new Set(items.map(({ caption }) => caption))].filter((caption) => caption !== ""),
    maxAspect: Math.max(1, ...items.map(({ widthPx, heightPx }) => Math.max(widthPx / heightPx, heightPx / widthPx))),
  };
}
