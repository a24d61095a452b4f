/** The dataset as a run sees it: captions with the trigger, buckets, and which pictures are held out. */
import { assignBucket, type Bucket, type BucketFit, makeBuckets } from "../dataset/buckets.ts";
import { hashFile, makeCacheKey } from "../dataset/cache.ts";
import { insertTrigger, tellInserted } from "../dataset/captions.ts";
import { type Dataset, type DatasetItem, readDataset } from "../dataset/read.ts";
import { chooseHeldOut } from "../dataset/split.ts";
import { UserError } from "../errors.ts";
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
  const { skipBroken, defaultCaption, trigger } = settings;
  const dataset = await readDataset(settings.datasetFolder, { defaultCaption, skipBroken });
  const set = makeBuckets({ basePx: settings.resolutionPx, stepPx: settings.bucketStepPx, maxAspect: settings.maxAspect });
  const fits = dataset.items.map((item) => ({
    item,
    fit: assignBucket(item.widthPx, item.heightPx, set, { noUpscale: settings.noUpscale }),
  }));
  const problems = fits.map(({ item, fit }) => findProblem(item, fit));
  const usable = fits.filter((_, i) => problems[i] === undefined);
  const skipped = refuseUnusable(dataset.folder, problems, skipBroken);
  const names = usable.map(({ item }) => item.name);
  const heldOut = new Set(findHeldOut(settings, names));
  const buckets: Bucket[] = [];
  const pictures: RunPicture[] = [];
  let added = 0;
  for (const { item, fit } of usable) {
    const { caption, isAdded } = insertTrigger(item.caption, trigger ?? "");
    if (isAdded) added++;
    const bucketIndex = findOrAdd(buckets, fit.bucket);
    pictures.push({
      item,
      caption,
      bucket: fit.bucket,
      bucketIndex,
      hash: await hashFile(item.path),
      isHeldOut: heldOut.has(item.name),
    });
  }
  return { pictures, buckets, hash: hashOf(pictures), notes: [...describe(dataset, added, trigger), ...skipped] };
}

/** The plan's own pictures where it names any that are there; by the seed otherwise. */
function findHeldOut(
  { heldOut, heldOutFraction, seed }: Pick<TrainSettings, "heldOut" | "heldOutFraction" | "seed">,
  names: readonly string[],
): readonly string[] {
  if (heldOutFraction === 0) return [];
  const planned = new Set(heldOut ?? []);
  const there = names.filter((name) => planned.has(name));
  // Something must be left to train on.
  return there.length > 0 && there.length < names.length ? there : chooseHeldOut(names, seed, heldOutFraction);
}

/** What is wrong with a picture, and what to do. */
interface Problem {
  readonly message: string;
  readonly fix: string;
}

/** More than this cut off, and the caption speaks of what is not to be seen. */
const MAX_CROP = 0.5;
/** Three chunks are some 1000 characters: a caption this long is not what was learnt from. */
const MAX_CAPTION = 2000;

/** Pictures that would teach something else than they show and say. */
function findProblem(
  { path, widthPx, heightPx, caption }: DatasetItem,
  { bucket, cropFraction }: BucketFit,
): Problem | undefined {
  if (cropFraction > MAX_CROP) {
    const lost = `${Math.round(cropFraction * 100)} % of it would be cut off to fit ${bucket.widthPx} x ${bucket.heightPx} px`;
    return {
      message: `${path} is ${widthPx} x ${heightPx} px: ${lost}.`,
      fix: "Cut it into several pictures, or take it out of the folder.",
    };
  }
  if (caption.length > MAX_CAPTION) {
    const message = `The caption of ${path} has ${caption.length} characters; text encoders read at most the first 1000 or so.`;
    return { message, fix: "Shorten it to what the picture shows, most important first." };
  }
  return undefined;
}

/** @returns what to say of the pictures that are left out */
function refuseUnusable(folder: string, problems: readonly (Problem | undefined)[], skipBroken: boolean): readonly string[] {
  const found = problems.filter((problem) => problem !== undefined);
  const [first] = found;
  if (!first) return [];
  if (skipBroken && found.length < problems.length) return found.map(({ message, fix }) => `Left out: ${message} ${fix}`);
  if (found.length === 1) throw new UserError(first.message, { fix: first.fix });
  const shown = found.slice(0, 10).map(({ message }) => `\n  ${message}`);
  const more = found.length > shown.length ? `\n  and ${found.length - shown.length} more` : "";
  throw new UserError(`${found.length} pictures in ${folder} cannot be used:${shown.join("")}${more}`, { fix: first.fix });
}

function findOrAdd(buckets: Bucket[], bucket: Bucket): number {
  const known = buckets.findIndex(({ widthPx, heightPx }) => widthPx === bucket.widthPx && heightPx === bucket.heightPx);
  return known >= 0 ? known : buckets.push(bucket) - 1;
}

function hashOf(pictures: readonly RunPicture[]): string {
  return makeCacheKey(
    pictures.map(({ item, caption, bucket, hash }) => [
      item.name,
      hash,
      caption,
      item.repeats,
      bucket.widthPx,
      bucket.heightPx,
      item.maskPath ?? null,
    ]),
  );
}

function describe({ findings, items }: Dataset, added: number, trigger: string | null): readonly string[] {
  const told = findings.filter(({ severity }) => severity !== "info").map(({ message, fix }) => `${message} ${fix}`);
  if (added === 0 || trigger === null) return told;
  return [...told, tellInserted(trigger, added, items.length)];
}
