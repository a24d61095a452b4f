/** Inspects a dataset folder: every picture is decoded once and measured, then copies are looked for and the checks judge. */
import { assignBucket, makeBuckets } from "./buckets.ts";
import { describeCaption } from "./caption-facts.ts";
import {
  type BucketUse,
  type InspectedPicture,
  type InspectionFacts,
  type InspectionTarget,
  isSureCopy,
} from "./checks/check.ts";
import { findClusters, measureDiversity } from "./clusters.ts";
import { type Comparable, findCopies, groupPairs } from "./compare.ts";
import type { Face } from "../models/faces/boxes.ts";
import { findAllFaces, type FindFaces } from "./faces.ts";
import { findMarks } from "./marks.ts";
import { compare } from "./folders.ts";
import { type MeasurePool, openMeasurePool } from "./measure-pool.ts";
import type { MeasuredFile } from "./measure/picture.ts";
import { type MeasurementCache, openMeasurementCache, stampOf } from "./measurement-cache.ts";
import { type MeasurementStore, openMeasurementStore } from "./measurement-store.ts";
import { admitPicture, type DatasetItem, type Finding, listPictures, nothingUsable, type PictureFile } from "./read.ts";
import { type DatasetReport, writeReport } from "./report.ts";
import { describeTrigger, type DrawTrigger, type TriggerDrawing } from "./trigger-facts.ts";

export interface InspectOptions {
  readonly target: InspectionTarget;
  /** Where measurements are kept; undefined keeps none. */
  readonly cacheFolder: string | undefined;
  /** For pictures without a caption of their own. */
  readonly defaultCaption?: string | undefined;
  /** Processes that measure; by default by the number of processors. */
  readonly processes?: number | undefined;
  /** Looks for faces, in sets for a character; undefined where the network is not here. */
  readonly findFaces?: FindFaces | undefined;
  /** Has the base draw what the trigger word means to it. */
  readonly drawTrigger?: DrawTrigger | undefined;
  /** Stops between pictures; what was measured is kept. */
  readonly signal?: AbortSignal | undefined;
}

export type InspectionEvent =
  /** `remembered` of the pictures that are done were known from before. */
  | {
      readonly type: "progress";
      readonly phase: "measure" | "faces" | "draw";
      readonly done: number;
      readonly total: number;
      readonly remembered: number;
    }
  | {
      readonly type: "progress";
      readonly phase: "compare";
      readonly done: 0;
      readonly total: number;
      readonly remembered: number;
    }
  /** Asked to stop: nothing is reported, and the next inspection goes on from here. */
  | { readonly type: "stopped"; readonly done: number; readonly total: number }
  | { readonly type: "done"; readonly report: DatasetReport };

/**
 * The last event is `done` with the report, or `stopped`. Files of the dataset are only read.
 *
 * @throws UserError for a folder that is missing or without any picture that can be used
 */
export async function* inspectDataset(folder: string, options: InspectOptions): AsyncGenerator<InspectionEvent, void> {
  const store = openMeasurementStore();
  try {
    yield* inspectWith(store, folder, options);
  } finally {
    store.close();
  }
}

async function* inspectWith(
  store: MeasurementStore,
  folder: string,
  options: InspectOptions,
): AsyncGenerator<InspectionEvent, void> {
  const { target, signal, defaultCaption } = options;
  const list = await listPictures(folder, defaultCaption === undefined ? {} : { defaultCaption });
  const total = list.pictures.length;
  if (total === 0) throw nothingUsable(list, list.findings);
  const results: MeasureResult[] = [];
  let [done, remembered] = [0, 0];
  for await (const result of measureAll(list.pictures, store, options)) {
    done++;
    if (result.isRemembered) remembered++;
    results.push(result);
    yield { type: "progress", phase: "measure", done, total, remembered };
  }
  if (signal?.aborted) {
    yield { type: "stopped", done, total };
    return;
  }
  yield { type: "progress", phase: "compare", done: 0, total, remembered };
  // Results come in any order.
  results.sort((a, b) => compare(a.name, b.name));
  const findings = [...list.findings, ...results.flatMap((result) => result.findings)];
  const pictures = results.flatMap(({ picture }) => picture ?? []);
  if (pictures.length === 0) throw nothingUsable(list, findings);
  const faces = target.type === "character" ? yield* lookForFaces(pictures, options) : undefined;
  const drawing = target.trigger === undefined ? undefined : yield* drawForTrigger(target.trigger, options);
  if (signal?.aborted) {
    yield { type: "stopped", done, total };
    return;
  }
  yield { type: "done", report: writeReport(folder, gatherFacts(pictures, target, { faces, drawing }), findings) };
}

interface MeasuredPicture {
  readonly item: DatasetItem;
  readonly file: Pick<MeasuredFile, "fileHash" | "measurement">;
}

async function* lookForFaces(
  pictures: readonly MeasuredPicture[],
  { findFaces: find, cacheFolder: folder, signal }: InspectOptions,
): AsyncGenerator<InspectionEvent, readonly (readonly Face[])[] | undefined> {
  if (!find) return undefined;
  const files = pictures.map(({ item, file }) => ({ path: item.path, fileHash: file.fileHash }));
  const search = findAllFaces(files, { find, folder, signal });
  for (;;) {
    const { done, value } = await search.next();
    if (done) return value;
    yield { type: "progress", phase: "faces", total: files.length, ...value };
  }
}

async function* drawForTrigger(
  trigger: string,
  { drawTrigger, signal }: InspectOptions,
): AsyncGenerator<InspectionEvent, TriggerDrawing | undefined> {
  if (!drawTrigger || signal?.aborted) return undefined;
  const drawings = drawTrigger(trigger);
  try {
    for (;;) {
      const { done, value } = await drawings.next();
      if (done) return value;
      yield { type: "progress", phase: "draw", remembered: 0, ...value };
    }
  } catch (error) {
    // Drawing throws the signal's reason when it is asked to stop.
    if (signal?.aborted) return undefined;
    throw error;
  }
}

interface MeasureResult {
  readonly name: string;
  /** Undefined for one that cannot be used. */
  readonly picture: MeasuredPicture | undefined;
  readonly findings: readonly Finding[];
  readonly isRemembered: boolean;
}

/** In the order in which they are ready. Stops starting pictures when asked to; what was measured is written down in any case. */
async function* measureAll(
  pictures: readonly PictureFile[],
  store: MeasurementStore,
  options: InspectOptions,
): AsyncGenerator<MeasureResult, void> {
  const cache = openMeasurementCache(options.cacheFolder);
  const pool = openMeasurePool(options.processes);
  const queue = pictures.values();
  const running = new Map<number, Promise<{ slot: number; result: MeasureResult }>>();
  const start = (slot: number): void => {
    const next = options.signal?.aborted ? undefined : queue.next();
    if (!next?.value) return void running.delete(slot);
    const task = measureOne(next.value, { cache, pool, store }).then((result) => ({ slot, result }));
    // The first failure ends the inspection; of others nobody is told.
    task.catch(() => undefined);
    running.set(slot, task);
  };
  try {
    for (let slot = 0; slot < pool.width; slot++) start(slot);
    while (running.size > 0) {
      const { slot, result } = await Promise.race(running.values());
      start(slot);
      yield result;
    }
  } finally {
    await pool.close();
    await cache.close();
  }
}

async function measureOne(
  picture: PictureFile,
  { cache, pool, store }: { readonly cache: MeasurementCache; readonly pool: MeasurePool; readonly store: MeasurementStore },
): Promise<MeasureResult> {
  const { path, name } = picture;
  let [file, isRemembered]: [MeasuredFile | undefined, boolean] = [undefined, false];
  const readHeader = async () => {
    const stamp = await stampOf(path);
    file = stamp && (await cache.find(path, stamp));
    if (file) isRemembered = true;
    else {
      const { isRecalled, ...measured } = await pool.measure(path, (hash) => cache.findContent(hash));
      if (stamp) await cache.add(path, stamp, measured);
      [file, isRemembered] = [measured, isRecalled];
    }
    return file.header;
  };
  const { item, findings } = await admitPicture(picture, readHeader, false);
  // Not this picture's fault alone: all that follow would fail.
  if (pool.failure) throw pool.failure;
  return { name, picture: item && keepPicture(item, file, store), findings, isRemembered };
}

function keepPicture(item: DatasetItem, file: MeasuredFile | undefined, store: MeasurementStore): MeasuredPicture | undefined {
  return file && { item, file: { fileHash: file.fileHash, measurement: store.keep(file.measurement) } };
}

/** Everything that the checks look at, from measurements and captions. */
export function gatherFacts(
  files: readonly MeasuredPicture[],
  target: InspectionTarget,
  { faces, drawing }: { readonly faces?: InspectionFacts["faces"]; readonly drawing?: TriggerDrawing | undefined } = {},
): InspectionFacts {
  const maxAspect = files.some(({ item }) => Math.max(item.widthPx / item.heightPx, item.heightPx / item.widthPx) > 2) ? 4 : 2;
  const set = makeBuckets({ basePx: target.resolutionPx, stepPx: target.bucketStepPx, maxAspect });
  const pictures = files.map(({ item, file }) => ({
    item,
    fileHash: file.fileHash,
    measurement: file.measurement,
    fit: assignBucket(item.widthPx, item.heightPx, set),
    caption: describeCaption(item.caption, target),
  }));
  const copies = findCopies(pictures.map(toComparable));
  const copyGroups = groupPairs(pictures.length, copies.filter(isSureCopy));
  const descriptors = pictures.map(({ measurement }) => measurement.descriptor);
  return {
    target,
    pictures,
    copies,
    copyGroups,
    clusters: findClusters(descriptors),
    diversity: measureDiversity(descriptors),
    marks: findMarks(
      pictures.map(({ measurement }) => measurement),
      copyGroups,
    ),
    buckets: countBuckets(pictures),
    trigger:
      target.trigger === undefined ? undefined : { ...describeTrigger(target.trigger, target.tokenizer), baseDraws: drawing },
    faces,
  };
}

/** Its thumbnail is read when it is asked for. */
function toComparable({ fileHash, measurement }: Pick<InspectedPicture, "fileHash" | "measurement">): Comparable {
  const { pixelHash, hash, mirrorHash, colours, widthPx, heightPx, entropyBits } = measurement;
  return {
    ...{ fileHash, pixelHash, hash, mirrorHash, colours, widthPx, heightPx, entropyBits },
    get thumb() {
      return measurement.thumb;
    },
  };
}

/** The buckets in use, from the tallest to the widest. */
function countBuckets(pictures: readonly Pick<InspectedPicture, "fit" | "item">[]): readonly BucketUse[] {
  const uses = new Map<string, BucketUse>();
  for (const { fit, item } of pictures) {
    const { widthPx, heightPx } = fit.bucket;
    const known = uses.get(`${widthPx}x${heightPx}`);
    const use = { pictures: (known?.pictures ?? 0) + 1, exposures: (known?.exposures ?? 0) + item.repeats };
    uses.set(`${widthPx}x${heightPx}`, { widthPx, heightPx, ...use });
  }
  return [...uses.values()].sort((a, b) => a.widthPx / a.heightPx - b.widthPx / b.heightPx);
}
