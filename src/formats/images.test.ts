/** Pictures of every kind that people have, made with the codec in a temporary folder, decoded to what is seen. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import type { Sharp } from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UserError } from "../errors.ts";
import {
  decodeMask,
  decodePicture,
  decodePlaced,
  readPictureHeader,
  tensorToPixels,
  verifyPicture,
  writePng,
} from "./images.ts";
import type { Picture } from "./images.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-images-"));
});
afterAll(() => rm(folder, { recursive: true }));
const at = (name: string) => join(folder, name);

const RED = { r: 220, g: 40, b: 30 };
const plain = (width: number, height: number) => sharp({ create: { width, height, channels: 3, background: RED } });

/** Left half red, right half blue. */
function halves(width: number, height: number): Sharp {
  const half = {
    input: { create: { width: width / 2, height, channels: 3 as const, background: "#0000ff" } },
    left: width / 2,
    top: 0,
  };
  return plain(width, height).composite([half]);
}

function pixel({ rgb, widthPx }: Picture, x: number, y: number): number[] {
  return [...rgb.subarray(3 * (y * widthPx + x), 3 * (y * widthPx + x) + 3)];
}

function expectNear(actual: readonly number[], expected: readonly number[], tolerance: number): void {
  const worst = Math.max(...expected.map((value, i) => Math.abs(value - (actual[i] ?? NaN))));
  if (!(worst <= tolerance)) expect(actual).toEqual(expected);
}

async function refusal(attempt: Promise<unknown>): Promise<UserError> {
  const error: unknown = await attempt.catch((reason: unknown) => reason);
  if (!(error instanceof UserError)) throw new Error(`expected a UserError, got ${String(error)}`);
  return error;
}

describe("what a file holds becomes what is seen", () => {
  test("a JPEG with EXIF orientation 6 stands upright, in its header too", async () => {
    await halves(40, 20)
      .jpeg({ quality: 100, chromaSubsampling: "4:4:4" })
      .withMetadata({ orientation: 6 })
      .toFile(at("exif.jpg"));
    expect(await readPictureHeader(at("exif.jpg"))).toMatchObject({
      widthPx: 20,
      heightPx: 40,
      format: "jpeg",
      hasAlpha: false,
    });
    const picture = await decodePicture(at("exif.jpg"));
    expect([picture.widthPx, picture.heightPx]).toEqual([20, 40]);
    // Orientation 6 turns the file clockwise: its left becomes the top.
    expectNear(pixel(picture, 10, 5), [220, 40, 30], 4);
    expectNear(pixel(picture, 10, 35), [0, 0, 255], 4);
  });

  test("16 bits become 8 by their high part, and grey becomes three equal channels", async () => {
    const wide = { raw: { width: 20, height: 20, channels: 1 as const } };
    await sharp(new Uint16Array(400).fill(40000), wide).toColourspace("grey16").png().toFile(at("grey16.png"));
    const picture = await decodePicture(at("grey16.png"));
    expect(picture.rgb.length).toBe(3 * 400);
    expectNear(pixel(picture, 3, 3), [156, 156, 156], 1);
    expect(picture.alpha).toBeUndefined();
  });

  test("a picture in Display P3 is converted by its profile, not by its numbers", async () => {
    await plain(20, 20).withIccProfile("p3").png().toFile(at("p3.png"));
    const stored = await sharp(at("p3.png"), { ignoreIcc: true }).raw().toBuffer();
    expect(Math.abs((stored[0] ?? 0) - RED.r)).toBeGreaterThan(12);
    expectNear(pixel(await decodePicture(at("p3.png")), 0, 0), [220, 40, 30], 2);
  });

  test("CMYK becomes RGB", async () => {
    await plain(20, 20).toColourspace("cmyk").jpeg({ quality: 100 }).toFile(at("cmyk.jpg"));
    const [red = 0, green = 0, blue = 0] = pixel(await decodePicture(at("cmyk.jpg")), 0, 0);
    expect(red).toBeGreaterThan(180);
    expect(Math.max(green, blue)).toBeLessThan(70);
  });

  test("alpha is laid over the background and kept as a mask", async () => {
    const data = new Uint8Array(20 * 20 * 4);
    for (let i = 0; i < 400; i++) data.set([0, 0, 0, i < 200 ? 0 : 128], 4 * i);
    await sharp(data, { raw: { width: 20, height: 20, channels: 4 } })
      .png()
      .toFile(at("alpha.png"));
    expect((await readPictureHeader(at("alpha.png"))).hasAlpha).toBe(true);
    const white = await decodePicture(at("alpha.png"));
    expect(pixel(white, 0, 0)).toEqual([255, 255, 255]);
    expect(pixel(white, 0, 19)).toEqual([127, 127, 127]);
    expect([white.alpha?.[0], white.alpha?.[399]]).toEqual([0, 128]);
    expect(pixel(await decodePicture(at("alpha.png"), { background: [10, 200, 30] }), 0, 0)).toEqual([10, 200, 30]);
  });

  test.each(["gif", "webp"] as const)("the first frame of an animated %s is used", async (format) => {
    const frames = new Uint8Array(20 * 40 * 3).map((_, i) => (i < 20 * 20 * 3 ? 250 : 5));
    const stack = sharp(frames, { raw: { width: 20, height: 40, channels: 3, pageHeight: 20 } });
    await stack.toFormat(format, format === "webp" ? { lossless: true } : {}).toFile(at(`moving.${format}`));
    expect(await readPictureHeader(at(`moving.${format}`))).toMatchObject({ widthPx: 20, heightPx: 20, frames: 2 });
    expectNear(pixel(await decodePicture(at(`moving.${format}`)), 10, 19), [250, 250, 250], 6);
  });

  test.each(["avif", "tiff", "png", "webp"] as const)("%s is read", async (format) => {
    await plain(32, 24)
      .toFormat(format)
      .toFile(at(`plain.${format}`));
    expectNear(pixel(await decodePicture(at(`plain.${format}`)), 16, 12), [220, 40, 30], 8);
  });

  test("a picture that was replaced under the same name is read anew", async () => {
    await plain(20, 20).png().toFile(at("same.png"));
    await decodePicture(at("same.png"));
    await halves(20, 20).png().toFile(at("same.png"));
    expect(pixel(await decodePicture(at("same.png")), 15, 5)).toEqual([0, 0, 255]);
  });
});

describe("placing", () => {
  test("the window is cut from the resized picture, and mirrored afterwards", async () => {
    await halves(80, 40).png().toFile(at("halves.png"));
    const placement = { resizedWidthPx: 40, resizedHeightPx: 20, cropLeftPx: 16, cropTopPx: 0, widthPx: 20, heightPx: 16 };
    const cut = await decodePlaced(at("halves.png"), placement);
    expect([cut.widthPx, cut.heightPx]).toEqual([20, 16]);
    expect(pixel(cut, 0, 0)).toEqual([220, 40, 30]);
    expect(pixel(cut, 19, 15)).toEqual([0, 0, 255]);
    expectNear(pixel(cut, 3, 8), [220, 40, 30], 25); // The border is at 4: Lanczos rings a little around it.
    const flipped = await decodePlaced(at("halves.png"), placement, { flip: true });
    for (let x = 0; x < 20; x++) expect(pixel(flipped, x, 7)).toEqual(pixel(cut, 19 - x, 7));
  });

  test("a mask is read by its brightness, placed and mirrored as its picture is", async () => {
    const data = new Uint8Array(40 * 20 * 3).map((_, i) => (Math.floor(i / 3) % 40 < 20 ? 255 : 0));
    await sharp(data, { raw: { width: 40, height: 20, channels: 3 } })
      .png()
      .toFile(at("a.mask.png"));
    const placement = { resizedWidthPx: 40, resizedHeightPx: 20, cropLeftPx: 10, cropTopPx: 0, widthPx: 16, heightPx: 16 };
    const mask = await decodeMask(at("a.mask.png"), placement);
    expect([mask.length, mask[0], mask[9], mask[10], mask[15]]).toEqual([256, 255, 255, 0, 0]);
    const flipped = await decodeMask(at("a.mask.png"), placement, { flip: true });
    expect([flipped[0], flipped[5], flipped[6], flipped[15]]).toEqual([0, 0, 255, 255]);
  });

  test("a panorama of 20,000 px is cut without decoding it at the enlarged size", async () => {
    await halves(20000, 100).jpeg().toFile(at("panorama.jpg"));
    const before = process.memoryUsage().rss;
    const placement = {
      resizedWidthPx: 102400,
      resizedHeightPx: 512,
      cropLeftPx: 50176,
      cropTopPx: 0,
      widthPx: 2048,
      heightPx: 512,
    };
    const cut = await decodePlaced(at("panorama.jpg"), placement);
    expectNear(pixel(cut, 10, 100), [220, 40, 30], 6);
    expectNear(pixel(cut, 2040, 100), [0, 0, 255], 6);
    expect(process.memoryUsage().rss - before).toBeLessThan(120 * 2 ** 20); // All of it would be 157 MB.
  });
});

describe("what cannot be used is refused by name", () => {
  test("a truncated JPEG, which still has a good header", async () => {
    const noise = { type: "gaussian" as const, mean: 128, sigma: 40 };
    const whole = await sharp({ create: { width: 400, height: 300, channels: 3, background: RED, noise } })
      .jpeg()
      .toBuffer();
    await writeFile(at("cut.jpg"), whole.subarray(0, Math.floor(whole.length * 0.7)));
    expect((await readPictureHeader(at("cut.jpg"))).widthPx).toBe(400);
    for (const read of [decodePicture, verifyPicture]) {
      const error = await refusal(read(at("cut.jpg")));
      expect(error.message).toContain("Cannot read the picture");
      expect(error.message).toContain("cut.jpg");
    }
  });

  test("a truncated PNG", async () => {
    const noise = { type: "gaussian" as const, mean: 128, sigma: 40 };
    const whole = await sharp({ create: { width: 100, height: 100, channels: 3, background: RED, noise } })
      .png()
      .toBuffer();
    await writeFile(at("cut.png"), whole.subarray(0, Math.floor(whole.length / 2)));
    expect((await refusal(verifyPicture(at("cut.png")))).message).toContain("cut.png");
  });

  test("a picture of 1 x 1, and one of 15 px height", async () => {
    await plain(1, 1).png().toFile(at("dot.png"));
    await plain(64, 15).png().toFile(at("flat.png"));
    expect((await refusal(readPictureHeader(at("dot.png")))).message).toContain("is 1 x 1 px; a picture needs at least 16 px");
    expect((await refusal(decodePicture(at("flat.png")))).message).toContain("64 x 15 px");
  });

  test("a picture above 500 megapixels, by its header alone", async () => {
    const bytes = await plain(20, 20).png().toBuffer();
    bytes.writeUInt32BE(30000, 16);
    bytes.writeUInt32BE(20000, 20);
    bytes.writeUInt32BE(crc32(bytes.subarray(12, 29)), 29);
    await writeFile(at("giant.png"), bytes);
    const error = await refusal(readPictureHeader(at("giant.png")));
    expect(error.message).toMatch(/500 megapixels|600 megapixels; the limit is 500/);
    expect(error.fix).toContain("smaller");
  });

  test("a text file, an SVG and an absent file that are called .png", async () => {
    await writeFile(at("text.png"), "no picture");
    await writeFile(at("drawing.png"), "<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'/>");
    expect((await refusal(readPictureHeader(at("text.png")))).message).toContain("not an image of a known format");
    expect((await refusal(readPictureHeader(at("drawing.png")))).message).toContain("type svg");
    expect((await refusal(readPictureHeader(at("absent.png")))).message).toContain("There is no file");
  });
});

describe("writing", () => {
  test("a model's output is clamped, written as PNG and comes back", async () => {
    const chw = Float32Array.from({ length: 3 * 16 * 20 }, (_, i) => (i < 320 ? 1.7 : i < 640 ? -1.2 : 0));
    await writePng(at("out.png"), tensorToPixels(chw, 16, 20));
    const picture = await decodePicture(at("out.png"));
    expect([picture.widthPx, picture.heightPx]).toEqual([20, 16]);
    expect(pixel(picture, 19, 15)).toEqual([255, 0, 128]);
    expect((await readFile(at("out.png"))).subarray(1, 4).toString()).toBe("PNG");
    expect((await readdir(folder)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("sizes that do not fit the data are bugs", async () => {
    expect(() => tensorToPixels(new Float32Array(5), 1, 2)).toThrow("needs 6 values, got 5");
    await expect(writePng(at("bad.png"), { widthPx: 2, heightPx: 2, channels: 3, data: new Uint8Array(5) })).rejects.toThrow(
      "needs 12 bytes",
    );
  });

  test("a folder that is not there is said in words", async () => {
    const pixels = { widthPx: 1, heightPx: 1, channels: 3 as const, data: new Uint8Array(3) };
    expect((await refusal(writePng(at("absent/x.png"), pixels))).message).toContain("its folder does not exist");
  });
});

/** The checksum of PNG chunks (ISO 3309). */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}
