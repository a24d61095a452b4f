/** Loading pictures: values, orientation, crops, mirrors, masks, and the sizes that SDXL is told. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadPicture } from "./pixels.ts";
import type { DatasetItem } from "./read.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-pixels-"));
});
afterAll(() => rm(folder, { recursive: true }));

const item = (file: string, widthPx: number, heightPx: number): DatasetItem => ({
  path: join(folder, file),
  name: file,
  widthPx,
  heightPx,
  caption: "",
  captionSource: "none",
  repeats: 1,
  hasAlpha: false,
});

/** A png whose red says the column, green the row; `channels` 4 adds an alpha of 0 in the left half. */
async function ramp(file: string, widthPx: number, heightPx: number, channels: 3 | 4 = 3): Promise<DatasetItem> {
  const data = new Uint8Array(widthPx * heightPx * channels);
  for (let i = 0; i < widthPx * heightPx; i++) {
    const [x, y] = [i % widthPx, Math.floor(i / widthPx)];
    const color = [Math.round((255 * x) / (widthPx - 1)), Math.round((255 * y) / (heightPx - 1)), 0];
    data.set(channels === 3 ? color : [...color, x < widthPx / 2 ? 0 : 255], channels * i);
  }
  await sharp(data, { raw: { width: widthPx, height: heightPx, channels } })
    .png()
    .toFile(join(folder, file));
  return item(file, widthPx, heightPx);
}

test("pixels are planes of red, green and blue in -1..1", async () => {
  const { pixels, mask } = await loadPicture(await ramp("square.png", 32, 32), { widthPx: 32, heightPx: 32 });
  expect(pixels.length).toBe(3 * 32 * 32);
  expect([pixels[0], pixels[31], pixels[31 * 32]]).toEqual([-1, 1, -1]);
  expect([pixels[1024], pixels[1024 + 31], pixels[1024 + 31 * 32]]).toEqual([-1, -1, 1]);
  expect([...pixels.subarray(2048)].every((value) => value === -1)).toBe(true);
  expect(mask).toBeUndefined();
});

test("a wide picture is cut around its centre, and SDXL is told its sizes as diffusers does", async () => {
  const picture = await loadPicture(await ramp("wide.png", 203, 64), { widthPx: 64, heightPx: 32 });
  expect(picture.originalSize).toEqual([64, 203]);
  expect(picture.targetSize).toEqual([32, 64]);
  // Resized to 102 x 32; 38 columns too many, 19 of them on the left.
  expect(picture.cropTopLeft).toEqual([0, 19]);
  const first = ((picture.pixels[16 * 64] ?? 0) + 1) / 2;
  expect(first).toBeCloseTo(19.5 / 102, 1);
});

test("a mirrored picture has its columns exchanged, and its crop counted from the other side", async () => {
  const source = await ramp("odd.png", 203, 64);
  const bucket = { widthPx: 65, heightPx: 32 };
  const plain = await loadPicture(source, bucket);
  const flipped = await loadPicture(source, bucket, { flip: true });
  expect([plain.cropTopLeft, flipped.cropTopLeft]).toEqual([
    [0, 18],
    [0, 19],
  ]);
  for (let row = 0; row < 32; row++) {
    const [a, b] = [plain, flipped].map(({ pixels }) => [...pixels.subarray(row * 65, row * 65 + 65)]);
    expect(b).toEqual(a?.reverse());
  }
});

test("EXIF orientation counts for the sizes and the crop", async () => {
  const sideways = sharp({ create: { width: 60, height: 40, channels: 3, background: "#808080" } });
  await sideways.jpeg().withMetadata({ orientation: 8 }).toFile(join(folder, "turned.jpg"));
  const picture = await loadPicture(item("turned.jpg", 40, 60), { widthPx: 32, heightPx: 32 });
  expect(picture.originalSize).toEqual([60, 40]);
  expect(picture.cropTopLeft).toEqual([8, 0]);
});

test("a mask file is placed as its picture is, even when it is smaller", async () => {
  const source = await ramp("masked.png", 128, 64);
  const left = new Uint8Array(64 * 32).map((_, i) => (i % 64 < 32 ? 255 : 0));
  const maskPath = join(folder, "masked.mask.png");
  await sharp(left, { raw: { width: 64, height: 32, channels: 1 } })
    .png()
    .toFile(maskPath);
  const { mask } = await loadPicture({ ...source, maskPath }, { widthPx: 32, heightPx: 32 });
  expect(mask?.length).toBe(1024);
  expect([mask?.[0], mask?.[31]]).toEqual([1, 0]);
  const flipped = await loadPicture({ ...source, maskPath }, { widthPx: 32, heightPx: 32 }, { flip: true });
  expect([flipped.mask?.[0], flipped.mask?.[31]]).toEqual([0, 1]);
});

test("alpha shows the background, and is a mask only when asked for", async () => {
  const source = await ramp("alpha.png", 32, 32, 4);
  const bucket = { widthPx: 32, heightPx: 32 };
  const plain = await loadPicture(source, bucket, { background: [0, 0, 255] });
  expect(plain.mask).toBeUndefined();
  expect([plain.pixels[0], plain.pixels[2048]]).toEqual([-1, 1]);
  const masked = await loadPicture(source, bucket, { alphaAsMask: true });
  expect([masked.mask?.[0], masked.mask?.[31]]).toEqual([0, 1]);
  expect(masked.pixels[2048]).toBe(1); // White by default.
});

test("a picture that changed its size since it was measured is refused", async () => {
  const source = await ramp("grows.png", 32, 32);
  await ramp("grows.png", 48, 32);
  await expect(loadPicture(source, { widthPx: 32, heightPx: 32 })).rejects.toThrow("changed from 32 x 32 to 48 x 32 px");
});
