/** The dataset as a run sees it: captions with the trigger, buckets, and which pictures are held out. */
import { type Bucket, assignBucket, makeBuckets } from "../dataset/buckets.ts";
import { hashFile, makeCacheKey } from "../dataset/cache.ts";
import { insertTrigger } from "../dataset/captions.ts";
import { type Dataset, type DatasetItem, readDataset } from "../dataset/read.ts";
import { chooseHeldOut } from "../dataset/split.ts";
import type { TrainSettings } from "../planner/plan.ts";

/** One picture of the run. */
export interface RunPicture {
  readonly item: DatasetItem;
  /** With the trigger word. */
  readonly caption: string;
  readonly bucket: Bucket;
  /** Index of the bucket in `RunPictures.buckets`. */
  readonly bucketIndex: number;
  /** SHA-256 of the file. */
  readonly hash: string;
  readonly isHeldOut: boolean;
}

export interface RunPictures {
  readonly pictures: readonly RunPicture[];
  /** The buckets that are in use. */
  readonly buckets: readonly Bucket[];
  /** Changes with any picture, caption, repeat or bucket. */
  readonly hash: string;
  readonly notes: readonly string[];
}

/** Reads the dataset and sorts it. @throws UserError for a folder or a picture that cannot be used */
export async function readRunPictures(settings: TrainSettings): Promise<RunPictures> {
  const dataset = await readDataset(settings.datasetFolder, { defaultCaption: settings.defaultCaption });
  const heldOut = new Set(settings.heldOutFraction > 0 ? chooseHeldOut(dataset.items.map(({ name }) => name), settings.seed, settings.heldOutFraction) : []);
  const set = makeBuckets({ basePx: settings.resolutionPx, stepPx: settings.bucketStepPx, maxAspect: settings.maxAspect });
  const buckets: Bucket[] = [];
  const pictures: RunPicture[] = [];
  let added = 0;
  for (const item of dataset.items) {
    const { bucket } = assignBucket(item.widthPx, item.heightPx, set, { noUpscale: settings.noUpscale });
    const { caption, isAdded } = insertTrigger(item.caption, settings.trigger ?? "");
    if (isAdded) added++;
    const bucketIndex = findOrAdd(buckets, bucket);
    pictures.push({ item, caption, bucket, bucketIndex, hash: await hashFile(item.path), isHeldOut: heldOut.has(item.name) });
  }
  return { pictures, buckets, hash: hashOf(pictures), notes: describe(dataset, added, settings.trigger) };
}

function findOrAdd(buckets: Bucket[], bucket: Bucket): number {
  const known = buckets.findIndex(({ widthPx, heightPx }) => widthPx === bucket.widthPx && heightPx === bucket.heightPx);
  return known >= 0 ? known : buckets.push(bucket) - 1;
}

function hashOf(pictures: readonly RunPicture[]): string {
  return makeCacheKey(
    pictures.map(({ item, caption, bucket, hash }) => [item.name, hash, caption, item.repeats, bucket.widthPx, bucket.heightPx, item.maskPath ?? null]),
  );
}

function describe({ findings, items }: Dataset, added: number, trigger: string | null): readonly string[] {
  const told = findings.filter(({ severity }) => severity !== "info").map(({ message, fix }) => `${message} ${fix}`);
  if (added === 0 || trigger === null) return told;
  return [...told, `The trigger word "${trigger}" was put in front of ${added} of ${items.length} captions that lacked it.`];
}
