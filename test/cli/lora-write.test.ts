/** gesso lora merge, resize and extract, as a person types them. */
import { readdir } from "node:fs/promises";
import { beforeAll, expect, test } from "vitest";
import { openBase } from "../../src/checkpoints/open-base.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { writeRandomAdapter } from "../random-adapter.ts";
import { writeToyBase } from "../toy-base.ts";
import { gesso, useTemporaryFolder } from "./command-line.ts";

const inside = useTemporaryFolder();
const query = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";
const text = "text_encoder.text_model.encoder.layers.0.mlp.fc1";

beforeAll(async () => {
  const base = await openBase(await writeToyBase(inside("base"), "sd15"), { hashCacheFile: undefined });
  await writeRandomAdapter(inside("a.safetensors"), base, { [query]: [8, 4], [text]: [2, 2] });
  await writeRandomAdapter(inside("b.safetensors"), base, { [query]: [4, 4] }, { seed: 2 });
});

/** What is printed, without the temporary folder. */
const plain = (lines: readonly string[]): string => lines.join("\n").replaceAll(inside(), "").replaceAll("\\", "/");

test("merge, resize and extract say what they wrote and what was lost", async () => {
  const merged = await gesso(["lora", "merge", `${inside("a.safetensors")}:0.8`, inside("b.safetensors"), "--out", inside("ab.safetensors")]); // prettier-ignore
  expect(merged.exitCode, plain(merged.err)).toBe(0);
  expect(plain(merged.out)).toMatch(/^\/ab\.safetensors: 2 layers from 2 files, float32, \d\.\d kB\.\n {2}text_encoder {2}1 layer, rank 2, exact\n {2}unet {10}1 layer, rank 12, exact\nLoads in [A-Z]/);

  const resized = await gesso(["lora", "resize", inside("ab.safetensors"), "--rank", "4", "--dtype", "float16", "--out", inside("new", "small.safetensors")]); // prettier-ignore
  expect(resized.exitCode, plain(resized.err)).toBe(0);
  expect(plain(resized.out)).toMatch(/float16, [\d.]+ (bytes|kB) \(was \d\.\d kB\)\.\n {2}text_encoder.* exact\n {2}unet.* rank 4, \d\d\.\d\d % of the energy kept\nLoads in [A-Z]/);

  const into = await gesso(["lora", "merge", inside("b.safetensors"), "--into", inside("base"), "--out", inside("tuned")]);
  expect(into.exitCode, plain(into.err)).toBe(0);
  expect(plain(into.out)).toMatch(/^\/tuned: base with 1 weight changed, a folder of [\d.]+ [kM]B\.$/);

  const extracted = await gesso(["lora", "extract", inside("tuned"), "--from", inside("base"), "--energy", "0.99", "--out", inside("e.safetensors"), "--json"]); // prettier-ignore
  expect(extracted.exitCode, plain(extracted.err)).toBe(0);
  expect(JSON.parse(plain(extracted.out))).toMatchObject({ layers: 1, dtype: "float16", parts: [{ part: "unet", greatestRank: 4 }] }); // prettier-ignore
  expect((await openSafetensors(inside("e.safetensors"))).tensors.size).toBe(3);
}); // prettier-ignore

test.each([
  ["no output", ["merge", "a.safetensors"], "gesso lora merge needs --out", 2],
  ["no choice", ["resize", "a.safetensors", "--out", "x.safetensors"], "gesso lora resize needs --rank or --energy", 2],
  ["no base", ["extract", "tuned", "--rank", "4", "--out", "x.safetensors"], "gesso lora extract needs --from", 2],
  ["an energy above one", ["resize", "a.safetensors", "--energy", "99", "--out", "x.safetensors"], "--energy 99 is no share", 2],
  ["an output that is there", ["resize", "a.safetensors", "--rank", "1", "--out", "b.safetensors"], "b.safetensors is there already", 2],
  ["its own input as output", ["resize", "a.safetensors", "--rank", "1", "--overwrite", "--out", "a.safetensors"], "is one of the files that are read", 2],
  ["another ending", ["merge", "a.safetensors", "--out", "x.pt"], "does not end in .safetensors", 2],
  ["a weight that is no number", ["merge", "a.safetensors:much", "--out", "x.safetensors"], '"much" is not a weight', 2],
  ["a file that is not there", ["merge", "none.safetensors", "--out", "x.safetensors"], "There is no file", 1],
  ["a rank beside --into", ["merge", "a.safetensors", "--into", "base", "--rank", "3", "--out", "x"], "have no meaning beside --into", 2],
  ["a network that there is not", ["extract", "base", "--from", "base", "--rank", "1", "--parts", "vae", "--out", "x.safetensors"], 'no network "vae"', 2],
  ["a model less itself", ["extract", "base", "--from", "base", "--rank", "1", "--out", "x.safetensors"], "it would change nothing", 1],
] as const)("refuses %s and writes nothing", async (_, [verb, ...args], message, exitCode) => {
  const isPath = (arg: string): boolean => /^(\w+\.(safetensors|pt)(:\w+)?|base|tuned|x)$/.test(arg);
  const result = await gesso(["lora", verb, ...args.map((arg) => (isPath(arg) ? inside(arg) : arg))]);
  expect(plain(result.err)).toContain(message);
  expect(plain(result.err)).toMatch(/\nFix: [^\n]+\.?$/);
  expect(result.exitCode).toBe(exitCode);
  expect((await readdir(inside())).filter((name) => name.startsWith("x") || name.includes("tmp"))).toEqual([]);
}); // prettier-ignore

test.each(["merge", "resize", "extract"])("%s --help shows an example", async (verb) => {
  const { out, exitCode } = await gesso(["lora", verb, "--help"]);
  expect(exitCode).toBe(0);
  expect(out.join("\n")).toContain(`\n  gesso lora ${verb} `);
});
