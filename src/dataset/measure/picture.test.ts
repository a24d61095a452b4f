import sharp, { type Sharp } from "sharp";
import { describe, expect, test } from "vitest";
import type { Pixels } from "../../formats/images.ts";
import { measurePixels } from "./picture.ts";
import { readJpegQuality } from "./compression.ts";
import { hamming } from "../hash-index.ts";
import { thresholds } from "../thresholds.ts";

/** Shapes with sharp edges over a gradient, 640 x 512 px. */
const drawing =
  Buffer.from(`<svg width="640" height="512"><defs><linearGradient id="g"><stop stop-color="#205080"/><stop offset="1" stop-color="#e0b060"/></linearGradient></defs>
<rect width="640" height="512" fill="url(#g)"/>${Array.from({ length: 60 }, (_, i) => `<circle cx="${(i * 97) % 640}" cy="${(i * 61) % 512}" r="${8 + ((i * 13) % 30)}" fill="hsl(${i * 40} 60% 45%)"/>`).join("")}</svg>`);

async function pixelsOf(pipeline: Sharp): Promise<Pixels> {
  const { data, info } = await pipeline.toColourspace("srgb").raw().toBuffer({ resolveWithObject: true });
  return { widthPx: info.width, heightPx: info.height, channels: info.channels === 4 ? 4 : 3, data };
}

const plain = () => sharp(drawing).flatten({ background: "#fff" });

describe("measurePixels", () => {
  test("tells the width of a Gaussian blur to within 30 %, and 0 for sharp edges", async () => {
    expect(measurePixels(await pixelsOf(plain())).blurPx).toBeLessThan(0.5);
    for (const sigma of [1.5, 3]) {
      const { blurPx = 0 } = measurePixels(await pixelsOf(sharp(await plain().png().toBuffer()).blur(sigma)));
      expect(Math.abs(blurPx / sigma - 1)).toBeLessThan(0.3);
    }
  });

  test("a blur is as wide at a tenth of the contrast", async () => {
    const blurred = await sharp(await plain().png().toBuffer())
      .blur(3)
      .png()
      .toBuffer();
    const faint = measurePixels(await pixelsOf(sharp(blurred).linear(0.3, 90))).blurPx ?? 0;
    const strong = measurePixels(await pixelsOf(sharp(blurred))).blurPx ?? 0;
    expect(Math.abs(faint / strong - 1)).toBeLessThan(0.25);
  });

  test("finds bars to the pixel, and none around a drawing on paper", async () => {
    const png = await plain().png().toBuffer();
    const barred = await pixelsOf(sharp(png).extend({ top: 30, bottom: 31, background: "#000" }));
    expect(measurePixels(barred).borders).toEqual({ leftPx: 0, topPx: 30, rightPx: 0, bottomPx: 31 });
    const paper = Buffer.from(
      `<svg width="300" height="300"><rect width="300" height="300" fill="#fff"/><circle cx="150" cy="150" r="100" fill="#247"/></svg>`,
    );
    expect(measurePixels(await pixelsOf(sharp(paper).flatten())).borders).toEqual({
      leftPx: 0,
      topPx: 0,
      rightPx: 0,
      bottomPx: 0,
    });
  });

  test("sees the blocks of JPEG at quality 15, also where the file is a PNG by now and was cut, and none at quality 95", async () => {
    const png = await plain().png().toBuffer();
    const low = await sharp(png).jpeg({ quality: 15 }).toBuffer();
    const cut = await pixelsOf(sharp(low).extract({ left: 3, top: 5, width: 620, height: 500 }));
    const high = await pixelsOf(sharp(await sharp(png).jpeg({ quality: 95 }).toBuffer()));
    expect(measurePixels(cut).blockiness).toBeGreaterThan(thresholds.blockiness.value);
    expect(measurePixels(high).blockiness).toBeLessThan(1);
    expect(readJpegQuality(low)).toBe(15);
    expect(readJpegQuality(png)).toBeUndefined();
  });

  test("the mirror hash is the hash of the mirrored picture", async () => {
    const png = await plain().png().toBuffer();
    const straight = measurePixels(await pixelsOf(sharp(png)));
    const mirrored = measurePixels(await pixelsOf(sharp(png).flop()));
    expect(hamming(straight.mirrorHash, mirrored.hash)).toBeLessThanOrEqual(4);
    expect(hamming(straight.hash, mirrored.hash)).toBeGreaterThan(15);
  });

  test("equal pixels have equal hashes whatever the file, and one changed row has another", async () => {
    const pixels = await pixelsOf(plain());
    const webp = await pixelsOf(sharp(await plain().webp({ lossless: true }).toBuffer()));
    expect(measurePixels(webp).pixelHash).toBe(measurePixels(pixels).pixelHash);
    const data = Uint8Array.from(pixels.data);
    data[8 * 640 * 3] = (data[8 * 640 * 3] ?? 0) ^ 1;
    expect(measurePixels({ ...pixels, data }).pixelHash).not.toBe(measurePixels(pixels).pixelHash);
  });

  test("transparent parts are measured over white, and their share is told", () => {
    const data = new Uint8Array(64 * 64 * 4);
    for (let i = 0; i < 64 * 32; i++) data[4 * i + 3] = 255;
    const measured = measurePixels({ widthPx: 64, heightPx: 64, channels: 4, data });
    expect(measured.transparent).toBe(0.5);
    expect(measured.meanBrightness).toBeCloseTo(0.5, 1);
  });
});
