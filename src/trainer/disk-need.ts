/** What a run will write, against what the disks have free. */
import { stat, statfs } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { formatBytes } from "../bytes.ts";
import type { TrainSettings } from "../planner/plan.ts";
import { boundFinding, type PlanFinding } from "../planner/rules/table.ts";
import { RESUMABLE_CHECKPOINTS } from "./checkpoint.ts";
import type { DatasetLoad, RunForecast } from "./forecast/forecast.ts";
import { areaOf } from "./forecast/graphs.ts";

/** What is written to one disk. */
export interface DiskUse {
  /** "the run's folder", "the cache of encodings". */
  readonly what: string;
  readonly folder: string;
  readonly bytes: number;
  /** Undefined where the system does not tell. */
  readonly freeBytes: number | undefined;
  /** Which disk it is. */
  readonly disk: number | undefined;
}

export type DiskNeed = readonly DiskUse[];

/** Reports, event log, and what file systems round up. */
const SMALL_FILES_BYTES = 5e6;

/** @param forecast tells the adapter's and the optimizer's bytes, and those of encoded texts */
export async function measureDisk(settings: TrainSettings, forecast: RunForecast, load: DatasetLoad): Promise<DiskNeed> {
  const term = (name: string): number => forecast.memory.phases.training.terms.find((entry) => entry.name === name)?.bytes ?? 0;
  const times = (every: number): number => (every > 0 ? Math.floor((settings.steps - 1) / every) : 0) + 1;
  const adapterFile = term("adapter") / 2;
  const resumable = term("adapter") + term("optimizer");
  const checkpoints = times(settings.checkpointEvery);
  // One more of each: the result, and the checkpoint that is being written while the older one is still there.
  const run =
    (checkpoints + 1) * adapterFile +
    (Math.min(checkpoints, RESUMABLE_CHECKPOINTS) + 1) * resumable +
    times(settings.previewEvery) * sheetBytes(settings) +
    SMALL_FILES_BYTES;
  return [
    await useOf("the run's folder", settings.runFolder, run),
    await useOf("the cache of encodings", settings.cacheFolder, term("encoded pictures and captions") + smallFiles(load)),
  ];
}

/** A preview sheet is at most its pixels. */
function sheetBytes({ previewPrompts, previewSizePx, trigger }: TrainSettings): number {
  return previewPrompts.length * (trigger === null ? 2 : 4) * previewSizePx ** 2 * 3;
}

/** Each encoded picture is a file of whole blocks. */
function smallFiles({ buckets, captions }: DatasetLoad): number {
  const pictures = buckets.reduce((sum, bucket) => sum + (areaOf(bucket) > 0 ? bucket.pictures : 0), 0);
  return 4096 * (2 * pictures + captions);
}

async function useOf(what: string, folder: string, bytes: number): Promise<DiskUse> {
  const there = await nearestFolder(resolve(folder));
  const [disk, freeBytes] = await Promise.all([
    stat(there).then(
      ({ dev }) => dev,
      () => undefined,
    ),
    statfs(there).then(
      ({ bavail, bsize }) => bavail * bsize,
      () => undefined,
    ),
  ]);
  return { what, folder, bytes, freeBytes, disk };
}

/** The folder itself, or the nearest above it that exists: new folders are on its disk. */
async function nearestFolder(folder: string): Promise<string> {
  for (let at = folder; ; at = dirname(at)) {
    const isFolder = await stat(at).then(
      (entry) => entry.isDirectory(),
      () => false,
    );
    if (isFolder || dirname(at) === at) return at;
  }
}

/** An error for each disk that cannot hold what will be written to it. */
export function findFullDisk(need: DiskNeed): readonly PlanFinding[] {
  const disks = [...new Set(need.map(({ disk }) => disk))];
  return disks.flatMap((disk): PlanFinding[] => {
    const uses = need.filter((use) => use.disk === disk);
    const [first] = uses;
    const bytes = uses.reduce((sum, use) => sum + use.bytes, 0);
    if (first?.freeBytes === undefined || bytes <= first.freeBytes) return [];
    const parts = uses.map((use) => `${use.what} ${formatBytes(use.bytes)}`).join(", ");
    const free = formatBytes(first.freeBytes);
    return [boundFinding("disk", `The run will write ${formatBytes(bytes)} (${parts}), and ${first.folder} has ${free} free.`)];
  });
}
