/** Opens a base model that is one .safetensors file with the names of the original code, as A1111, Forge and ComfyUI use it. */
import { createSchedule } from "../diffusion/schedule.ts";
import { UserError } from "../errors.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import type { ClipTextConfig } from "../models/clip/config.ts";
import { listClipTextParameters } from "../models/clip/model.ts";
import { createClipTokenizer } from "../models/clip/tokenizer.ts";
import { lineages } from "../models/lineages.ts";
import { listUnetParameters } from "../models/unet/model.ts";
import { assembleBase, encoderNames } from "./assemble-base.ts";
import type { BaseFamily, BaseModel, BaseOptions, BaseWeight, TextEncoderName, TextEncoderPart } from "./base.ts";
import { readClipVocabulary } from "./clip-vocabulary.ts";
import { deriveClipConfig, deriveOpenClipConfig } from "./derive-clip.ts";
import { deriveUnetConfig } from "./derive-unet.ts";
import type { FileHashes } from "./file-hashes.ts";
import { clipKeys, SD15_CLIP_PREFIX, SDXL_CLIP_PREFIX } from "./keys-clip.ts";
import { openClipKeys } from "./keys-open-clip.ts";
import { unetKeys } from "./keys-unet.ts";
import { VAE_PREFIX } from "./keys-vae.ts";
import { detectLineage, detectPrediction, type DetectedLineage, type DetectedPrediction } from "./lineage.ts";
import { describeUnused, type FileTensors, findUnused, type KeyMap, locateWeights } from "./locate-weights.ts";
import { byShapes, combineHashes, openGivenVae, type OpenedVae, readVae } from "./open-vae.ts";
import { recogniseBase } from "./recognise.ts";

/**
 * @param name of the base, for people
 * @throws UserError naming the key, as the file has it, that is missing or wrong; or what the file is instead of a base
 */
export async function openSingleFile(path: string, name: string, options: BaseOptions, hasher: FileHashes): Promise<BaseModel> {
  refuseVariant(path, options);
  const file = await openSafetensors(path);
  const tensors: FileTensors = new Map([...file.tensors].map(([key, entry]) => [key, { ...entry, path }]));
  const { family, hasVae } = recogniseBase(tensors, path);
  const evidence = { fileName: name, metadata: file.metadata };
  const lineage = detectLineage(family, evidence, options.lineage);
  const prediction = detectPrediction((key) => tensors.has(key), evidence, lineage.name);

  const textEncoders = await readTextEncoders(tensors, family, path);
  const pooledWidth = textEncoders.find(({ config }) => config.projectionDim !== undefined)?.config.projectionDim;
  const unet = deriveUnetConfig(tensors, family, pooledWidth, path);
  const weights = new Map<string, BaseWeight>();
  const used = new Set<string>();
  const locate = (component: string, needed: ReturnType<typeof listUnetParameters>, keys: KeyMap): void => {
    for (const key of locateWeights(component, tensors, needed, keys, byShapes, weights)) used.add(key);
  };
  locate("unet", listUnetParameters(unet), unetKeys(unet));
  for (const { name: encoder, config } of textEncoders)
    locate(encoder, listClipTextParameters(config, encoder), encoderKeys[family][encoder]);
  const sha256 = await hasher.hash(path);
  const vae = await openVae(tensors, { path, family, hasVae, sha256, used }, options, hasher);
  return assembleBase({
    name,
    folder: path,
    family,
    lineage,
    unet,
    vae,
    textEncoders,
    schedule: scheduleOf(prediction),
    scheduleReason: prediction.reason,
    // As Stability's code and diffusers have it for SDXL.
    zerosForEmptyPrompt: family === "sdxl",
    nativeResolutionPx: readResolution(file.metadata),
    weights,
    hashes: { ...componentHashes(sha256, family), file: sha256 },
    openedWith: options,
    notes: [describeFound(name, lineage, prediction), ...describeRest(tensors, used, options), ...vae.notes],
  });
}

/** What single files call the text encoders' weights. */
const encoderKeys: { readonly [F in BaseFamily]: { readonly [E in TextEncoderName]: KeyMap } } = {
  sd15: { text_encoder: clipKeys(SD15_CLIP_PREFIX), text_encoder_2: openClipKeys },
  sdxl: { text_encoder: clipKeys(SDXL_CLIP_PREFIX), text_encoder_2: openClipKeys },
};

function refuseVariant(path: string, { variant }: BaseOptions): void {
  if (variant === undefined) return;
  throw new UserError(`${path} is a single file, which has no variants such as ${variant}.`, {
    fix: "Leave --variant out.",
    exitCode: 2,
  });
}

async function readTextEncoders(tensors: FileTensors, family: BaseFamily, path: string): Promise<readonly TextEncoderPart[]> {
  const vocabulary = await readClipVocabulary();
  return encoderNames[family].map((name) => {
    const isSecond = name === "text_encoder_2";
    const prefix = family === "sdxl" ? SDXL_CLIP_PREFIX : SD15_CLIP_PREFIX;
    const config = isSecond ? deriveOpenClipConfig(tensors, path) : deriveClipConfig(tensors, prefix, path);
    const maxLength = config.maxPositionEmbeddings;
    const tokenizer = createClipTokenizer({ ...vocabulary, maxLength, ...(isSecond ? { padToken: "!" } : {}) });
    refuseVocabulary(config, tokenizer.vocabSize, path);
    return { name, config, tokenizer };
  });
}

function refuseVocabulary({ vocabSize }: ClipTextConfig, needed: number, path: string): void {
  if (vocabSize >= needed) return;
  throw new UserError(`${path}: a text encoder knows ${vocabSize} tokens; CLIP's vocabulary has ${needed}.`, {
    fix: "Use a diffusers folder, which holds its own tokenizer.",
  });
}

/** The VAE that is given, or the file's own. */
async function openVae(
  tensors: FileTensors,
  found: { path: string; family: BaseFamily; hasVae: boolean; sha256: string; used: Set<string> },
  { vaeFile }: BaseOptions,
  hasher: FileHashes,
): Promise<OpenedVae> {
  const { path, family, hasVae, sha256, used } = found;
  if (vaeFile !== undefined) return openGivenVae(vaeFile, family, hasher);
  if (!hasVae) {
    throw new UserError(`${path} lacks a VAE: no key begins with ${VAE_PREFIX}encoder.`, {
      fix: `Give one of ${lineages[family].label} besides, with --vae FILE.`,
    });
  }
  const vae = readVae(tensors, { prefix: VAE_PREFIX, naming: "original", family, where: path });
  for (const key of vae.used) used.add(key);
  return { config: vae.config, weights: vae.weights, hash: combineHashes([sha256, "vae"]), notes: [] };
}

/** One hash for each component, so that what was encoded with it is known again. */
function componentHashes(sha256: string, family: BaseFamily): Partial<Record<"unet" | TextEncoderName, string>> {
  const components = ["unet", ...encoderNames[family]] as const;
  return Object.fromEntries(components.map((component) => [component, combineHashes([sha256, component])]));
}

/** Stable Diffusion's schedule; one that ends in pure noise is visited from its very end (Lin et al. 2023, section 3.3). */
function scheduleOf({ isVPrediction, zeroTerminalSnr }: DetectedPrediction): BaseModel["schedule"] {
  return createSchedule({
    predictionType: isVPrediction ? "v_prediction" : "epsilon",
    trainTimesteps: 1000,
    betaStart: 0.00085,
    betaEnd: 0.012,
    zeroTerminalSnr,
    timestepSpacing: zeroTerminalSnr ? "trailing" : "leading",
  });
}

/** ModelSpec's "1024x1024". */
function readResolution(metadata: Readonly<Record<string, string>>): number | undefined {
  const [, width, height] = /^(\d{1,5})x(\d{1,5})$/.exec(metadata["modelspec.resolution"] ?? "") ?? [];
  const side = Math.round(Math.sqrt(Number(width) * Number(height)));
  return side >= 8 ? side : undefined;
}

function describeFound(name: string, lineage: DetectedLineage, prediction: DetectedPrediction): string {
  const { family, label } = lineages[lineage.name];
  const what = lineage.name === family ? `${name} is of the family of ${label}` : `${name} is ${label}`;
  const predicts = prediction.isVPrediction
    ? ` It predicts velocity${prediction.zeroTerminalSnr ? " on a schedule that ends in pure noise" : ""}: ${prediction.reason}.`
    : "";
  const others = family === "sdxl" ? "Pony, Illustrious or NoobAI" : "an anime model";
  const ask = lineage.name === family ? ` If it is ${others}, say so with --family.` : " If not, say what it is with --family.";
  return `${what}: ${lineage.reason}.${predicts}${lineage.reason === "you said so" ? "" : ask}`;
}

/** Keys that tell what a model is, and are no weights. */
const markers = new Set(["v_pred", "ztsnr"]);

/** What is said of the keys that are not used. */
function describeRest(tensors: FileTensors, used: ReadonlySet<string>, { vaeFile }: BaseOptions): readonly string[] {
  const rest = findUnused(tensors, used).filter(
    (key) => !markers.has(key) && !(vaeFile !== undefined && key.startsWith(VAE_PREFIX)),
  );
  const ema = rest.filter((key) => key.startsWith("model_ema."));
  const others = rest.filter((key) => !key.startsWith("model_ema."));
  return [
    ...(ema.length > 0
      ? [`The averaged weights of training (${ema.length} tensors model_ema.*) are not used; the others are.`]
      : []),
    ...(others.length > 0 ? [describeUnused("the file", others)] : []),
  ];
}
