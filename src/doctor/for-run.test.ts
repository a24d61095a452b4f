/** What doctor says of a machine before a run, on this machine. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { examineForRun } from "./for-run.ts";

test("a folder that cannot be made is broken, one that can is not, and nothing is left behind", async () => {
  const folder = await mkdtemp(join(tmpdir(), "gesso-for-run-"));
  try {
    const places = { runFolder: join(folder, "runs", "fox"), cacheFolder: join(folder, "cache"), device: "cpu" };
    const broken = async (changed: Partial<typeof places>): Promise<readonly string[]> => {
      const found = await examineForRun({ ...places, ...changed });
      return found.filter(({ mark, area }) => mark === "broken" && area === "disk").map(({ id }) => id);
    };
    expect(await broken({})).toEqual([]);
    await writeFile(join(folder, "file"), "");
    expect(await broken({ runFolder: join(folder, "file", "fox") })).toEqual(["disk-unwritable-runs"]);
    expect(await readdir(folder)).toEqual(["file"]);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("what the forecast judges better is left to it", async () => {
  const found = await examineForRun({ runFolder: tmpdir(), cacheFolder: tmpdir(), device: "cpu" });
  expect(found.filter(({ id }) => /^disk-(full|small)|memory-small|card-small/.test(id))).toEqual([]);
});
