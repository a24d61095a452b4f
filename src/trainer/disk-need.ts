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

/** What one checkpoint takes, forecast or measured on one that was written. */
export interface CheckpointBytes {
  /** The adapter's file, which every checkpoint keeps. */
  readonly adapter: number;
  /** The rest, which only the newest keep: what a run goes on from. */
  readonly state: number;
}

/** @param forecast tells the adapter's and the optimizer's bytes, and those of encoded texts */
export async function measureDisk(settings: TrainSettings, forecast: RunForecast, load: DatasetLoad): Promise<DiskNeed> {
  const term = (name: string): number => forecast.memory.phases.training.terms.find((entry) => entry.name === name)?.bytes ?? 0;
  const checkpoint = { adapter: term("adapter") / 2, state: term("adapter") + term("optimizer") };
  return [
    await measureRunFolder(settings.runFolder, runFolderBytes(settings, checkpoint)),
    await useOf("the cache of encodings", settings.cacheFolder, term("encoded pictures and captions") + smallFiles(load)),
  ];
}

/** What a run will write into its folder, against what that folder's disk has free. */
export function measureRunFolder(folder: string, bytes: number): Promise<DiskUse> {
  return useOf("the run's folder", folder, bytes);
}

/**
 * What a run will still write into its folder, at its fullest. Counted are the result, and a checkpoint that is being written while the
 * older ones are still there.
 *
 * @param stepsDone of a run that goes on; what it wrote until then is there already
 */
export function runFolderBytes(settings: TrainSettings, checkpoint: CheckpointBytes, stepsDone = 0): number {
  const { steps, checkpointEvery, previewEvery } = settings;
  const done = (every: number): number => (every > 0 ? Math.floor(stepsDone / every) : 0);
  const left = (every: number): number => (every > 0 ? Math.ceil(steps / every) : 1) - done(every);
  const resumable = RESUMABLE_CHECKPOINTS - Math.min(RESUMABLE_CHECKPOINTS, done(checkpointEvery));
  return (
    (left(checkpointEvery) + 1) * checkpoint.adapter +
    (Math.min(left(checkpointEvery), resumable) + 1) * checkpoint.state +
    left(previewEvery) * sheetBytes(settings) +
    SMALL_FILES_BYTES
  );
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
    const written = `${formatBytes(bytes)}${uses.length > 1 ? ` (${parts})` : ` into ${first.what}`}`;
    const free = formatBytes(first.freeBytes);
    return [boundFinding("disk", `The run will write ${written}, and the disk of ${first.folder} has ${free} free.`)];
  });
}
