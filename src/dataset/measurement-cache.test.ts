import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { measurePixels, MEASUREMENT_VERSION, type MeasuredFile } from "./measure/picture.ts";
import { openMeasurementCache } from "./measurement-cache.ts";

let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "gesso-measurements-"));
});
afterAll(() => rm(root, { recursive: true }));

const stamp = { size: 10, mtimeMs: 1234.5 };
const hash = (start: string): string => start.padEnd(64, "0");

/** Of 64 x 64 px whose colours run through all bytes. */
function measuredFile(fileHash: string): MeasuredFile {
  const data = Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * 7) % 256);
  const measurement = measurePixels({ widthPx: 64, heightPx: 64, channels: 3, data });
  return { fileHash, header: { widthPx: 64, heightPx: 64, format: "png", hasAlpha: false, frames: 1 }, measurement };
}

async function remember(folder: string, path: string, file: MeasuredFile): Promise<void> {
  const cache = openMeasurementCache(folder);
  await cache.add(path, stamp, file);
  await cache.close();
}

/** All lines of contents, whichever file they are in. */
async function contentLines(folder: string): Promise<readonly string[]> {
  const texts = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), "utf8")));
  return texts.flatMap((text) => text.split("\n")).filter((line) => line.startsWith('{"hash"'));
}

test("what was measured comes back value by value, by its path and by its content, and not for another stamp", async () => {
  const folder = join(root, "values");
  const file = measuredFile(hash("ab"));
  await remember(folder, "/a/b.png", file);
  const cache = openMeasurementCache(folder);
  expect(await cache.find("/a/b.png", stamp)).toEqual(file);
  expect(await cache.findContent(file.fileHash)).toEqual(file);
  expect(await cache.find("/a/b.png", { ...stamp, mtimeMs: 1 })).toBeUndefined();
  expect(await cache.find("/a/c.png", stamp)).toBeUndefined();
  await cache.close();
});

test("what an inspection measured is found by its content before it is written and after", async () => {
  const cache = openMeasurementCache(join(root, "same"));
  const files = ["a1", "a2", "a3"].map((start) => measuredFile(hash(start)));
  for (const [i, file] of files.entries()) {
    // Bytes and letters of a line differ where a path is not of plain letters.
    await cache.add(`/größe/${i}.png`, stamp, file);
    expect((await cache.findContent(file.fileHash))?.measurement).toBe(file.measurement);
  }
  // Longer than lines wait.
  await expect.poll(async () => (await cache.findContent(hash("a3")))?.measurement).not.toBe(files[2]?.measurement);
  for (const [i, file] of files.entries()) expect(await cache.find(`/größe/${i}.png`, stamp)).toEqual(file);
  await cache.close();
});

test("a content is written once, whatever files hold it", async () => {
  const folder = join(root, "once");
  await remember(folder, "/a.png", measuredFile(hash("c")));
  await remember(folder, "/b.png", measuredFile(hash("c")));
  expect(await contentLines(folder)).toHaveLength(1);
  const cache = openMeasurementCache(folder);
  expect(await cache.find("/b.png", stamp)).toBeDefined();
  await cache.close();
});

test("a line that broke off is passed over, and the next one stands on a line of its own", async () => {
  const folder = join(root, "torn");
  await remember(folder, "/a.png", measuredFile(hash("d1")));
  await appendFile(join(folder, "d.jsonl"), '{"hash":"d2');
  await remember(folder, "/b.png", measuredFile(hash("d3")));
  const cache = openMeasurementCache(folder);
  expect(await cache.findContent(hash("d1"))).toBeDefined();
  expect(await cache.findContent(hash("d2"))).toBeUndefined();
  expect(await cache.findContent(hash("d3"))).toBeDefined();
  await cache.close();
});

test("what was measured in another way, and damaged lines, count as not known", async () => {
  const folder = join(root, "old");
  await remember(folder, "/a.png", measuredFile(hash("e1")));
  const file = join(folder, "e.jsonl");
  const text = await readFile(file, "utf8");
  await writeFile(file, text.replace(`"version":${MEASUREMENT_VERSION},`, `"version":${MEASUREMENT_VERSION - 1},`));
  const older = openMeasurementCache(folder);
  expect(await older.findContent(hash("e1"))).toBeUndefined();
  await older.close();
  await writeFile(file, text.replace('"m":{', '"m":'));
  const damaged = openMeasurementCache(folder);
  expect(await damaged.findContent(hash("e1"))).toBeUndefined();
  await damaged.close();
});
