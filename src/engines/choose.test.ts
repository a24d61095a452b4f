import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { chooseEngine } from "./choose.ts";

let empty: string;
beforeAll(async () => {
  empty = await mkdtemp(path.join(os.tmpdir(), "gesso-choose-"));
});
afterAll(() => rm(empty, { recursive: true }));

const nothing = () => ({ XDG_DATA_HOME: empty, LOCALAPPDATA: empty });

test("without a Python to be found, auto is the CPU engine, and says why", async () => {
  expect(await chooseEngine({}, nothing())).toEqual({
    engine: "ort",
    reason: "the CPU; no PyTorch with a GPU was found",
    device: "cpu",
    precision: "float32",
    precisionReason: "what it computes in",
    python: null,
    gpus: 1,
    gpusReason: "one worker",
    basePrecision: "float32",
    basePrecisionReason: "what it computes in",
  });
  expect((await chooseEngine({ engine: "ort" }, nothing())).reason).toBe("you chose it");
});

test("a Python that was given and cannot be started is an error, not a silent fall back to the CPU", async () => {
  const python = path.join(empty, "python");
  for (const engine of ["auto", "torch"] as const) {
    await expect(chooseEngine({ engine, python }, nothing())).rejects.toThrow(`Cannot start ${python}: it is not there.`);
  }
});

test("what the CPU engine cannot do is refused", async () => {
  await expect(chooseEngine({ engine: "ort", precision: "bfloat16" }, nothing())).rejects.toThrow("not in bfloat16");
  await expect(chooseEngine({ engine: "ort", device: "cuda" }, nothing())).rejects.toThrow("does not run on cuda");
  await expect(chooseEngine({ device: "cuda" }, nothing())).rejects.toThrow("No Python with PyTorch was found");
});
