/** gesso demo on a toy base model and a toy example, from end to end. */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, test } from "vitest";
import { readExample, runDemo } from "../../src/cli/demo.ts";
import { readPictureHeader } from "../../src/formats/images.ts";
import { openBase } from "../../src/index.ts";
import { writeToyBase, writeToyDataset } from "../toy-base.ts";
import { useTemporaryFolder } from "./command-line.ts";

const inside = useTemporaryFolder();

beforeAll(async () => {
  await writeToyBase(inside("base"), "sd15");
  await writeToyDataset(inside("examples", "style-toy"), 6);
  await writeFile(
    inside("examples", "style-toy", "demo.json"),
    JSON.stringify({ trigger: "toy", type: "style", prompts: ["circle", "star"] }),
  );
});

async function demo(): Promise<{ exitCode: number; text: string }> {
  const lines: string[] = [];
  const out = (text: string) => void lines.push(text);
  const terminal = {
    out,
    err: out,
    status: () => undefined,
    isInteractive: false,
    columns: 100,
    signal: new AbortController().signal,
  };
  const example = await readExample(inside("examples"), "style-toy");
  const exitCode = await runDemo(
    { example, base: await openBase(inside("base")), outFolder: inside("runs"), steps: 2 },
    terminal,
  );
  return { exitCode, text: lines.join("\n").replaceAll(inside(), "").replaceAll("\\", "/") };
}

test("the demo trains, draws before and after, and says what it did in calm words", { timeout: 120_000 }, async () => {
  const { exitCode, text } = await demo();
  expect(exitCode).toBe(0);
  expect(text).toMatch(/^Demo: style-toy\n\nThis demo teaches base, a small image model, a style that it has never seen/);
  expect(text).toContain('The word "toy" is put into every caption');
  expect(text).toMatch(
    /\n {2}Before and after {2}\/runs\/demo-style-toy\/before-after\.png\n {2}Training time {5}\S+ s\n {2}Held-out loss {5}\d\.\d{3} of base's own\n/,
  );
  expect(text).toMatch(/\n {2}Adapter {11}\/runs\/demo-style-toy\/toy\.safetensors \(\d+ kB\)\n/);
  expect(text).toMatch(/\n {2}gesso train \.\/pictures --type style --trigger mystyle$/);
  expect(text).not.toContain("!");
  const sheet = await readPictureHeader(inside("runs", "demo-style-toy", "before-after.png"));
  // Two columns and three rows of tiles that are shown at 192 px at least.
  expect(sheet.widthPx).toBeGreaterThan(2 * 192);
  expect(sheet.heightPx).toBeGreaterThan(3 * 192);
});

test("each demo is a run of its own", { timeout: 120_000 }, async () => {
  expect((await demo()).exitCode).toBe(0);
  expect(await readdir(inside("runs"))).toEqual(["demo-style-toy", "demo-style-toy-2"]);
});

test("every bundled example says what to show of it", async () => {
  const folder = fileURLToPath(new URL("../../examples", import.meta.url));
  const names = (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name);
  expect(names.length).toBeGreaterThan(1);
  for (const name of names) {
    const { prompts, type } = await readExample(folder, name);
    expect(prompts.length, name).toBeGreaterThan(3);
    expect(name.startsWith(`${type}-`), name).toBe(true);
    const captions = (await readdir(join(folder, name)))
      .filter((file) => file.endsWith(".txt"))
      .map((file) => file.slice(0, -4).replaceAll("-", " "));
    expect(
      prompts.filter((prompt) => captions.includes(prompt)),
      name,
    ).toEqual([]);
  }
});
