/** gesso train on a set with near-copies: what is held out, where it is kept, and that a run that goes on holds out the same. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { chooseHeldOut } from "../../src/dataset/split.ts";
import type { TrainEvent, TrainPlan } from "../../src/index.ts";
import { writeToyBase } from "../toy-base.ts";
import { gesso, useTemporaryFolder } from "./command-line.ts";

const inside = useTemporaryFolder();
/** Pictures of a look of their own; of the last three there are two near-copies each. */
const distinct = 14;
const copiesOf = [11, 12, 13];
const sidePx = 48;

/** Patches of colour by a small generator, smoothed: pictures of two numbers have nothing in common. */
async function paint(number: number): Promise<Buffer> {
  let state = 7919 * (number + 1);
  const patches = Uint8Array.from({ length: 6 * 6 * 3 }, () => (state = (state * 48271) % 2147483647) % 256);
  return sharp(patches, { raw: { width: 6, height: 6, channels: 3 } })
    .resize(sidePx, sidePx)
    .png()
    .toBuffer();
}

beforeAll(async () => {
  // The date stands in the result.
  vi.useFakeTimers({ toFake: ["Date"], now: new Date("2026-01-02T03:04:05Z") });
  await writeToyBase(inside("base"), "sdxl");
  await mkdir(inside("pictures"));
  const add = async (name: string, bytes: Buffer): Promise<void> => {
    await writeFile(inside("pictures", `${name}.png`), bytes);
    await writeFile(inside("pictures", `${name}.txt`), "patches");
  };
  for (let i = 0; i < distinct; i++) await add(`look-${i}`, await paint(i));
  for (const i of copiesOf) {
    await add(`look-${i}-lighter`, await sharp(await paint(i)).linear(1.05, 4).png().toBuffer()); // prettier-ignore
    await add(`look-${i}-again`, await sharp(await sharp(await paint(i)).jpeg({ quality: 80 }).toBuffer()).png().toBuffer()); // prettier-ignore
  }
}, 60_000);
afterAll(() => void vi.useRealTimers());

const trainArgs = (out: string, seed: number, ...more: string[]) => [
  ...[
    "train",
    inside("pictures"),
    "--base",
    inside("base"),
    "--type",
    "style",
    "--trigger",
    "toy",
    "--rank",
    "2",
    "--batch",
    "2",
  ],
  ...[
    "--steps",
    "4",
    "--seed",
    String(seed),
    "--held-out",
    "0.2",
    "--no-previews",
    "--yes",
    "--no-preflight",
    "--out",
    inside(out),
  ],
  ...[...more, "--json"],
];

async function heldOutOf(run: string): Promise<{ planned: readonly string[]; started: readonly string[] }> {
  const plan = JSON.parse(await readFile(inside(run, "toy", "plan.json"), "utf8")) as TrainPlan;
  const lines = (await readFile(inside(run, "toy", "events.jsonl"), "utf8")).trimEnd().split("\n");
  const start = lines.map((line) => JSON.parse(line) as TrainEvent).find(({ type }) => type === "start");
  return { planned: plan.heldOut.value ?? [], started: start?.type === "start" ? start.heldOut : [] };
}

const names = [
  ...Array.from({ length: distinct }, (_, i) => `look-${i}`),
  ...copiesOf.flatMap((i) => [`look-${i}-lighter`, `look-${i}-again`]),
];

test("the plan names what is held out, no near-copy of it stays in training, and a stopped run ends with the same bytes as one that was not", async () => {
  const whole = await gesso(trainArgs("whole", 5));
  expect(whole.err).toEqual([]);
  const { planned, started } = await heldOutOf("whole");
  expect(planned).toHaveLength(4);
  expect([...started].sort()).toEqual([...planned].sort());
  // It is not what the seed alone would choose.
  expect([...planned].sort()).not.toEqual(chooseHeldOut(names, 5, 0.2));
  for (const i of copiesOf) {
    const group = [`look-${i}`, `look-${i}-lighter`, `look-${i}-again`];
    expect([0, 3]).toContain(group.filter((name) => planned.includes(name)).length);
  }

  const stopped = await gesso(trainArgs("stopped", 5), (line) => line.startsWith('{"type":"step","step":2,'));
  expect(stopped.exitCode).toBe(130);
  const resumed = await gesso(["train", "--resume", inside("stopped", "toy"), "--no-preflight"]);
  expect(resumed.err).toEqual([]);
  expect(await heldOutOf("stopped")).toEqual({ planned, started });
  for (const file of ["toy.safetensors", "checkpoints/step-000004/optimizer.safetensors"]) {
    const [a, b] = await Promise.all(["whole", "stopped"].map((run) => readFile(inside(run, "toy", file))));
    expect(a && b && a.equals(b), file).toBe(true);
  }
}, 120_000);

test("gesso plan tells the same names on its page, another seed others", async () => {
  const plan = async (seed: number): Promise<TrainPlan> => {
    const args = trainArgs("none", seed, "--json").filter((arg) => arg !== "--yes" && arg !== "--no-preflight");
    const { out } = await gesso(["plan", ...args.slice(1)]);
    return (JSON.parse(out.join("\n")) as { plan: TrainPlan }).plan;
  };
  const { planned } = await heldOutOf("whole");
  expect((await plan(5)).heldOut.value).toEqual(planned);
  const others = new Set(await Promise.all([6, 7, 8].map(async (seed) => (await plan(seed)).heldOut.value?.join())));
  expect([...others].filter((text) => text !== planned.join()).length).toBeGreaterThan(0);
  const page = await gesso(["plan", ...trainArgs("none", 5).filter((arg) => !/^--(yes|no-preflight|json)$/.test(arg)).slice(1)]); // prettier-ignore
  expect(page.out.join("\n").replaceAll(/\s+/g, " ")).toContain(`held out 4 pictures ${planned.join(", ")}: from each group`);
}, 120_000);
