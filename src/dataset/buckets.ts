/** Aspect-ratio buckets: which size a picture is trained at, and what is cut off or enlarged to get there. Pure. */

/** A size that pictures are trained at. */
export interface Bucket {
  readonly widthPx: number;
  readonly heightPx: number;
}

/** The sizes that one run may use. */
export interface BucketSet {
  /** The side of the square bucket; no bucket has more area than its square. */
  readonly basePx: number;
  /** All sides are multiples of it. */
  readonly stepPx: number;
  /** The longest side over the shortest is at most this. */
  readonly maxAspect: number;
  /** From the tallest to the widest. */
  readonly buckets: readonly Bucket[];
}

/** How a picture becomes one of a bucket's size: resized to cover it, then cut around its centre. */
export interface BucketFit {
  readonly bucket: Bucket;
  readonly resizedWidthPx: number;
  readonly resizedHeightPx: number;
  readonly cropLeftPx: number;
  readonly cropTopPx: number;
  /** The share of the resized picture that is cut off, 0..1. */
  readonly cropFraction: number;
  /** Resized side over original side; above 1 the picture is enlarged and gains no detail. */
  readonly scale: number;
}

/**
 * The buckets around a base resolution. For every width that is a multiple of the step, the largest height that keeps the area
 * within base * base (the rule of Kohya's sd-scripts, `make_bucket_resolutions`).
 *
 * @param options.stepPx 64 for SD 1.5 and SDXL; 32 or 16 for small bases
 * @param options.maxAspect 4 allows 1:4 to 4:1
 * @example makeBuckets({ basePx: 1024, stepPx: 64, maxAspect: 4 }).buckets.length;
 */
export function makeBuckets(options: {
  readonly basePx: number;
  readonly stepPx: number;
  readonly maxAspect: number;
  /** The shortest side allowed; the step by default. */
  readonly minSidePx?: number;
}): BucketSet {
  const { basePx, stepPx, maxAspect, minSidePx = stepPx } = options;
  if (!Number.isInteger(stepPx) || stepPx < 1 || basePx < stepPx || basePx % stepPx !== 0 || maxAspect < 1) {
    throw new Error(
      `makeBuckets: needs a base that is a multiple of the step and an aspect of 1 or more, got ${JSON.stringify(options)}`,
    );
  }
  const buckets: Bucket[] = [];
  const addBoth = (widthPx: number, heightPx: number) => {
    if (heightPx < minSidePx || widthPx / heightPx > maxAspect) return;
    buckets.push({ widthPx, heightPx });
    if (widthPx !== heightPx) buckets.push({ widthPx: heightPx, heightPx: widthPx });
  };
  for (let widthPx = basePx; widthPx <= basePx * Math.ceil(Math.sqrt(maxAspect)); widthPx += stepPx) {
    addBoth(widthPx, floorTo(Math.floor((basePx * basePx) / widthPx), stepPx));
  }
  buckets.sort((a, b) => a.widthPx / a.heightPx - b.widthPx / b.heightPx || area(a) - area(b));
  return { basePx, stepPx, maxAspect, buckets };
}

/**
 * The bucket nearest to a picture's shape (by the logarithm of the aspect ratio, so that 2:1 is as far from square as 1:2), the
 * larger one where two are equally near.
 *
 * @param options.noUpscale a picture smaller than its bucket gets one of its own, cut from its own pixels. Only a picture
 *   smaller than one step is enlarged all the same
 */
export function assignBucket(
  widthPx: number,
  heightPx: number,
  set: BucketSet,
  options: { readonly noUpscale?: boolean } = {},
): BucketFit {
  const aspect = Math.log(widthPx / heightPx);
  const distance = (bucket: Bucket) => Math.abs(Math.log(bucket.widthPx / bucket.heightPx) - aspect);
  const nearest = set.buckets.reduce<Bucket | undefined>((best, bucket) => {
    if (!best) return bucket;
    const gain = distance(best) - distance(bucket);
    // Equal but for rounding: 2:1 reached as 128 x 64 and as 256 x 128.
    return gain > 1e-9 || (Math.abs(gain) <= 1e-9 && area(bucket) > area(best)) ? bucket : best;
  }, undefined);
  if (!nearest) throw new Error(`assignBucket: the set for base ${set.basePx} has no buckets`);
  const fit = fitToBucket(widthPx, heightPx, nearest);
  const own = options.noUpscale && fit.scale > 1 ? ownBucket(widthPx, heightPx, set) : undefined;
  return own ? fitToBucket(widthPx, heightPx, own) : fit;
}

/** The placement of a picture in a given bucket: the smallest resized picture that covers it, cut around the centre. */
export function fitToBucket(widthPx: number, heightPx: number, bucket: Bucket): BucketFit {
  const scale = Math.max(bucket.widthPx / widthPx, bucket.heightPx / heightPx);
  const resizedWidthPx = Math.max(bucket.widthPx, Math.round(widthPx * scale));
  const resizedHeightPx = Math.max(bucket.heightPx, Math.round(heightPx * scale));
  return {
    bucket,
    resizedWidthPx,
    resizedHeightPx,
    cropLeftPx: Math.floor((resizedWidthPx - bucket.widthPx) / 2),
    cropTopPx: Math.floor((resizedHeightPx - bucket.heightPx) / 2),
    cropFraction: 1 - area(bucket) / (resizedWidthPx * resizedHeightPx),
    scale,
  };
}

/** The largest allowed size inside the picture itself, or undefined when it is smaller than one step. */
function ownBucket(widthPx: number, heightPx: number, { basePx, stepPx, maxAspect }: BucketSet): Bucket | undefined {
  let width = floorTo(widthPx, stepPx);
  let height = floorTo(heightPx, stepPx);
  if (width === 0 || height === 0) return undefined;
  width = Math.min(width, floorTo(height * maxAspect, stepPx));
  height = Math.min(height, floorTo(width * maxAspect, stepPx));
  while (width * height > basePx * basePx) {
    if (width >= height) width -= stepPx;
    else height -= stepPx;
  }
  return { widthPx: width, heightPx: height };
}

function area({ widthPx, heightPx }: Bucket): number {
  return widthPx * heightPx;
}

function floorTo(value: number, step: number): number {
  return Math.floor(value / step) * step;
}
