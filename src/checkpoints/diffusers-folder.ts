/** Opens a base model that lies in a diffusers folder, and checks every weight against what the networks need. */
import { readdir, readFile, stat } from "node:fs/promises";
import { createHash } from "node:crypto";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseSchedule } from "../diffusion/schedule.ts";
import { UserError } from "../errors.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import { shapesEqual } from "../graph/graph.ts";
import { parseClipTextConfig } from "../models/clip/config.ts";
import { listClipTextParameters } from "../models/clip/model.ts";
import { parseUnetConfig } from "../models/unet/config.ts";
import { listUnetParameters } from "../models/unet/model.ts";
import { parseVaeConfig } from "../models/vae/config.ts";
import { listVaeParameters } from "../models/vae/model.ts";
import type { ParameterSpec } from "../nn/params.ts";
import type { BaseFamily, BaseModel, BaseWeight, ComponentName, TextEncoderName, TextEncoderPart } from "./base.ts";
import { openFileHashes } from "./file-hashes.ts";
import { readTokenizer } from "./read-tokenizer.ts";

export interface OpenBaseOptions {
  /** Where hashes of large files are kept, so that they are not read again; undefined keeps none. */
  readonly hashCacheFile: string | undefined;
}

/**
 * Opens a base model: "mini", or a diffusers folder (model_index.json, unet/, vae/, text_encoder/, tokenizer/, scheduler/). Only
 * headers and configurations are read, and files are hashed.
 *
 * @throws UserError naming the file or the key that is missing or wrong, what was wanted and what was found
 * @example const base = await openBase("mini", { hashCacheFile: undefined });
 */
export async function openBase(nameOrPath: string, { hashCacheFile }: OpenBaseOptions): Promise<BaseModel> {
  const folder = nameOrPath === "mini" ? miniFolder() : resolve(nameOrPath);
  await refuseOtherForms(nameOrPath, folder);
  const index = await readJson(folder, "model_index.json");
  const family = detectFamily(index, folder);
  const hasher = await openFileHashes(hashCacheFile);
  const unetConfig = parseUnetConfig(await readJson(folder, "unet/config.json"), join(folder, "unet/config.json"));
  const vaeConfig = parseVaeConfig(await readJson(folder, "vae/config.json"), join(folder, "vae/config.json"));
  const textEncoders = await Promise.all(encoderNames[family].map((name) => openTextEncoder(folder, name)));
  checkTogether(folder, family, unetConfig.crossAttentionDim, textEncoders);

  const components = new Map<ComponentName, readonly ParameterSpec[]>([
    ["unet", listUnetParameters(unetConfig)],
    ["vae", listVaeParameters(vaeConfig)],
    ...textEncoders.map(({ name, config }) => [name, listClipTextParameters(config, name)] as const),
  ]);
  const weights = new Map<string, BaseWeight>();
  const hashes: Partial<Record<ComponentName, string>> = {};
  const notes: string[] = [];
  for (const [component, needed] of components) {
    const files = await findWeightFiles(folder, component);
    const unused = await locateWeights(component, files, needed, weights);
    if (unused.length > 0) notes.push(describeUnused(component, unused));
    hashes[component] = combineHashes([
      await hasher.hash(join(folder, component, "config.json")),
      ...(await Promise.all(files.map((file) => hasher.hash(file)))),
    ]);
  }
  await hasher.save();
  const pixelsPerLatent = 2 ** (vaeConfig.blockOutChannels.length - 1);
  const fallbackSide = family === "sdxl" ? 128 : 64;
  return {
    name: nameOrPath === "mini" ? "mini" : basename(folder),
    folder,
    family,
    unet: unetConfig,
    vae: vaeConfig,
    textEncoders,
    schedule: parseSchedule(
      await readJson(folder, "scheduler/scheduler_config.json"),
      join(folder, "scheduler/scheduler_config.json"),
    ),
    zerosForEmptyPrompt: index.force_zeros_for_empty_prompt === true,
    pixelsPerLatent,
    nativeResolutionPx: (unetConfig.sampleSize ?? fallbackSide) * pixelsPerLatent,
    weights,
    hashes: { ...hashes, all: combineHashes(Object.values(hashes)) },
    notes,
  };
}

/** The bundled model lies beside `src` and `dist` alike. */
function miniFolder(): string {
  return fileURLToPath(new URL("../../models/mini", import.meta.url));
}

const SUPPORTED = "Give the name mini, or a folder in the diffusers layout (with model_index.json).";

async function refuseOtherForms(given: string, path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (!found) {
    const what =
      given === "mini" ? `The bundled model is missing: there is no folder ${path}.` : `There is no base model at ${path}.`;
    throw new UserError(what, { fix: given === "mini" ? "Install Gesso again." : SUPPORTED });
  }
  if (found.isDirectory()) return;
  if (/\.(ckpt|pt|pth|bin)$/i.test(path)) {
    throw new UserError(`${path} is a pickle, which can run any code when it is opened.`, {
      fix: `Use safetensors. ${SUPPORTED}`,
    });
  }
  throw new UserError(
    `${path} is a single file; this version of Gesso opens base models in the diffusers folder layout only.`,
    {
      fix: `Convert it with diffusers (from_single_file, then save_pretrained). ${SUPPORTED}`,
    },
  );
}

async function readJson(folder: string, name: string): Promise<Record<string, unknown>> {
  const path = join(folder, name);
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new UserError(`The base model ${folder} has no ${name}.`, { fix: SUPPORTED, cause: error });
  });
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json === "object" && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  } catch (error) {
    throw new UserError(`${path} is not JSON: ${(error as Error).message}.`, {
      fix: "Download the model again.",
      cause: error,
    });
  }
  throw new UserError(`${path} does not hold a JSON object.`, { fix: "Download the model again." });
}

const encoderNames: Readonly<Record<BaseFamily, readonly TextEncoderName[]>> = {
  sd15: ["text_encoder"],
  sdxl: ["text_encoder", "text_encoder_2"],
};

/** By the pipeline that the folder was saved from. */
function detectFamily(index: Record<string, unknown>, folder: string): BaseFamily {
  const pipeline = index._class_name;
  if (typeof pipeline === "string" && /^StableDiffusionXL/.test(pipeline)) return "sdxl";
  if (typeof pipeline === "string" && /^StableDiffusion[A-Z]?[a-z0-9]*Pipeline$/.test(pipeline)) return "sd15";
  throw new UserError(`${join(folder, "model_index.json")} is of a ${String(pipeline)}, which Gesso cannot train on yet.`, {
    fix: "Supported: StableDiffusionPipeline (SD 1.5) and StableDiffusionXLPipeline (SDXL).",
  });
}

async function openTextEncoder(folder: string, name: TextEncoderName): Promise<TextEncoderPart> {
  const config = parseClipTextConfig(await readJson(folder, `${name}/config.json`), join(folder, name, "config.json"));
  const tokenizer = await readTokenizer(join(folder, name.replace("text_encoder", "tokenizer")), config);
  return { name, config, tokenizer };
}

function checkTogether(
  folder: string,
  family: BaseFamily,
  crossAttentionDim: number,
  encoders: readonly TextEncoderPart[],
): void {
  const width = encoders.reduce((sum, { config }) => sum + config.hiddenSize, 0);
  if (width !== crossAttentionDim) {
    throw new UserError(
      `${folder}: the text encoders give ${width} numbers a token, but the UNet's cross_attention_dim is ${crossAttentionDim}.`,
      {
        fix: "Use the text encoders that came with this UNet.",
      },
    );
  }
  if (family === "sdxl" && encoders[1]?.config.projectionDim === undefined) {
    throw new UserError(`${folder}: text_encoder_2 has no projection.`, {
      fix: "SDXL needs a CLIPTextModelWithProjection there.",
    });
  }
}

/** A component's safetensors: the full-precision ones where both are there. */
async function findWeightFiles(folder: string, component: ComponentName): Promise<readonly string[]> {
  const names = await readdir(join(folder, component)).catch(() => [] as string[]);
  const stem = component === "unet" || component === "vae" ? "diffusion_pytorch_model" : "model";
  for (const variant of ["", ".fp16"]) {
    const whole = `${stem}${variant}.safetensors`;
    if (names.includes(whole)) return [join(folder, component, whole)];
    // Diffusers has written both model.fp16-00001-of-00002 and model-00001-of-00002.fp16.
    const tag = variant.replace(".", "\\.");
    const shard = new RegExp(`^${stem}(${tag}-\\d{5}-of-\\d{5}|-\\d{5}-of-\\d{5}${tag})\\.safetensors$`);
    const shards = names.filter((name) => shard.test(name)).sort();
    if (shards.length > 0) return shards.map((name) => join(folder, component, name));
  }
  const pickle = names.find((name) => /\.(bin|ckpt|pt|pth)$/.test(name));
  const has = pickle ? `only ${pickle}, a pickle, which can run any code when it is opened` : "no weights";
  throw new UserError(`${join(folder, component)} has ${has}.`, { fix: `Put ${stem}.safetensors there.` });
}

/** Old diffusers files name the VAE's attention otherwise; transformers 5 leaves "text_model." out of CLIPTextModel's keys. */
function currentName(component: ComponentName, key: string): string {
  if (component.startsWith("text_encoder")) return key.replace(/^(?=(embeddings|encoder|final_layer_norm)\.)/, "text_model.");
  if (component !== "vae") return key;
  return key
    .replace(/(attentions\.\d+)\.query\./, "$1.to_q.")
    .replace(/(attentions\.\d+)\.key\./, "$1.to_k.")
    .replace(/(attentions\.\d+)\.value\./, "$1.to_v.")
    .replace(/(attentions\.\d+)\.proj_attn\./, "$1.to_out.0.");
}

/** Finds every needed weight in the files and puts it into `weights`. @returns keys of the files that nothing needs */
async function locateWeights(
  component: ComponentName,
  files: readonly string[],
  needed: readonly ParameterSpec[],
  weights: Map<string, BaseWeight>,
): Promise<readonly string[]> {
  const specs = new Map(needed.map((spec) => [spec.name, spec]));
  const unused: string[] = [];
  for (const path of files) {
    const { tensors } = await openSafetensors(path);
    for (const [key, { shape, offset, byteLength, dtype }] of tensors) {
      const name = `${component}.${currentName(component, key)}`;
      const spec = specs.get(name);
      if (!spec) {
        unused.push(key);
        continue;
      }
      if (!shapesEqual(shape, spec.shape)) {
        throw new UserError(
          `${path}: ${key} is [${shape.join(", ")}]; by its config.json it must be [${spec.shape.join(", ")}].`,
          {
            fix: "Use the config.json and the weights of the same model.",
          },
        );
      }
      weights.set(name, { shape, source: { kind: "file", path, offset, byteLength, storedDtype: dtype } });
    }
  }
  const missing = needed.filter(({ name }) => !weights.has(name));
  const [first] = missing;
  if (first) {
    const key = first.name.slice(component.length + 1);
    const others = missing.length > 1 ? `, and ${missing.length - 1} more` : "";
    throw new UserError(`${files.join(", ")} lacks ${key} [${first.shape.join(", ")}]${others}.`, {
      fix: "Download the model again, or use the config.json that belongs to these weights.",
    });
  }
  return unused;
}

function describeUnused(component: ComponentName, keys: readonly string[]): string {
  const some = keys.slice(0, 3).join(", ");
  return `${keys.length} ${keys.length === 1 ? "tensor" : "tensors"} of ${component} not used: ${some}${keys.length > 3 ? ", ..." : ""}.`;
}

function combineHashes(hashes: readonly string[]): string {
  return createHash("sha256").update(hashes.join("\n")).digest("hex");
}
