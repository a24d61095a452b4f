/** gesso train and gesso sample on single-file base models, from end to end. */
import { createHash } from "node:crypto";
import { readFile, stat, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import type { TrainPlan } from "../../src/index.ts";
import { listFileTensors, writeSingleFile, writeTensors } from "../single-file.ts";
import { writeToyDataset } from "../toy-base.ts";
import { type CommandResult, gesso, useTemporaryFolder } from "./command-line.ts";

const inside = useTemporaryFolder();
const small = { metadata: { "modelspec.resolution": "64x64" } };

beforeAll(async () => {
  await writeToyDataset(inside("pictures"), 2);
  // One caption, so that previews have one row.
  for (let i = 0; i < 2; i++) await writeFile(inside("pictures", `square-${i}.txt`), "square");
});

function train(name: string, ...more: string[]): Promise<CommandResult> {
  const settings = ["--type", "style", "--rank", "2", "--batch", "1", "--steps", "1"];
  return gesso(["train", inside("pictures"), ...settings, "--name", name, "--out", inside("runs"), "--yes", ...more]);
}

async function readRun(name: string): Promise<{ plan: TrainPlan; metadata: Readonly<Record<string, string>> }> {
  const plan = JSON.parse(await readFile(inside("runs", name, "plan.json"), "utf8")) as TrainPlan;
  return { plan, metadata: (await openSafetensors(inside("runs", name, `${name}.safetensors`))).metadata };
}

const hashOf = async (path: string): Promise<string> =>
  createHash("sha256")
    .update(await readFile(path))
    .digest("hex");

describe("an anime model on SD 1.5 with a VAE besides", () => {
  const [base, vae] = ["anything-v5.safetensors", "kl.safetensors"];

  test("is trained on with clip skip 2, and drawn with by the command that the run ends with", async () => {
    const all = await listFileTensors("sd15");
    const isVae = ({ key }: { readonly key: string }): boolean => key.startsWith("first_stage_model.");
    await writeTensors(
      inside(base),
      all.filter((tensor) => !isVae(tensor)),
      small,
    );
    await writeTensors(inside(vae), all.filter(isVae));

    const { exitCode, out, err } = await train("anime", "--base", inside(base), "--vae", inside(vae));
    expect([exitCode, err]).toEqual([0, []]);
    const text = out.join("\n");
    expect(text).toContain("Note: anything-v5.safetensors is an anime model on Stable Diffusion 1.5: its name says so.");
    expect(text).toMatch(
      /\n {2}clip skip +2 +usual for an anime model on Stable Diffusion 1\.5 \[Civitai's\n +trainer, HoloStrawberry colab\]\n/,
    );
    expect(text).toContain(` --vae ${inside(vae)} --lora `);

    const { plan, metadata } = await readRun("anime");
    expect(plan.captionStyle).toMatchObject({ value: "tags", reason: "anime models on SD 1.5 were trained on Danbooru tags" });
    expect(metadata).toMatchObject({
      ss_base_model_version: "sd_v1",
      ss_sd_model_name: base,
      ss_new_sd_model_hash: await hashOf(inside(base)),
      ss_new_vae_hash: await hashOf(inside(vae)),
      ss_clip_skip: "2",
      "modelspec.prediction_type": "epsilon",
    });
    const picture = inside("anime.png");
    const lora = inside("runs", "anime", "anime.safetensors");
    const args = ["sample", "--base", inside(base), "--vae", inside(vae), "--lora", lora, "--prompt", "square"];
    expect((await gesso([...args, "--steps", "1", "--out", picture])).exitCode).toBe(0);
    expect((await stat(picture)).size).toBeGreaterThan(100);
  });
});

test("NoobAI V-Pred is trained on and drawn with as velocity on a schedule that ends in pure noise", async () => {
  const base = inside("noobaiXL_vPred.safetensors");
  const markers = ["v_pred", "ztsnr"].map((key) => ({ key, shape: [1] }));
  await writeSingleFile(base, "sdxl", { ...small, change: (tensors) => [...tensors, ...markers] });
  const { exitCode, out, err } = await train("noob", "--base", base);
  expect([exitCode, err]).toEqual([0, []]);
  expect(out.join("\n")).toMatch(/\n {2}predicts +velocity +the file holds the tensors v_pred and ztsnr\n/);
  const { plan, metadata } = await readRun("noob");
  expect(plan.lineage).toEqual({ value: "noobai", reason: "its name says so", source: "the base model" });
  expect(plan.zeroTerminalSnr.value).toBe(true);
  expect(plan.clipSkip.reason).toContain("SDXL always reads the second-to-last layer");
  expect(metadata).toMatchObject({
    ss_base_model_version: "sdxl_base_v1-0",
    ss_new_sd_model_hash: await hashOf(base),
    ss_clip_skip: "None",
    "modelspec.prediction_type": "v",
  });
  const args = ["sample", "--base", base, "--lora", inside("runs", "noob", "noob.safetensors"), "--prompt", "square"];
  const drawn = await gesso([...args, "--steps", "2", "--out", inside("noob.png")]);
  expect([drawn.exitCode, drawn.err]).toEqual([0, []]);
  expect(drawn.out[0]).toMatch(/^Note: noobaiXL_vPred\.safetensors is NoobAI XL: /);

  const refused = await gesso([...args, "--clip-skip", "1", "--out", inside("no.png")]);
  expect(refused.exitCode).toBe(2);
  expect(refused.err[0]).toMatch(/^noobaiXL_vPred\.safetensors cannot be read with a clip skip of 1: SDXL was trained on/);
});
