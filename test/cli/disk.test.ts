/** Whether there is room for what a run writes, asked on the command line: gesso plan says it, gesso train does not begin. */
import { stat } from "node:fs/promises";
import { beforeAll, expect, test } from "vitest";
import type { PlanFinding, RunProspect } from "../../src/index.ts";
import { writeToyBase, writeToyDataset } from "../toy-base.ts";
import { gesso, useTemporaryFolder } from "./command-line.ts";

const inside = useTemporaryFolder();
/** A checkpoint in every step. */
const ask = (command: "plan" | "train", steps: number, ...more: string[]) =>
  gesso([
    ...[command, inside("pictures"), "--base", inside("base"), "--out", inside("runs"), "--type", "style", "--trigger", "toy"],
    ...["--rank", "8", "--no-previews", "--checkpoint-every", "1", "--steps", String(steps), ...more],
  ]);

async function planOf(steps: number): Promise<RunProspect> {
  const { out } = await ask("plan", steps, "--json");
  return JSON.parse(out.join("\n")) as RunProspect;
}

const fullDisks = ({ plan }: RunProspect): readonly PlanFinding[] =>
  (plan.findings ?? []).filter(({ id }) => id === "disk.too-small");

beforeAll(async () => {
  await writeToyBase(inside("base"), "sdxl");
  await writeToyDataset(inside("pictures"), 6);
}, 60_000);

test("a run whose checkpoints take four fifths of the room fits, one whose take six fifths is refused by plan and train", async () => {
  const most = 1e7;
  const asked = await planOf(most);
  const [run] = asked.disk;
  const room = (run?.freeBytes ?? 0) / (run?.bytes ?? 1);
  // On a disk that holds ten million checkpoints there is nothing to see.
  if (room * 1.2 > 1) return;
  expect(fullDisks(await planOf(Math.floor(0.8 * room * most)))).toEqual([]);

  const tooMany = Math.ceil(1.2 * room * most);
  expect(fullDisks(await planOf(tooMany))).toMatchObject([
    { severity: "error", mend: expect.stringContaining("--out") as string },
  ]);
  const refused = await ask("train", tooMany);
  expect(refused.exitCode).not.toBe(0);
  expect([...refused.out, ...refused.err].join("\n").replace(/\s+/g, " ")).toMatch(
    /The run will write [\d.]+ [GT]B \(the run's folder [\d.]+ [GT]B, the cache of encodings [\d.]+ kB\), and the disk of .* free\. .*give another --out/,
  );
  await expect(stat(inside("runs"))).rejects.toThrow(/ENOENT/);
}, 120_000);
