/** Text in PNG files, read back by the image codec, which is not ours. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Pixels, writePng } from "./images.ts";
import { addPngTexts } from "./png-text.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-png-text-"));
});
afterAll(() => rm(folder, { recursive: true }));

const pixels: Pixels = {
  widthPx: 16,
  heightPx: 4,
  channels: 3,
  data: Uint8Array.from({ length: 192 }, (_, i) => (i * 7) % 256),
};

test.each([
  ["tEXt", "a fox, <lora:ink:0.8>\nSteps: 20, Size: 16x4"],
  ["iTXt", "a fox, Größe: 4"],
  ["tEXt", ""],
  ["iTXt", "a 狐, \u{1F98A}\nSteps: 20"],
])("a text in a %s chunk is read back, and the pixels stay what they are", async (chunk, text) => {
  const path = join(folder, "with-text.png");
  await writePng(path, pixels, { parameters: text });
  const bytes = await readFile(path);
  expect(bytes.toString("latin1", 37, 41)).toBe(chunk);
  const { comments } = await sharp(path).metadata();
  if (text !== "") expect(comments).toEqual([{ keyword: "parameters", text }]);
  expect([...(await sharp(path, { failOn: "warning" }).raw().toBuffer())]).toEqual([...pixels.data]);
});

test("a NUL, which would end the text, becomes a replacement character", async () => {
  const path = join(folder, "nul.png");
  await writePng(path, pixels, { parameters: "a\0b" });
  expect((await sharp(path).metadata()).comments).toEqual([{ keyword: "parameters", text: "a\ufffdb" }]);
});

test("keywords that the format does not allow, and bytes that are no PNG, are bugs", async () => {
  const path = join(folder, "plain.png");
  await writePng(path, pixels);
  const png = await readFile(path);
  for (const keyword of ["", " a", "a ", "a  b", "a\nb", "x".repeat(80), "狐"]) {
    expect(() => addPngTexts(png, { [keyword]: "t" })).toThrow("cannot be a keyword");
  }
  expect(() => addPngTexts(new Uint8Array(40), { a: "b" })).toThrow("no PNG");
});
