/** Buckets: the sizes that exist, which one a picture gets, and how it is placed there. */
import { describe, expect, test } from "vitest";
import { assignBucket, fitToBucket, makeBuckets } from "./buckets.ts";
import type { BucketSet } from "./buckets.ts";

const sdxl = makeBuckets({ basePx: 1024, stepPx: 64, maxAspect: 4 });
const sd15 = makeBuckets({ basePx: 512, stepPx: 64, maxAspect: 4 });
const mini = makeBuckets({ basePx: 128, stepPx: 32, maxAspect: 4 });
const sizes = ({ buckets }: BucketSet) => buckets.map(({ widthPx, heightPx }) => `${widthPx}x${heightPx}`);

describe("the set", () => {
  test.each([sdxl, sd15, mini])("around $basePx px holds only allowed sizes, each once, with its mirror image", (set) => {
    const names = sizes(set);
    expect(new Set(names).size).toBe(names.length);
    for (const { widthPx, heightPx } of set.buckets) {
      expect(widthPx % set.stepPx).toBe(0);
      expect(heightPx % set.stepPx).toBe(0);
      expect(widthPx * heightPx).toBeLessThanOrEqual(set.basePx ** 2);
      expect(Math.max(widthPx, heightPx) / Math.min(widthPx, heightPx)).toBeLessThanOrEqual(4);
      expect(names).toContain(`${heightPx}x${widthPx}`);
    }
    expect(names).toContain(`${set.basePx}x${set.basePx}`);
  });

  test("for SDXL has the resolutions of its paper's table that lie within 1:4 and a megapixel", () => {
    // Podell et al. 2023, appendix I.
    for (const size of ["1024x1024", "1152x896", "896x1152", "1216x832", "1344x768", "1536x640", "2048x512", "512x2048"]) {
      expect(sizes(sdxl)).toContain(size);
    }
  });

  test("for 128 px is this", () => {
    expect(sizes(mini)).toEqual(["64x256", "64x224", "64x192", "96x160", "128x128", "160x96", "192x64", "224x64", "256x64"]);
  });

  test("keeps to a shortest side, and refuses settings that make no set", () => {
    expect(sizes(makeBuckets({ basePx: 128, stepPx: 32, maxAspect: 4, minSidePx: 96 }))).toEqual([
      "96x160",
      "128x128",
      "160x96",
    ]);
    expect(() => makeBuckets({ basePx: 100, stepPx: 64, maxAspect: 4 })).toThrow("multiple of the step");
    expect(() => makeBuckets({ basePx: 128, stepPx: 64, maxAspect: 0.5 })).toThrow("aspect of 1 or more");
  });
});

describe("a picture", () => {
  test("gets the bucket of the nearest shape", () => {
    expect(assignBucket(3000, 2000, sdxl).bucket).toEqual({ widthPx: 1216, heightPx: 832 });
    expect(assignBucket(2000, 3000, sdxl).bucket).toEqual({ widthPx: 832, heightPx: 1216 });
    expect(assignBucket(1000, 1000, sdxl).bucket).toEqual({ widthPx: 1024, heightPx: 1024 });
    expect(assignBucket(20000, 100, sdxl).bucket).toEqual({ widthPx: 2048, heightPx: 512 });
  });

  test("gets the larger of two buckets of one shape", () => {
    const set: BucketSet = {
      ...mini,
      buckets: [
        { widthPx: 64, heightPx: 32 },
        { widthPx: 128, heightPx: 64 },
      ],
    };
    expect(assignBucket(500, 250, set).bucket).toEqual({ widthPx: 128, heightPx: 64 });
    expect(assignBucket(500, 250, { ...set, buckets: set.buckets.toReversed() }).bucket).toEqual({
      widthPx: 128,
      heightPx: 64,
    });
  });

  test("covers its bucket and is cut around its centre", () => {
    expect(fitToBucket(400, 200, { widthPx: 128, heightPx: 128 })).toEqual({
      bucket: { widthPx: 128, heightPx: 128 },
      resizedWidthPx: 256,
      resizedHeightPx: 128,
      cropLeftPx: 64,
      cropTopPx: 0,
      cropFraction: 0.5,
      scale: 0.64,
    });
  });

  test("of any size covers its bucket, with the crop inside", () => {
    for (let width = 16; width < 3000; width += 97) {
      for (let height = 16; height < 3000; height += 89) {
        const fit = assignBucket(width, height, sd15);
        expect(fit.resizedWidthPx - fit.cropLeftPx).toBeGreaterThanOrEqual(fit.bucket.widthPx);
        expect(fit.resizedHeightPx - fit.cropTopPx).toBeGreaterThanOrEqual(fit.bucket.heightPx);
        expect(fit.cropFraction).toBeGreaterThanOrEqual(0);
        expect(fit.cropFraction).toBeLessThan(1);
      }
    }
  });

  test("that is small says by how much it is enlarged", () => {
    expect(assignBucket(256, 256, sdxl).scale).toBe(4);
  });
});

describe("without enlarging", () => {
  test("a small picture gets a bucket of its own pixels, and a large one its usual bucket", () => {
    expect(assignBucket(300, 500, sdxl, { noUpscale: true })).toMatchObject({ bucket: { widthPx: 256, heightPx: 448 } });
    expect(assignBucket(3000, 2000, sdxl, { noUpscale: true }).bucket).toEqual({ widthPx: 1216, heightPx: 832 });
  });

  test("no picture of a step or more is enlarged, and every bucket keeps the limits", () => {
    for (let width = 64; width < 1500; width += 53) {
      for (let height = 64; height < 1500; height += 47) {
        const { scale, bucket } = assignBucket(width, height, sd15, { noUpscale: true });
        expect(scale).toBeLessThanOrEqual(1);
        expect(bucket.widthPx * bucket.heightPx).toBeLessThanOrEqual(512 * 512);
        expect(Math.max(bucket.widthPx / bucket.heightPx, bucket.heightPx / bucket.widthPx)).toBeLessThanOrEqual(4);
        expect([bucket.widthPx % 64, bucket.heightPx % 64]).toEqual([0, 0]);
      }
    }
  });

  test("a picture smaller than one step is enlarged all the same", () => {
    expect(assignBucket(40, 40, sd15, { noUpscale: true }).scale).toBeGreaterThan(1);
  });
});
