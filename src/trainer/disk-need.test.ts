/** What a run writes, and whether the disks have room for it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { datasetFacts, sd15 } from "../../test/plan-facts.ts";
import { planTraining, settingsOf, type TrainSettings, type UserChoices } from "../planner/plan.ts";
import { RESUMABLE_CHECKPOINTS } from "./checkpoint.ts";
import { type DiskUse, findFullDisk, measureRunFolder, runFolderBytes } from "./disk-need.ts";

const checkpoint = { adapter: 1e9, state: 6e9 };

function settings(choices: Partial<UserChoices>): TrainSettings {
  const fixed = {
    name: "fox",
    type: "style",
    runFolder: "runs/fox",
    cacheFolder: "cache",
    createdAt: "",
    trigger: "fox",
  } as const;
  return settingsOf(planTraining(datasetFacts, sd15, undefined, { previewPrompts: [], ...fixed, ...choices }));
}

/** The most that the folder gains, with every file written and thinned as a run does it. */
function fullest({ steps, checkpointEvery }: TrainSettings, stepsDone = 0): number {
  const states: number[] = [];
  let adapters = 0;
  let most = 0;
  let there = 0;
  const bytes = (): number => adapters * checkpoint.adapter + states.length * checkpoint.state;
  for (let step = 1; step <= steps; step++) {
    if (step === stepsDone + 1) there = bytes();
    if (step % checkpointEvery !== 0 && step !== steps) continue;
    adapters++;
    states.push(step);
    if (step > stepsDone) most = Math.max(most, bytes() - there);
    if (states.length > RESUMABLE_CHECKPOINTS) states.shift();
  }
  adapters++; // The result.
  return Math.max(most, bytes() - there);
}

test.each([
  ["one checkpoint", { steps: 1000, checkpointEvery: 1000 }, 0],
  ["ten checkpoints", { steps: 1000, checkpointEvery: 100 }, 0],
  ["a last one that is not due", { steps: 1050, checkpointEvery: 100 }, 0],
  ["a run that goes on after its first", { steps: 1000, checkpointEvery: 100 }, 100],
  ["a run that goes on after some", { steps: 1000, checkpointEvery: 100 }, 450],
  ["a run that goes on before its last", { steps: 1000, checkpointEvery: 100 }, 900],
] as const)("%s: the sum holds what is there at the fullest, and less than one checkpoint more", (_, choices, stepsDone) => {
  const made = settings(choices);
  const most = fullest(made, stepsDone);
  const sum = runFolderBytes(made, checkpoint, stepsDone);
  expect(sum).toBeGreaterThanOrEqual(most);
  expect(sum).toBeLessThan(most + checkpoint.adapter + checkpoint.state);
});

test("preview sheets count with their pixels, and those that a run has drawn do not count again", () => {
  const without = settings({ steps: 1000 });
  const drawn = settings({ steps: 1000, previewEvery: 200, previewPrompts: ["a fox", "a hen"], previewSizePx: 512 });
  const sheets = (stepsDone: number): number =>
    runFolderBytes(drawn, checkpoint, stepsDone) - runFolderBytes(without, checkpoint, stepsDone);
  // Of two prompts: without the adapter, and with it, with and without the trigger word; four at most.
  const sheet = 2 * 4 * 512 * 512 * 3;
  expect([sheets(0), sheets(400)]).toEqual([5 * sheet, 3 * sheet]);
});

const run: DiskUse = { what: "the run's folder", folder: "runs/fox", bytes: 3e9, freeBytes: 5e9, disk: 1 };
const cache: DiskUse = { what: "the cache of encodings", folder: "cache", bytes: 2e9, freeBytes: 5e9, disk: 1 };

test("what fits exactly is no finding; one byte more is an error that names the sizes, the folder and the mend", () => {
  expect(findFullDisk([run, cache])).toEqual([]);
  const [finding, ...others] = findFullDisk([run, { ...cache, bytes: 2e9 + 1 }]);
  expect(others).toEqual([]);
  expect(finding).toMatchObject({
    id: "disk.too-small",
    severity: "error",
    message:
      "The run will write 5.0 GB (the run's folder 3.0 GB, the cache of encodings 2.0 GB), and the disk of runs/fox has 5.0 GB free.",
    mend: "Free some space, give another --out, or raise --checkpoint-every.",
  });
});

test("two disks are judged each by itself, and one that does not tell its room is not judged", () => {
  expect(findFullDisk([run, { ...cache, disk: 2, bytes: 5e9 }])).toEqual([]);
  const [full, ...others] = findFullDisk([run, { ...cache, disk: 2, bytes: 6e9 }]);
  expect(others).toEqual([]);
  expect(full?.message).toBe("The run will write 6.0 GB into the cache of encodings, and the disk of cache has 5.0 GB free.");
  expect(findFullDisk([{ ...run, bytes: 1e15, freeBytes: undefined }])).toEqual([]);
});

test("a folder that is not there yet is on the disk of the nearest one above it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "gesso-disk-"));
  try {
    const [there, below] = await Promise.all([measureRunFolder(folder, 1), measureRunFolder(join(folder, "a", "b"), 1)]);
    expect(there.freeBytes).toBeGreaterThan(0);
    expect(below.disk).toBe(there.disk);
    expect(findFullDisk([{ ...there, bytes: (there.freeBytes ?? 0) + 1 }])).toHaveLength(1);
  } finally {
    await rm(folder, { recursive: true });
  }
});
