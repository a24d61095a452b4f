import sharp, { type Sharp } from "sharp";
import { describe, expect, test } from "vitest";
import type { Pixels } from "../../formats/images.ts";
import { DETAIL_SCALES } from "./detail.ts";
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

  test("the ground of a drawn figure is no bar, however straight the figure ends on one side; a bar beside it is one", async () => {
    const castle = Buffer.from(
      `<svg width="200" height="200"><rect width="200" height="200" fill="#1c4fa0"/><path d="M20 180V90l40-50 40 50 40-50 40 50v90z" fill="#fff"/></svg>`,
    );
    const none = { leftPx: 0, topPx: 0, rightPx: 0, bottomPx: 0 };
    expect(measurePixels(await pixelsOf(sharp(castle).flatten())).borders).toEqual(none);
    const beside = await sharp(castle).flatten().extend({ left: 30, background: "#000" }).png().toBuffer();
    expect(measurePixels(await pixelsOf(sharp(beside))).borders).toEqual({ ...none, leftPx: 30 });
  });

  test("a figure that fills the corners of its box on two sides is none either, where its sides are not straight", async () => {
    const telephone = Buffer.from(
      `<svg width="256" height="256"><rect width="256" height="256" fill="#fff"/><path d="M16 223v-40l50-90q62-20 124 0l50 90v40zM16 110v-20q0-55 112-57 112 2 112 57v20h-40q-72-30-144 0z"/></svg>`,
    );
    const none = { leftPx: 0, topPx: 0, rightPx: 0, bottomPx: 0 };
    expect(measurePixels(await pixelsOf(sharp(telephone).flatten())).borders).toEqual(none);
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

  test("one bar is found by its even colour also beside a dark picture, and a strip that a camera saw is none", async () => {
    const speckle = (level: number, spread: number, width: number, height: number): Sharp => {
      let state = 1;
      const data = Uint8Array.from({ length: 3 * width * height }, () => {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        return level + (state >>> 16) * (spread / 65536);
      });
      return sharp(data, { raw: { width, height, channels: 3 } });
    };
    const forest = await speckle(14, 26, 400, 300).png().toBuffer();
    const barred = await pixelsOf(sharp(forest).extend({ left: 24, background: "#1a1a1a" }));
    expect(measurePixels(barred).borders).toEqual({ leftPx: 24, topPx: 0, rightPx: 0, bottomPx: 0 });
    const plank = await speckle(90, 20, 24, 300).png().toBuffer();
    const beside = sharp(await sharp(forest).extend({ left: 24 }).png().toBuffer()).composite([
      { input: plank, left: 0, top: 0 },
    ]);
    expect(measurePixels(await pixelsOf(sharp(await beside.png().toBuffer()))).borders?.leftPx).toBe(0);
  });

  test("an enlarged picture lacks the finest frequencies, whatever its contrast; made smaller again it has them", async () => {
    const png = await plain().png().toBuffer();
    const small = await sharp(png).resize(320, 256).png().toBuffer();
    const finest = async (pipeline: Sharp): Promise<readonly number[]> => measurePixels(await pixelsOf(pipeline)).detail ?? [];
    const least = thresholds.softDetail.value;
    expect((await finest(sharp(png)))[0]).toBeGreaterThan(2 * least);
    for (const kernel of ["cubic", "lanczos3"] as const) {
      const enlarged = await sharp(small).resize(640, 512, { kernel }).png().toBuffer();
      const detail = await finest(sharp(enlarged));
      expect(detail[0]).toBeLessThan(0.7 * least);
      expect(detail[DETAIL_SCALES.indexOf(0.42)]).toBeGreaterThan(2 * least);
      expect((await finest(sharp(enlarged).linear(0.3, 90)))[0]).toBeLessThan(0.7 * least);
    }
  });

  test("of the detail of a picture with one shape nothing is told", async () => {
    const spot = `<svg width="512" height="512"><rect width="512" height="512" fill="#fff"/><circle cx="256" cy="256" r="12" fill="#247"/></svg>`;
    expect(measurePixels(await pixelsOf(sharp(Buffer.from(spot)).flatten())).detail).toBeUndefined();
  });

  test("a hazy picture uses few tones", async () => {
    const png = await plain().png().toBuffer();
    const range = async (pipeline: Sharp): Promise<number> => measurePixels(await pixelsOf(pipeline)).toneRange;
    expect(await range(sharp(png))).toBeGreaterThan(100);
    expect(await range(sharp(png).linear(0.12, 120))).toBeLessThan(thresholds.toneRange.value);
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

  test("sees the blocks of JPEG around a drawing on plain ground at quality 25, and none at quality 92 or without compression", async () => {
    const shapes = Array.from(
      { length: 40 },
      (_, i) =>
        `<circle cx="${(i * 97) % 640}" cy="${(i * 61) % 512}" r="${6 + ((i * 13) % 20)}" fill="none" stroke="#000" stroke-width="5"/>`,
    );
    const ringingOf = async (marks: readonly string[], quality: number): Promise<number> => {
      const page = `<svg width="640" height="512"><rect width="640" height="512" fill="#fff"/>${marks.join("")}</svg>`;
      const png = await sharp(Buffer.from(page)).flatten().png().toBuffer();
      if (quality === 100) return measurePixels(await pixelsOf(sharp(png))).ringing;
      const low = await sharp(png).jpeg({ quality }).toBuffer();
      return measurePixels(await pixelsOf(sharp(low).extract({ left: 3, top: 5, width: 620, height: 500 }))).ringing;
    };
    expect(await ringingOf(shapes, 25)).toBeGreaterThan(thresholds.ringing.value);
    expect(await ringingOf(shapes, 92)).toBeLessThan(thresholds.ringing.value);
    expect(await ringingOf(shapes, 100)).toBe(0);
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
