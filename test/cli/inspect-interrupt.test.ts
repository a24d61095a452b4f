/** Ctrl-C in the middle of an inspection, of a process that is a real one. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import sharp from "sharp";
import { expect, test } from "vitest";
import { useTemporaryFolder } from "./command-line.ts";

const inside = useTemporaryFolder();
const pictures = 200;

test("a process that is interrupted says how many pictures are left, and all others are written down", async () => {
  await mkdir(inside("photos"));
  const noise = { type: "gaussian", mean: 128, sigma: 20 } as const;
  const create = { width: 700, height: 700, channels: 3, background: "#888", noise } as const;
  const jpeg = await sharp({ create }).jpeg({ quality: 90 }).toBuffer();
  // What follows the picture makes each a content of its own, at no cost.
  for (let i = 0; i < pictures; i++) await writeFile(inside("photos", `${i}.jpg`), Buffer.concat([jpeg, Buffer.from(`${i}`)]));
  const first = await inspect((child) => void child.kill("SIGINT"));
  expect(first.exitCode).toBe(130);
  const left = Number(/Stopped with (\d+) pictures left/.exec(first.err)?.[1]);
  expect(left).toBeGreaterThan(0);
  expect(await countMeasured()).toBe(pictures - left);
  const second = await inspect(() => undefined);
  expect(second.exitCode).toBe(0);
  expect(await countMeasured()).toBe(pictures);
});

/** Runs the command; calls back once something was written down. */
async function inspect(
  act: (child: ReturnType<typeof spawn>) => void,
): Promise<{ readonly exitCode: number | null; readonly err: string }> {
  const args = ["--import", "tsx", "src/cli/main.ts", "inspect", inside("photos"), "--base", "sdxl"];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
  let err = "";
  child.stderr.on("data", (text: Buffer) => (err += text.toString()));
  const ended = once(child, "exit");
  while (child.exitCode === null && (await countMeasured()) === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  act(child);
  await ended;
  return { exitCode: child.exitCode, err };
}

/** Contents in the cache. */
async function countMeasured(): Promise<number> {
  const folder = inside("cache", "gesso", "inspect");
  const names = await readdir(folder).catch(() => []);
  const texts = await Promise.all(names.map((name) => readFile(`${folder}/${name}`, "utf8")));
  return new Set(texts.flatMap((text) => text.match(/^\{"hash":"[0-9a-f]{64}"/gm) ?? [])).size;
}
