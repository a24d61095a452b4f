/** Going on from adapters of every kind: what the run begins with is what the file does, as far as the rank can hold it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeToyBase } from "../../test/toy-base.ts";
import type { BaseModel } from "../checkpoints/base.ts";
import { openBase } from "../checkpoints/open-base.ts";
import { normal } from "../diffusion/philox.ts";
import { UserError } from "../errors.ts";
import { writeSafetensors } from "../formats/safetensors.ts";
import { readDelta } from "../lora/delta.ts";
import { openAdapter } from "../lora/open.ts";
import { readBaseWeight } from "../checkpoints/read-weight.ts";
import type { TrainSettings } from "../planner/plan.ts";
import { findTrainedTargets } from "../planner/targets.ts";
import { readInitialAdapter } from "./initial-adapter.ts";

let folder = "";
let base: BaseModel;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-initial-"));
  base = await openBase(await writeToyBase(join(folder, "base"), "sdxl"), { hashCacheFile: undefined });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"; // 32 x 32
const settings = { rank: 4, alpha: 2, seed: 1, targets: "attention", textEncoderLearningRate: 0, textEncoder2LearningRate: 0 };

async function write(name: string, parts: Readonly<Record<string, readonly number[]>>, module = layer): Promise<string> {
  const path = join(folder, `${name}.safetensors`);
  const tensors = Object.entries(parts).map(([part, shape], step) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const data = shape.length === 0 ? Float32Array.of(3) : normal({ seed: 5, purpose: "init", step }, count);
    return { name: `${module}.${part}`, dtype: "F32", shape, data } as const;
  });
  await writeSafetensors(path, tensors);
  return path;
}

/** What the run begins with on the layer, as its change at the plan's scale, and what the file itself does there. */
async function begin(
  path: string,
): Promise<{ start: Float32Array; file: Float32Array; down: Float32Array; notes: readonly string[] }> {
  const plan = settings as unknown as TrainSettings;
  const { weights, notes } = await readInitialAdapter(path, base, findTrainedTargets(base, plan), plan);
  const { down, up } = weights.get(layer) ?? { down: new Float32Array(), up: new Float32Array() };
  const start = new Float32Array(32 * 32);
  for (let row = 0; row < 32; row++)
    for (let column = 0; column < 32; column++)
      for (let k = 0; k < 4; k++)
        start[row * 32 + column] =
          (start[row * 32 + column] ?? 0) + 0.5 * (up[row * 4 + k] ?? 0) * (down[k * 32 + column] ?? 0);
  const adapter = await openAdapter(path, { base });
  const [module] = adapter.modules;
  if (!module) throw new Error("a module needed");
  return { start, file: await readDelta(adapter, module, () => readBaseWeight(base, `${layer}.weight`)), down, notes };
}

/** The share of the squares of `of` that `a` does not have. */
function lostEnergy(a: Float32Array, of: Float32Array): number {
  const energy = (data: Float32Array): number => data.reduce((sum, value) => sum + value ** 2, 0);
  return energy(of.map((value, i) => value - (a[i] ?? NaN))) / energy(of);
}

test.each([
  ["a LoRA of the plan's rank", { "lora_A.weight": [4, 32], "lora_B.weight": [32, 4] }],
  ["a LoRA of a smaller rank", { "lora_A.weight": [2, 32], "lora_B.weight": [32, 2], alpha: [] }],
  ["a LoKr whose rank is 4 in all", { lokr_w1: [2, 2], lokr_w2_a: [16, 2], lokr_w2_b: [2, 16], alpha: [] }],
] as const)("%s is begun with exactly", async (name, parts) => {
  const { start, file, notes } = await begin(await write(name, parts));
  expect(lostEnergy(start, file)).toBeLessThan(1e-10);
  if (name.includes("LoRA")) expect(notes).toEqual([]);
  else expect(notes).toEqual([`${name}.safetensors holds LoKr. As a LoRA of rank 4 it begins with 100.0 % of its change (the squares of its numbers).`]); // prettier-ignore
});

test("what a smaller rank leaves free can learn: its rows of down are not zero", async () => {
  const { down } = await begin(await write("small", { "lora_A.weight": [2, 32], "lora_B.weight": [32, 2] }));
  expect([2, 3].map((row) => down.subarray(row * 32, row * 32 + 32).some((value) => value !== 0))).toEqual([true, true]);
});

test.each([
  ["LoHa", { hada_w1_a: [32, 3], hada_w1_b: [3, 32], hada_w2_a: [32, 3], hada_w2_b: [3, 32] }],
  ["DoRA", { "lora_A.weight": [4, 32], "lora_B.weight": [32, 4], dora_scale: [32, 1] }],
  ["a full change of the weights", { diff: [32, 32] }],
  ["rank 8", { "lora_A.weight": [8, 32], "lora_B.weight": [32, 8] }],
] as const)("%s loses what the note says", async (what, parts) => {
  const { start, file, notes } = await begin(await write("wide", parts));
  const [note = ""] = notes;
  expect(note).toContain(`wide.safetensors holds ${what}. As a LoRA of rank 4`);
  const kept = Number(/begins with ([\d.]+) %/.exec(note)?.[1]);
  expect(kept).toBeLessThan(99);
  expect(100 * (1 - lostEnergy(start, file))).toBeCloseTo(kept, 1);
});

test.each([
  ["a layer that is not trained", "unet.conv_in", { "lora_A.weight": [4, 4, 3, 3], "lora_B.weight": [16, 4, 1, 1] }, "conv_in, which this run does not train"],
  ["a norm", "unet.conv_norm_out", { w_norm: [16], b_norm: [16] }, "changes unet.conv_norm_out.weight, and a LoRA cannot"],
  ["a bias", layer.replace("to_q", "to_out.0"), { diff: [32, 32], diff_b: [32] }, "to_out.0.bias, and a LoRA cannot"],
] as const)("%s is refused", async (_, module, parts, message) => {
  const path = await write("refused", parts, module);
  const plan = settings as unknown as TrainSettings;
  const attempt = readInitialAdapter(path, base, findTrainedTargets(base, plan), plan);
  await expect(attempt).rejects.toThrow(message);
  await expect(attempt).rejects.toThrow(UserError);
}); // prettier-ignore
