/** Opens a base model that lies in a diffusers folder, and checks every weight against what the networks need. */
import { join } from "node:path";
import { createSchedule, parseSchedule } from "../diffusion/schedule.ts";
import { UserError } from "../errors.ts";
import { parseClipTextConfig } from "../models/clip/config.ts";
import { listClipTextParameters } from "../models/clip/model.ts";
import { lineages } from "../models/lineages.ts";
import { parseUnetConfig, type UnetConfig } from "../models/unet/config.ts";
import { listUnetParameters } from "../models/unet/model.ts";
import type { ParameterSpec } from "../nn/params.ts";
import type {
  BaseFamily,
  BaseModel,
  BaseOptions,
  BaseWeight,
  ComponentName,
  TextEncoderName,
  TextEncoderPart,
} from "./base.ts";
import { byConfig, findWeightFiles, openTensors, readJson } from "./diffusers-files.ts";
import type { FileHashes } from "./file-hashes.ts";
import { assembleBase, encoderNames } from "./assemble-base.ts";
import { clipKeys } from "./keys-clip.ts";
import { detectLineage } from "./lineage.ts";
import { describeUnused, findUnused, type KeyMap, locateWeights } from "./locate-weights.ts";
import { combineHashes, openGivenVae, openVaeFolder } from "./open-vae.ts";
import { readTokenizer } from "./read-tokenizer.ts";

/**
 * @param folder with model_index.json
 * @param name of the base, for people
 * @throws UserError naming the file or the key that is missing or wrong, what was wanted and what was found
 */
export async function openDiffusersFolder(
  folder: string,
  name: string,
  options: BaseOptions,
  hasher: FileHashes,
): Promise<BaseModel> {
  const { vaeFile, variant } = options;
  const index = await readJson(folder, "model_index.json");
  const family = detectFamily(index, folder);
  const lineage = detectLineage(family, { fileName: name, metadata: {} }, options.lineage);
  const unet = parseUnetConfig(await readJson(folder, "unet/config.json"), join(folder, "unet/config.json"));
  const textEncoders = await Promise.all(encoderNames[family].map((encoder) => openTextEncoder(folder, encoder)));

  const parts = new Map<ComponentName, OpenedPart>();
  parts.set("unet", await openPart(folder, "unet", variant, listUnetParameters(unet), (path) => ({ keys: [path] }), hasher));
  const vae =
    vaeFile === undefined
      ? await openVaeFolder(join(folder, "vae"), variant, hasher)
      : await openGivenVae(vaeFile, family, hasher);
  for (const { name: encoder, config } of textEncoders) {
    const needed = listClipTextParameters(config, encoder);
    parts.set(encoder, await openPart(folder, encoder, variant, needed, clipKeys(""), hasher));
  }
  refuseUnknownVariant(folder, variant, [...parts.values()]);
  const { schedule, scheduleReason } = await readSchedule(folder, options);
  const isNamed = lineage.name !== family;
  return assembleBase({
    name,
    folder,
    family,
    lineage,
    unet,
    vae,
    textEncoders,
    schedule,
    scheduleReason,
    zerosForEmptyPrompt: index.force_zeros_for_empty_prompt === true,
    nativeResolutionPx: undefined,
    weights: new Map([...parts.values()].flatMap(({ weights }) => [...weights])),
    hashes: Object.fromEntries([...parts].map(([component, { hash }]) => [component, hash])),
    openedWith: options,
    notes: [
      ...(isNamed
        ? [`${name} is ${lineages[lineage.name].label}: ${lineage.reason}. If not, say what it is with --family.`]
        : []),
      ...[...parts.values()].flatMap(({ notes }) => notes),
      ...vae.notes,
    ],
  });
}

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

interface OpenedPart {
  readonly weights: ReadonlyMap<string, BaseWeight>;
  readonly variant: string;
  readonly hash: string;
  readonly notes: readonly string[];
}

async function openPart(
  folder: string,
  component: ComponentName,
  asked: string | undefined,
  needed: readonly ParameterSpec[],
  keys: KeyMap,
  hasher: FileHashes,
): Promise<OpenedPart> {
  const inside = join(folder, component);
  const { variant, paths } = await findWeightFiles(inside, component === "unet" ? "diffusion_pytorch_model" : "model", asked);
  const tensors = await openTensors(paths);
  const weights = new Map<string, BaseWeight>();
  const used = locateWeights(component, tensors, needed, keys, byConfig, weights);
  const unused = findUnused(tensors, used);
  const hashes = await Promise.all([join(inside, "config.json"), ...paths].map((path) => hasher.hash(path)));
  const other =
    asked !== undefined && variant !== asked ? [`${component} has no variant ${asked}: its own files are used.`] : [];
  return {
    weights,
    variant,
    hash: combineHashes(hashes),
    notes: [...other, ...(unused.length > 0 ? [describeUnused(component, unused)] : [])],
  };
}

function refuseUnknownVariant(folder: string, asked: string | undefined, parts: readonly OpenedPart[]): void {
  if (asked === undefined || parts.some(({ variant }) => variant === asked)) return;
  throw new UserError(`No part of ${folder} has a variant ${asked}.`, {
    fix: "Leave --variant out, or give the middle part of the files' names: fp16 of model.fp16.safetensors.",
  });
}

/** The scheduler's, unless the user says that the base predicts velocity: folders made by converters often do not say it. */
async function readSchedule(folder: string, { lineage }: BaseOptions): Promise<Pick<BaseModel, "schedule" | "scheduleReason">> {
  const path = "scheduler/scheduler_config.json";
  const schedule = parseSchedule(await readJson(folder, path), join(folder, path));
  if (lineage === undefined || !lineages[lineage].isVPrediction || schedule.predictionType === "v_prediction")
    return { schedule, scheduleReason: "as the base's scheduler_config.json says" };
  const asked = { ...schedule, predictionType: "v_prediction", zeroTerminalSnr: true, timestepSpacing: "trailing" } as const;
  return { schedule: createSchedule(asked), scheduleReason: `you said that it is ${lineages[lineage].label}` };
}
