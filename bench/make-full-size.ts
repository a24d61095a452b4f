/** Base models of SDXL's and SD 1.5's full size with random weights: to measure and to compare with, where the published ones cannot be had. */
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { readClipVocabulary } from "../src/checkpoints/clip-vocabulary.ts";
import { clipKeys, SD15_CLIP_PREFIX, SDXL_CLIP_PREFIX } from "../src/checkpoints/keys-clip.ts";
import { openClipKeys } from "../src/checkpoints/keys-open-clip.ts";
import { unetKeys } from "../src/checkpoints/keys-unet.ts";
import { originalVaeKeys, VAE_PREFIX } from "../src/checkpoints/keys-vae.ts";
import type { KeyMap } from "../src/checkpoints/locate-weights.ts";
import { UserError } from "../src/errors.ts";
import { sizeOf } from "../src/graph/graph.ts";
import { parseClipTextConfig } from "../src/models/clip/config.ts";
import { listClipTextParameters } from "../src/models/clip/model.ts";
import { parseUnetConfig } from "../src/models/unet/config.ts";
import { listUnetParameters } from "../src/models/unet/model.ts";
import { parseVaeConfig } from "../src/models/vae/config.ts";
import { listVaeParameters } from "../src/models/vae/model.ts";
import type { ParameterSpec } from "../src/nn/params.ts";
import { type Claim, formatMegabytes, row } from "./claim.ts";
import { type FullSizeConfigs, fullSizeConfigs, type FullSizeFamily } from "./full-size-configs.ts";
import { type RandomTensor, writeRandomTensors } from "./random-weights.ts";

const titles: Readonly<Record<FullSizeFamily, string>> = { sdxl: "SDXL", sd15: "SD 1.5" };

/** `make-sdxl` and `make-sd15`: not measurements, but what other ones need. */
export function makeFullSize(family: FullSizeFamily): Claim {
  return {
    name: `make-${family}`,
    about: `writes a random base model of ${titles[family]}'s full size below --out; only when it is named`,
    onlyWhenNamed: true,
    async run({ out, form }) {
      if (out === undefined) {
        const fix = `npm run bench -- make-${family} --out .cache/full-size`;
        throw new UserError(`make-${family} needs --out with a folder for some gigabytes.`, { fix, exitCode: 2 });
      }
      const target = path.join(out, form === "folder" ? family : `${family}.safetensors`);
      await mkdir(out, { recursive: true });
      const bytes = await (form === "folder" ? writeFolder(target, family) : writeSingleFile(target, family));
      return [`${titles[family]} with random weights, float16`, row(form, target), row("size", formatMegabytes(bytes))];
    },
  };
}

/** @returns bytes of weights */
async function writeFolder(folder: string, family: FullSizeFamily): Promise<number> {
  const configs = fullSizeConfigs[family];
  let bytes = 0;
  for (const [component, json, specs] of listComponents(configs)) {
    await writeJson(folder, `${component}/config.json`, json);
    const stem = component.startsWith("text_encoder") ? "model" : "diffusion_pytorch_model";
    const tensors = specs.map((spec) => randomTensor(spec, spec.name.slice(component.length + 1)));
    await writeRandomTensors(path.join(folder, component, `${stem}.safetensors`), tensors);
    bytes += tensors.reduce((sum, { shape }) => sum + 2 * sizeOf(shape), 0);
  }
  for (const name of Object.keys(configs.textEncoders)) await writeTokenizer(folder, name.replace("text_encoder", "tokenizer"));
  await writeJson(folder, "scheduler/scheduler_config.json", configs.scheduler);
  // Last, because it is what makes a folder a base model.
  await writeJson(folder, "model_index.json", modelIndex(configs));
  return bytes;
}

/** All networks in one file, by the names of the original code. @returns bytes of weights */
async function writeSingleFile(file: string, family: FullSizeFamily): Promise<number> {
  const configs = fullSizeConfigs[family];
  const keys: Readonly<Record<string, KeyMap>> = {
    unet: unetKeys(parseUnetConfig(configs.unet)),
    vae: originalVaeKeys(parseVaeConfig(configs.vae), VAE_PREFIX),
    text_encoder: clipKeys(family === "sdxl" ? SDXL_CLIP_PREFIX : SD15_CLIP_PREFIX),
    text_encoder_2: openClipKeys,
  };
  const components = listComponents(configs);
  const tensors = components.flatMap(([component, , specs]) =>
    specs.flatMap((spec) => {
      const { keys: names, part, isTransposed } = keys[component]?.(spec.name.slice(component.length + 1)) ?? { keys: [] };
      const [name] = names;
      if (name === undefined) throw new Error(`make-full-size: ${spec.name} has no name in a single file`);
      // Query, key and value are thirds of one tensor: the first stands for all.
      if (part && part[0] > 0) return [];
      const tensor = randomTensor(spec, name);
      return [{ ...tensor, shape: storedShape(tensor, part?.[1] ?? 1, isTransposed ?? false) }];
    }),
  );
  await writeRandomTensors(file, tensors);
  return tensors.reduce((sum, { shape }) => sum + 2 * sizeOf(shape), 0);
}

/** As it lies in a single file, where the VAE's attention has convolutions of 1 x 1. */
function storedShape({ name, shape }: RandomTensor, parts: number, isTransposed: boolean): readonly number[] {
  const [outputs = 1, ...inputs]: readonly number[] = isTransposed ? [...shape].reverse() : shape;
  const isVaeAttention = name.startsWith(VAE_PREFIX) && name.includes(".attn_1.") && shape.length === 2;
  return [outputs * parts, ...inputs, ...(isVaeAttention ? [1, 1] : [])];
}

/** Every network: its folder, its config.json and its weights. */
function listComponents(configs: FullSizeConfigs): readonly (readonly [string, object, readonly ParameterSpec[]])[] {
  const encoders = Object.entries(configs.textEncoders).map(
    ([name, config]) => [name, config, listClipTextParameters(parseClipTextConfig(config), name)] as const,
  );
  return [
    ["unet", configs.unet, listUnetParameters(parseUnetConfig(configs.unet))],
    ["vae", configs.vae, listVaeParameters(parseVaeConfig(configs.vae))],
    ...encoders,
  ];
}

/**
 * Norms are about the identity and biases small; every matrix gives unit variance for unit variance, none is zero, so that each layer
 * has its share in what comes out.
 */
export function randomTensor({ name, shape }: ParameterSpec, key: string): RandomTensor {
  if (/norm[^.]*\.weight$/.test(name)) return { name: key, shape, mean: 1, deviation: 0.1 };
  if (name.endsWith("embedding.weight")) return { name: key, shape, mean: 0, deviation: 0.02 };
  const inputs = sizeOf(shape) / (shape[0] ?? 1);
  return { name: key, shape, mean: 0, deviation: shape.length === 1 ? 0.05 : 1 / Math.sqrt(inputs) };
}

async function writeTokenizer(folder: string, name: string): Promise<void> {
  const { vocab, merges } = await readClipVocabulary();
  await writeJson(folder, `${name}/vocab.json`, vocab);
  await writeFile(path.join(folder, name, "merges.txt"), `#version: 0.2\n${merges}`);
  await writeJson(folder, `${name}/tokenizer_config.json`, { model_max_length: 77, tokenizer_class: "CLIPTokenizer" });
}

function modelIndex({ pipeline, textEncoders }: FullSizeConfigs): object {
  const encoders = Object.entries(textEncoders).flatMap(([name, { architectures }]): [string, readonly string[]][] => [
    [name, ["transformers", ...architectures]],
    [name.replace("text_encoder", "tokenizer"), ["transformers", "CLIPTokenizer"]],
  ]);
  return {
    _class_name: pipeline,
    scheduler: ["diffusers", "EulerDiscreteScheduler"],
    unet: ["diffusers", "UNet2DConditionModel"],
    vae: ["diffusers", "AutoencoderKL"],
    ...Object.fromEntries(encoders),
  };
}

async function writeJson(folder: string, name: string, json: object): Promise<void> {
  const file = path.join(folder, name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify(json, undefined, 2)}\n`);
}
