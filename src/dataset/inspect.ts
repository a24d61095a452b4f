/** Inspects a dataset folder: every picture is decoded once and measured, then copies are looked for and the checks judge. */
import { availableParallelism } from "node:os";
import { UserError } from "../errors.ts";
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
import { findCopies, groupPairs } from "./compare.ts";
import type { Face } from "../models/faces/boxes.ts";
import { findAllFaces, type FindFaces } from "./faces.ts";
import { findMarks } from "./marks.ts";
import { measureFile, type MeasuredFile } from "./measure/picture.ts";
import { type MeasurementCache, openMeasurementCache, stampOf } from "./measurement-cache.ts";
import { type DatasetItem, type Finding, surveyDataset } from "./read.ts";
import { type DatasetReport, writeReport } from "./report.ts";
import { describeTrigger, type DrawTrigger, type TriggerDrawing } from "./trigger-facts.ts";

export interface InspectOptions {
  readonly target: InspectionTarget;
  /** Where measurements are kept; undefined keeps none. */
  readonly cacheFolder: string | undefined;
  /** For pictures without a caption of their own. */
  readonly defaultCaption?: string | undefined;
  /** Pictures under way at once; by default as many as processors. */
  readonly parallel?: number | undefined;
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
  const { target, signal, defaultCaption } = options;
  const survey = await surveyDataset(folder, {
    verifyPixels: false,
    ...(defaultCaption === undefined ? {} : { defaultCaption }),
  });
  const measured = new Map<DatasetItem, MeasuredFile>();
  const findings: Finding[] = [...survey.findings];
  const total = survey.items.length;
  let [done, remembered] = [0, 0];
  for await (const result of measureAll(survey.items, options)) {
    done++;
    if (result.isRemembered) remembered++;
    if (result.measured) measured.set(result.item, result.measured);
    else findings.push(result.finding);
    yield { type: "progress", phase: "measure", done, total, remembered };
  }
  if (signal?.aborted) {
    yield { type: "stopped", done, total };
    return;
  }
  yield { type: "progress", phase: "compare", done: 0, total, remembered };
  const pictures = survey.items.flatMap((item) => {
    const file = measured.get(item);
    return file ? [{ item, file }] : [];
  });
  if (pictures.length === 0) {
    throw new UserError(`None of the ${total} pictures in ${folder} can be used.`, { fix: findings[0]?.fix ?? "" });
  }
  const faces = target.type === "character" ? yield* lookForFaces(pictures, options) : undefined;
  const drawing = target.trigger === undefined ? undefined : yield* drawForTrigger(pictures, target.trigger, options);
  if (signal?.aborted) {
    yield { type: "stopped", done, total };
    return;
  }
  yield { type: "done", report: writeReport(folder, gatherFacts(pictures, target, { faces, drawing }), findings) };
}

type MeasuredPicture = { readonly item: DatasetItem; readonly file: MeasuredFile };

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
  pictures: readonly MeasuredPicture[],
  trigger: string,
  { drawTrigger, signal }: InspectOptions,
): AsyncGenerator<InspectionEvent, TriggerDrawing | undefined> {
  if (!drawTrigger || signal?.aborted) return undefined;
  const drawings = drawTrigger(
    trigger,
    pictures.map(({ item }) => item.caption),
  );
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

type MeasureResult = { readonly item: DatasetItem; readonly isRemembered: boolean } & (
  { readonly measured: MeasuredFile } | { readonly measured: undefined; readonly finding: Finding }
);

/** In the order in which they are ready. Stops starting pictures when asked to. */
async function* measureAll(items: readonly DatasetItem[], options: InspectOptions): AsyncGenerator<MeasureResult, void> {
  const cache = openMeasurementCache(options.cacheFolder);
  const queue = items.values();
  // One more than processors, so that the codec has work while this thread measures.
  const parallel = options.parallel ?? availableParallelism() + 1;
  const running = new Map<number, Promise<{ slot: number; result: MeasureResult }>>();
  const start = (slot: number): void => {
    const next = options.signal?.aborted ? undefined : queue.next();
    if (next?.value)
      running.set(
        slot,
        measureOne(next.value, cache).then((result) => ({ slot, result })),
      );
    else running.delete(slot);
  };
  for (let slot = 0; slot < parallel; slot++) start(slot);
  while (running.size > 0) {
    const { slot, result } = await Promise.race(running.values());
    start(slot);
    yield result;
  }
}

async function measureOne(item: DatasetItem, cache: MeasurementCache): Promise<MeasureResult> {
  const { path } = item;
  const known = await cache.find(path);
  if (known) return { item, isRemembered: true, measured: known };
  try {
    const stamp = await stampOf(path);
    const measured = await measureFile(path);
    if (stamp) await cache.add(path, stamp, measured);
    return { item, isRemembered: false, measured };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const fix = error.fix ?? "Take it out of the folder.";
    return {
      item,
      isRemembered: false,
      measured: undefined,
      finding: { severity: "error", file: path, message: error.message, fix },
    };
  }
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
  const copies = findCopies(pictures.map(({ fileHash, measurement }) => ({ fileHash, ...measurement })));
  const copyGroups = groupPairs(pictures.length, copies.filter(isSureCopy));
  const descriptors = pictures.map(({ measurement }) => measurement.descriptor);
  const corners = pictures.map(({ measurement }) => measurement.corners);
  return {
    target,
    pictures,
    copies,
    copyGroups,
    clusters: findClusters(descriptors),
    diversity: measureDiversity(descriptors),
    marks: findMarks(corners, copyGroups),
    buckets: countBuckets(pictures),
    trigger:
      target.trigger === undefined ? undefined : { ...describeTrigger(target.trigger, target.tokenizer), baseDraws: drawing },
    faces,
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
