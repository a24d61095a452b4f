/** Reading datasets: every layout that people have, and every way in which one is broken. */
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { UserError } from "../errors.ts";
import { readDataset } from "./read.ts";

let root = "";
let folder = "";
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "gesso-dataset-"));
});
afterAll(() => rm(root, { recursive: true }));
beforeEach(async () => {
  folder = join(root, `set-${count++}`);
  await mkdir(folder);
});

async function picture(name: string, widthPx = 40, heightPx = 30): Promise<void> {
  await sharp({ create: { width: widthPx, height: heightPx, channels: 3, background: "#336699" } }).toFile(join(folder, name));
}
const text = (name: string, content: string | Uint8Array) => writeFile(join(folder, name), content);

async function truncatedJpeg(name: string): Promise<void> {
  const noise = { type: "gaussian" as const, mean: 128, sigma: 40 };
  const whole = await sharp({ create: { width: 200, height: 200, channels: 3, background: "red", noise } })
    .jpeg()
    .toBuffer();
  await text(name, whole.subarray(0, Math.floor(whole.length * 0.8)));
}

async function refusal(): Promise<UserError> {
  const error: unknown = await readDataset(folder).catch((reason: unknown) => reason);
  if (!(error instanceof UserError)) throw new Error(`expected a UserError, got ${JSON.stringify(error)}`);
  return error;
}

describe("a sound dataset", () => {
  test("lists pictures by name, with sizes as they are seen, captions and masks", async () => {
    await picture("b.PNG");
    await picture("a.jpg");
    await sharp({ create: { width: 40, height: 20, channels: 4, background: "#33669980" } }).toFile(join(folder, "c.webp"));
    const sideways = sharp({ create: { width: 60, height: 30, channels: 3, background: "red" } });
    await sideways.jpeg().withMetadata({ orientation: 6 }).toFile(join(folder, "d.jpeg"));
    await copyFile(join(folder, "b.PNG"), join(folder, "b.mask.png"));
    await text("a.txt", "\uFEFFa dog,\r\non grass \r\n");
    await text("b.TXT", Buffer.from("\uFEFFein Hund", "utf16le"));
    await text("c.caption", "a cat");
    await text("notes.md", "ignored");
    await text(".hidden.txt", "ignored");
    await picture(".hidden.png");
    const { items, findings } = await readDataset(folder);
    expect(items.map(({ name, caption, captionSource }) => [name, caption, captionSource])).toEqual([
      ["a", "a dog, on grass", "text file"],
      ["b", "ein Hund", "text file"],
      ["c", "a cat", "text file"],
      ["d", "", "none"],
    ]);
    expect(items[0]).toEqual({
      path: join(folder, "a.jpg"),
      name: "a",
      widthPx: 40,
      heightPx: 30,
      caption: "a dog, on grass",
      captionSource: "text file",
      repeats: 1,
      hasAlpha: false,
    });
    expect(items[1]?.maskPath).toBe(join(folder, "b.mask.png"));
    expect(items[2]?.hasAlpha).toBe(true);
    expect([items[3]?.widthPx, items[3]?.heightPx]).toEqual([30, 60]);
    expect(findings.map(({ severity, message }) => `${severity}: ${message}`)).toEqual([
      `warning: No caption for 1 of 4 pictures in ${folder} (first: d.jpeg).`,
    ]);
    expect(findings[0]?.fix).toContain("Add d.txt beside the picture");
  });

  test("takes captions from tables, text files first, and a default last", async () => {
    for (const name of ["a.png", "b.png", "c.png", "d.png"]) await picture(name);
    await mkdir(join(folder, "images"));
    await picture("images/e.png");
    await text("d.txt", "from a file");
    const rows = [
      { file_name: "a.png", text: "from text" },
      { file_name: "b.png", caption: "from  caption", text: "not this" },
      { file_name: "d.png", text: "not this" },
      { file_name: "images/e.png", text: "below" },
    ];
    await text("metadata.jsonl", rows.map((row) => JSON.stringify(row)).join("\r\n") + "\n\n");
    const { items, findings } = await readDataset(folder, { defaultCaption: " a picture " });
    expect(items.map(({ name, caption, captionSource }) => [name, caption, captionSource])).toEqual([
      ["a", "from text", "table"],
      ["b", "from caption", "table"],
      ["c", "a picture", "default"],
      ["d", "from a file", "text file"],
      ["images/e", "below", "table"],
    ]);
    expect(findings).toEqual([]);
  });

  test("finds composed and decomposed letters in a table to be the same", async () => {
    await picture("e\u0301.png");
    await text("captions.jsonl", JSON.stringify({ file_name: "\u00e9.png", caption: "accent" }));
    expect((await readDataset(folder)).items[0]?.caption).toBe("accent");
  });

  test("repeats Kohya's folders as their names say, and calls uncaptioned pictures by them", async () => {
    for (const name of ["10_sks dog", "2_style", "0_off", "2024_trip"]) await mkdir(join(folder, name));
    await picture("10_sks dog/a.png");
    await picture("10_sks dog/b.png");
    await text("10_sks dog/b.txt", "a dog");
    await picture("2_style/a.png");
    await text("2_style/metadata.jsonl", JSON.stringify({ file_name: "a.png", text: "in a table" }));
    await picture("0_off/x.png");
    await picture("2024_trip/y.png");
    const { items, findings } = await readDataset(folder);
    expect(items.map(({ name, caption, repeats }) => [name, caption, repeats])).toEqual([
      ["10_sks dog/a", "sks dog", 10],
      ["10_sks dog/b", "a dog", 10],
      ["2024_trip/y", "trip", 2024],
      ["2_style/a", "in a table", 2],
    ]);
    expect(findings.map(({ severity, file }) => [severity, file])).toEqual([
      ["info", join(folder, "0_off")],
      ["warning", join(folder, "2024_trip")],
    ]);
  });

  test("says what it does not use: other folders, orphans, absent files, shared names, frames", async () => {
    await picture("a.png");
    await text("a.txt", "a");
    await text("lost.txt", "no picture");
    await copyFile(join(folder, "a.png"), join(folder, "lost.mask.png"));
    await text("captions.jsonl", JSON.stringify({ file_name: "gone.png", text: "t" }));
    await mkdir(join(folder, "old"));
    await picture("old/x.png");
    await picture("twin.png");
    await picture("twin.jpg");
    await text("twin.txt", "both");
    const frames = sharp(
      new Uint8Array(20 * 40 * 3).map((_, i) => (i < 1200 ? 250 : 5)),
      {
        raw: { width: 20, height: 40, channels: 3, pageHeight: 20 },
      },
    );
    await frames.gif().toFile(join(folder, "z.gif"));
    await text("z.txt", "moving");
    const { items, findings } = await readDataset(folder);
    expect(items.map(({ name, caption }) => [name, caption])).toEqual([
      ["a", "a"],
      ["twin.jpg", "both"],
      ["twin.png", "both"],
      ["z", "moving"],
    ]);
    const messages = findings.map(({ severity, message }) => `${severity}: ${message.replaceAll(folder, ".")}`).sort();
    expect(messages).toEqual([
      "info: ./z.gif has 2 frames; the first is used.",
      "warning: ./lost.mask.png belongs to no picture: there is none of the name lost.",
      "warning: ./lost.txt belongs to no picture: there is none of the name lost.",
      "warning: ./old holds a picture that is not used: only the dataset's own folder and folders like 10_name are read.",
      "warning: ./twin.jpg shares its name, and so its caption, with another picture.",
      "warning: ./twin.png shares its name, and so its caption, with another picture.",
      "warning: The caption table in . names files that are not there: 1, the first gone.png.",
    ]);
  });

  test("takes a panorama of 20,000 px and a caption of 10,000 characters, with a warning for the caption", async () => {
    await picture("wide.png", 20000, 100);
    await text("wide.txt", "word ".repeat(2000));
    const { items, findings } = await readDataset(folder);
    expect(items[0]).toMatchObject({ widthPx: 20000, heightPx: 100 });
    expect(items[0]?.caption.length).toBe(9999);
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatchObject({ severity: "warning", file: join(folder, "wide.txt") });
    expect(findings[0]?.message).toContain("9999 characters");
  });
});

describe("no dataset at all", () => {
  test("an empty folder", async () => {
    expect((await refusal()).message).toBe(`The folder ${folder} is empty.`);
  });

  test("a folder of text files", async () => {
    await text("a.txt", "a");
    await text("b.txt", "b");
    expect((await refusal()).message).toBe(`No pictures in ${folder}: it holds 2 other files (first: a.txt).`);
  });

  test("a folder that is not there, and a file in its place", async () => {
    folder = join(folder, "absent");
    expect((await refusal()).message).toBe(`There is no folder ${folder}.`);
    await writeFile(folder, "");
    expect((await refusal()).message).toContain("is a file; a dataset is a folder of pictures");
  });
});

describe("a broken file", () => {
  test("is named, one by one or as a list, and never skipped", async () => {
    await picture("good.png");
    await truncatedJpeg("cut.jpg");
    const one = await refusal();
    expect(one.message).toContain(join(folder, "cut.jpg"));
    expect(one.message).toMatch(/premature end|breaks off/);
    await picture("dot.png", 1, 1);
    await text("old.bmp", "BM and so on");
    await text("fake.webp", "not a picture");
    await symlink(join(folder, "nowhere"), join(folder, "link.png"));
    const all = await refusal();
    expect(all.message).toContain(`5 files in ${folder} cannot be used:`);
    for (const part of ["cut.jpg", "is 1 x 1 px", "old.bmp is a bmp file", "fake.webp", "link.png"])
      expect(all.message).toContain(part);
    expect(all.fix).toBeDefined();
  });

  test("is left out with a warning when that is asked for, unless nothing is left", async () => {
    await picture("good.png");
    await text("good.txt", "good");
    await truncatedJpeg("cut.jpg");
    await text("photo.heic", "x");
    const { items, findings } = await readDataset(folder, { skipBroken: true });
    expect(items.map(({ name }) => name)).toEqual(["good"]);
    expect(findings.map(({ severity, file }) => [severity, file])).toEqual([
      ["warning", join(folder, "cut.jpg")],
      ["warning", join(folder, "photo.heic")],
    ]);
    expect(findings[1]?.fix).toBe("Convert it to png.");
    await rm(join(folder, "good.png"));
    await expect(readDataset(folder, { skipBroken: true })).rejects.toThrow("None of the 2 pictures");
  });

  test("a truncated JPEG passes only where pixels are not verified", async () => {
    await truncatedJpeg("cut.jpg");
    expect((await readDataset(folder, { verifyPixels: false })).items).toHaveLength(1);
  });

  test("a caption that is no text, too much text, and rows that are no captions", async () => {
    await picture("a.png");
    await picture("b.png");
    await text("a.txt", Uint8Array.of(0xff, 0xd8, 0xff, 0xe0));
    await text("b.txt", "x".repeat(1_000_001));
    const rows = ["{", "[]", '{"text": "t"}', '{"file_name": "a.png", "text": 5}', '{"file_name": "../a.png", "text": "t"}'];
    await text("metadata.jsonl", rows.join("\n"));
    const { message } = await refusal();
    expect(message).toContain("a.txt is not UTF-8 text");
    expect(message).toContain("b.txt has 1000001 bytes");
    expect(message).toContain("line 1: not JSON");
    expect(message).toContain("line 2: not an object");
    expect(message).toContain('line 3: no "file_name"');
    expect(message).toContain('line 4: no "text" or "caption"');
    expect(message).toContain('line 5: "file_name" leads out of the folder');
  });

  test("a mask of another shape", async () => {
    await picture("a.png", 64, 64);
    await picture("a.mask.png", 64, 32);
    expect((await refusal()).message).toContain(`a.mask.png is 64 x 32 px, of another shape than ${join(folder, "a.png")}`);
  });
});
