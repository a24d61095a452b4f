/** gesso sample from end to end, on a toy base model: which files it leaves, what they say of themselves, and Ctrl-C. */
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import sharp from "sharp";
import { beforeAll, describe, expect, test } from "vitest";
import { writeSafetensors } from "../../src/formats/safetensors.ts";
import { writeToyBase } from "../toy-base.ts";
import { gesso, useTemporaryFolder } from "./command-line.ts";

const inside = useTemporaryFolder();

beforeAll(async () => {
  await writeToyBase(inside("base"), "sd15");
  const module = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q";
  const numbers = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i));
  const tensors = [
    { name: `${module}.lora_down.weight`, dtype: "F32", shape: [2, 32], data: numbers },
    { name: `${module}.lora_up.weight`, dtype: "F32", shape: [32, 2], data: numbers },
  ] as const;
  for (const name of ["ink", "fox"]) await writeSafetensors(inside(`${name}.safetensors`), tensors, { name });
});

const sample = (...more: string[]) => ["sample", "--base", inside("base"), "--steps", "2", "--cfg", "3", ...more];
const inFolder = async (name: string): Promise<string[]> => (await readdir(inside(name))).sort();

/** What a PNG says in its chunk "parameters". */
async function parametersOf(...path: string[]): Promise<string> {
  const { comments = [] } = await sharp(inside(...path)).metadata();
  return comments.find(({ keyword }) => keyword === "parameters")?.text ?? "";
}

test("one picture has the name of --out, and says what it was drawn with as A1111 does", async () => {
  const lora = ["--lora", `${inside("ink.safetensors")}:0.5`, "--lora", inside("fox.safetensors")];
  const more = ["--prompt", "a fox, ink", "--negative", "a cat", "--out", inside("one", "fox.png")];
  const { exitCode, out, err } = await gesso(sample(...lora, ...more));
  expect([exitCode, err]).toEqual([0, []]);
  expect(out.join("\n")).toMatch(/one.fox\.png: 32 x 32 px, drawn in /);
  expect(await parametersOf("one", "fox.png")).toMatch(
    new RegExp(
      "^a fox, ink <lora:ink:0\\.5> <lora:fox:1>\nNegative prompt: a cat\n" +
        "Steps: 2, Sampler: DPM\\+\\+ 2M, Schedule type: Karras, CFG scale: 3, Seed: 42, Size: 32x32, Model: base, " +
        'Lora hashes: "ink: ([0-9a-f]{12}), fox: \\1", Version: gesso \\S+$', // Equal tensors: the metadata is not hashed.
    ),
  );
});

test("--count and --prompts draw every prompt with every seed, into numbered files", async () => {
  await writeFile(inside("prompts.txt"), "\ufeffa fox\r\n\r\n  a cat, 3  \n");
  const args = sample("--prompts", inside("prompts.txt"), "--count", "2", "--seed", "7", "--out", inside("many", "a.png"));
  const { exitCode, out } = await gesso(args);
  expect(exitCode).toBe(0);
  expect(out.at(-1)).toMatch(/a-1\.png to \S+a-4\.png: 4 pictures of 32 x 32 px, drawn in /);
  expect(await inFolder("many")).toEqual(["a-1.png", "a-2.png", "a-3.png", "a-4.png"]);
  const said = await Promise.all([1, 2, 3, 4].map((i) => parametersOf("many", `a-${i}.png`)));
  const expected = ["a fox 7", "a fox 8", "a cat, 3 7", "a cat, 3 8"];
  expect(said.map((text) => `${text.split("\n")[0] ?? ""} ${/Seed: (\d+)/.exec(text)?.[1] ?? ""}`)).toEqual(expected);
});

const grid = (...more: string[]) =>
  sample("--lora", inside("ink.safetensors"), "--prompt", "a fox", "--grid", "weight=0,1", "--grid", "seed=1,2", ...more);

test("a grid is one sheet, and its pictures lie in a folder where that is asked for", async () => {
  const { exitCode, out } = await gesso(
    grid("--out", inside("grid", "sheet.png"), "--grid-pictures", inside("grid", "single")),
  );
  expect(exitCode).toBe(0);
  expect(out.at(-1)).toMatch(/sheet\.png: 4 pictures of 32 x 32 px, drawn in /);
  expect(out).toHaveLength(4); // One line for each picture but the last.
  expect(out[0]).toMatch(/^1 of 4 pictures drawn, \S+ s left\.$/);
  const names = ["row-1-column-1.png", "row-1-column-2.png", "row-2-column-1.png", "row-2-column-2.png"];
  expect(await inFolder("grid/single")).toEqual(names);
  expect(await inFolder("grid")).toEqual(["sheet.png", "single"]);
  expect(await parametersOf("grid", "single", "row-2-column-1.png")).toMatch(/^a fox <lora:ink:0>\n.*Seed: 2,/);
  const { width = 0, height = 0 } = await sharp(inside("grid", "sheet.png")).metadata();
  expect(Math.min(width, height)).toBeGreaterThan(2 * 192);
});

describe("Ctrl-C", () => {
  test("keeps the pictures that are written", async () => {
    const args = sample("--prompt", "a fox", "--count", "4", "--out", inside("stopped", "a.png"));
    const { exitCode, out, err } = await gesso(args, (line) => line.startsWith("2 of 4"));
    expect([exitCode, err]).toEqual([130, []]);
    expect(out.at(-1)).toBe("Stopped: 2 of 4 pictures drawn and written.");
    expect(await inFolder("stopped")).toEqual(["a-1.png", "a-2.png"]);
  });

  test("leaves a sheet with the pictures that are drawn", async () => {
    const whole = await readFile(inside("grid", "sheet.png"));
    const { exitCode, out } = await gesso(grid("--out", inside("part", "sheet.png")), (line) => line.startsWith("3 of 4"));
    expect(exitCode).toBe(130);
    expect(out.at(-1)).toMatch(/^Stopped: 3 of 4 pictures drawn; they are on \S+sheet\.png, the other places are empty\.$/);
    const [part, all] = await Promise.all(
      [readFile(inside("part", "sheet.png")), whole].map(async (png) =>
        sharp(await png)
          .raw()
          .toBuffer(),
      ),
    );
    // The same sheet down to the first row of pictures, and another one below.
    const rows = (all?.length ?? 0) / 3;
    expect(part?.length).toBe(all?.length);
    expect(all && part?.subarray(0, rows).equals(all.subarray(0, rows))).toBe(true);
    expect(all && part?.equals(all)).toBe(false);
  });
});

test.each([
  [["--grid", "seeds=1", "--prompt", "a"], 2, /^--grid seeds=1 is no axis with its values\.\nFix: Did you mean seed/],
  [["--grid", "seed=1", "--count", "2", "--prompt", "a"], 2, /^--count is for pictures without --grid\./],
  [["--grid", "weight=1", "--prompt", "a"], 2, /^--grid weight needs an adapter to be the weight of\./],
  [["--grid-pictures", "x", "--prompt", "a"], 2, /^--grid-pictures needs a --grid\./],
  [["--grid", "seed=1"], 2, /^gesso sample needs --prompt/],
  [["--prompts", "absent.txt"], 1, /^Cannot read the prompts in absent\.txt: /],
  [["--prompts", "absent.txt", "--prompt", "a"], 2, /^--prompt and --prompts both say what to draw\./],
  [["--grid", "lora=none,absent.safetensors", "--prompt", "a"], 1, /^There is no file absent\.safetensors\./],
])("%j is refused before anything is drawn", async (args, exitCode, message) => {
  const result = await gesso(sample(...args, "--out", inside("refused", "a.png")));
  expect(result.err.join("\n")).toMatch(message);
  expect(result.exitCode).toBe(exitCode);
  expect((await inFolder("refused").catch(() => [])).filter((name) => name.endsWith(".png"))).toEqual([]);
});

test("a folder that stands in the place of the second picture is found before the first", async () => {
  await mkdir(inside("taken", "a-2.png"), { recursive: true });
  const result = await gesso(sample("--prompt", "a", "--count", "2", "--out", inside("taken", "a.png")));
  expect(result.err.join()).toMatch(/a-2\.png is a folder\./);
  expect(await inFolder("taken")).toEqual(["a-2.png"]);
});
