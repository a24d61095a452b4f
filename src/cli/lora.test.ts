/** gesso lora: its verbs, and a file on one page. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeSafetensors } from "../formats/safetensors.ts";
import type { Terminal } from "./command.ts";
import { runCli } from "./run.ts";

let folder = "";
let file = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-lora-cli-"));
  file = join(folder, "ink.safetensors");
  const module = (name: string, outputs: number, inputs: number, value: number) => [
    {
      name: `${name}.lora_down.weight`,
      dtype: "F16",
      shape: [2, inputs],
      data: new Float32Array(2 * inputs).fill(value),
    } as const,
    {
      name: `${name}.lora_up.weight`,
      dtype: "F16",
      shape: [outputs, 2],
      data: new Float32Array(2 * outputs).fill(0.5),
    } as const,
    { name: `${name}.alpha`, dtype: "F16", shape: [], data: Float32Array.of(1) } as const,
  ];
  const block = "lora_unet_input_blocks_4_1_transformer_blocks_0";
  const tensors = [
    ...module(`${block}_attn2_to_k`, 640, 2048, 0.0625),
    ...module(`${block}_attn1_to_q`, 640, 640, 0),
    ...module("lora_te1_text_model_encoder_layers_0_mlp_fc1", 3072, 768, 0.0625),
  ];
  await writeSafetensors(file, tensors, {
    ss_base_model_version: "sdxl_base_v1-0",
    "modelspec.trigger_phrase": "inkwash",
    ss_steps: "1200",
  });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function run(...args: string[]): Promise<{ code: number; text: string }> {
  const lines: string[] = [];
  const out = (text: string) => void lines.push(text);
  const terminal: Terminal = {
    out,
    err: out,
    status: () => undefined,
    isInteractive: false,
    columns: 90,
    signal: new AbortController().signal,
  };
  const code = await runCli(args, terminal, "0.0.0");
  return { code, text: lines.join("\n") };
}

test("inspect shows a file on one page", async () => {
  const { code, text } = await run("lora", "inspect", file);
  expect(code).toBe(0);
  expect(text).toMatchInlineSnapshot(`
    "ink.safetensors  33 kB
    LoRA for SDXL: 3 layers, float16, Kohya's names, original blocks

      part             layers   kind   rank   alpha   norm   effective rank
      UNet attention        2   LoRA      2       1   35.8              1.0
      text encoder          1   LoRA      2       1   48.0              1.0

      block          norm
      down 1           35.8  ██████████████████████
      text encoder     48.0  ██████████████████████████████

      trigger      inkwash
      settings     steps 1,200

      loads in
      A1111        yes
      Forge        yes
      ComfyUI      yes
      Invoke       yes
      diffusers    yes

      1 layer without effect, all zeros
      (unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q).

      Norm: the root of the sum of squares of what is added to the weights. Effective rank:
      how many directions a layer's change uses, exp of the entropy of its singular values;
      the mean over layers."
  `);
});

test("inspect --json gives the report", async () => {
  const { text } = await run("lora", "inspect", file, "--json");
  expect(JSON.parse(text)).toMatchObject({
    family: "sdxl",
    layers: 3,
    kinds: ["lora"],
    dead: [expect.stringContaining("attn1.to_q")],
  });
});

test("convert says where the new file loads", async () => {
  const out = join(folder, "peft.safetensors");
  const { code, text } = await run("lora", "convert", file, "--to", "peft", "--out", out);
  expect(code).toBe(0);
  expect(text.replaceAll(folder, "")).toBe(
    "/peft.safetensors: 3 layers in PEFT's naming.\nLoads in diffusers.\nWhat the others do with it: gesso lora inspect /peft.safetensors",
  );
});

test.each([
  [["lora", "inspct"], 2, 'gesso lora has no verb "inspct".\nFix: Did you mean: gesso lora inspect?'],
  [["lora", "convert", "a.safetensors", "--to", "peft"], 2, "gesso lora convert needs --out"],
  [["lora", "convert", "a.safetensors", "--to", "peft", "--out", "b"], 2, "--out b does not end in .safetensors."],
  [["lora", "inspect", "nothing.safetensors"], 1, "There is no file nothing.safetensors."],
] as const)("%j is refused", async (args, code, message) => {
  const result = await run(...args);
  expect(result.code).toBe(code);
  expect(result.text).toContain(message);
});
