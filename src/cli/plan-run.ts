/** From a dataset folder and choices to a plan, with what the page before the run says of the dataset. */
import { join, resolve } from "node:path";
import {
  type BaseModel,
  chooseEngine,
  type DatasetItem,
  type Dataset,
  describeDataset,
  type EngineRequest,
  insertTrigger,
  planTraining,
  readDataset,
  type TrainPlan,
  type UserChoices,
  userCacheFolder,
} from "../index.ts";
import type { DatasetSummary } from "./plan-page.ts";

export interface PlannedRun {
  readonly plan: TrainPlan;
  readonly summary: DatasetSummary;
}

/** What a command decides; where encodings are kept and the date are the same for all. */
export type RunChoices = Omit<UserChoices, "cacheFolder" | "createdAt">;

/** @throws UserError for a dataset, choices or an engine that cannot work */
export async function planRun(
  datasetFolder: string,
  base: BaseModel,
  choices: RunChoices,
  engine: EngineRequest,
): Promise<PlannedRun> {
  const dataset = await readDataset(resolve(datasetFolder), { skipBroken: choices.skipBroken ?? false });
  const device = await chooseEngine(engine, process.env);
  const cacheFolder = join(userCacheFolder(), "encoded");
  const plan = planTraining(describeDataset(dataset, { base, trigger: choices.trigger }), base, device, {
    ...choices,
    cacheFolder,
    createdAt: new Date().toISOString(),
  });
  return { plan, summary: summarise(dataset, plan.trigger.value) };
}

function summarise({ folder, items, findings }: Dataset, trigger: string | null): DatasetSummary {
  const sides = items.map(sidesOf).sort((a, b) => a[0] * a[1] - b[0] * b[1]);
  return {
    folder,
    pictures: items.length,
    captioned: items.filter(({ caption }) => caption !== "").length,
    masked: items.filter(({ maskPath }) => maskPath !== undefined).length,
    triggerAdded: items.filter(({ caption }) => insertTrigger(caption, trigger ?? "").isAdded).length,
    smallest: sides[0] ?? [0, 0],
    largest: sides.at(-1) ?? [0, 0],
    findings,
  };
}

function sidesOf({ widthPx, heightPx }: DatasetItem): readonly [number, number] {
  return [widthPx, heightPx];
}
