/** A small run in a temporary folder: toy base, toy dataset, and the plan over both. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openBase } from "../src/checkpoints/open-base.ts";
import { readDataset } from "../src/dataset/read.ts";
import { createOrtEngine } from "../src/engines/ort/engine.ts";
import { planTraining, type TrainPlan, type UserChoices } from "../src/planner/plan.ts";
import { describeDataset } from "../src/trainer/dataset-facts.ts";
import type { TrainEvent } from "../src/trainer/events.ts";
import type { TrainOptions } from "../src/trainer/prepare.ts";
import { type ToyFamily, writeToyBase, writeToyDataset } from "./toy-base.ts";

export const toyThreads = 1;
export const toyOptions: TrainOptions = {
  createEngine: () => createOrtEngine({ threads: toyThreads }),
  hashCacheFile: undefined,
};

export interface Toy {
  readonly folder: string;
  readonly baseFolder: string;
  /** A plan of 4 steps of 2 pictures, with a checkpoint every 2, no previews, and the given changes. */
  plan(name: string, choices?: Partial<UserChoices>): Promise<TrainPlan>;
}

export async function createToy(family: ToyFamily): Promise<Toy> {
  const folder = await mkdtemp(join(tmpdir(), "gesso-toy-"));
  const baseFolder = await writeToyBase(join(folder, "base"), family);
  const dataset = await readDataset(await writeToyDataset(join(folder, "data"), 6));
  return {
    folder,
    baseFolder,
    async plan(name, choices = {}) {
      const base = await openBase(baseFolder, { hashCacheFile: undefined });
      return planTraining(describeDataset(dataset, { base, trigger: choices.trigger ?? "toy" }), base, undefined, {
        name,
        type: "style",
        runFolder: join(folder, "runs", name),
        cacheFolder: join(folder, "cache"),
        createdAt: "2026-01-01T00:00:00.000Z",
        trigger: "toy",
        rank: 4,
        alpha: 4,
        steps: 4,
        batch: 2,
        checkpointEvery: 2,
        validateEvery: 2,
        previewPrompts: [],
        flip: true,
        ...choices,
      });
    },
  };
}

/** All events of a run; `onEvent` sees each as it comes. */
export async function collect(
  run: AsyncGenerator<TrainEvent, void>,
  onEvent: (event: TrainEvent) => void = () => undefined,
): Promise<TrainEvent[]> {
  const events: TrainEvent[] = [];
  for await (const event of run) {
    onEvent(event);
    events.push(event);
  }
  return events;
}
