/** Marks in corners: found where they are planted, and not in drawings that have their own shapes in the same places. */
import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { expect, test } from "vitest";
import { findMarks } from "./marks.ts";
import { measureCorners } from "./measure/corners.ts";

const examples = readdirSync("examples");

async function readPictures(example: string): Promise<readonly Buffer[]> {
  const folder = join("examples", example);
  const names = readdirSync(folder).filter((name) => name.endsWith(".png"));
  return Promise.all(names.map((name) => readFile(join(folder, name))));
}

async function cornersOf(bytes: Buffer) {
  const { data, info } = await sharp(bytes)
    .flatten({ background: "#fff" })
    .toColourspace("srgb")
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { corners: measureCorners({ widthPx: info.width, heightPx: info.height, channels: 3, data }) };
}

const marksOf = async (pictures: readonly Buffer[]) => findMarks(await Promise.all(pictures.map(cornersOf)), []);

/** White letters with a dark outline at the bottom right, two thirds of them seen. */
async function sign(bytes: Buffer): Promise<Buffer> {
  const { width, height } = await sharp(bytes).metadata();
  const size = 0.05 * Math.min(width, height);
  const ink = `fill="#fff" stroke="#000" stroke-width="${size / 20}" opacity="0.67"`;
  const letters = `<text x="${width - size}" y="${height - size}" font-family="sans-serif" font-weight="bold" font-size="${size}" text-anchor="end" ${ink}>A. Painter</text>`;
  const layer = Buffer.from(`<svg width="${width}" height="${height}">${letters}</svg>`);
  return sharp(bytes)
    .composite([{ input: layer }])
    .png()
    .toBuffer();
}

test.each(examples)("examples/%s has no mark, though the same shapes stand in its corners", async (example) => {
  expect(await marksOf(await readPictures(example))).toEqual([]);
});

// In the faces of character-fox the corner holds the edge of the face as well, which goes on into the picture.
const others = examples.filter((example) => example !== "character-fox");

test.each(others)("of examples/%s with every second picture signed, those have the signature", async (example) => {
  const pictures = await readPictures(example);
  const isSigned = (i: number): boolean => i % 2 === 0;
  const signed = await Promise.all(pictures.map(async (bytes, i) => (isSigned(i) ? sign(bytes) : bytes)));
  const marks = await marksOf(signed);
  expect(marks.map(({ corner }) => corner)).toEqual(["bottom right"]);
  const found = marks[0]?.pictures ?? [];
  expect(found.filter(isSigned).length).toBeGreaterThanOrEqual(0.9 * Math.ceil(pictures.length / 2));
  // Of 18 drawings without it a few have strokes in the same place that are like letters.
  expect(found.filter((i) => !isSigned(i)).length).toBeLessThanOrEqual(4);
});

test("copies of one picture share all and so no mark", () => {
  const length = measureCorners({ widthPx: 256, heightPx: 256, channels: 3, data: new Uint8Array(3 * 256 * 256) }).length;
  let state = 1;
  const noise = () => ({ corners: Int8Array.from({ length }, () => ((state = (state * 48271) % 2147483647) % 41) - 20) });
  const same = noise();
  expect(findMarks([same, same, same, noise(), noise(), noise()], [[0, 1, 2]])).toEqual([]);
});
