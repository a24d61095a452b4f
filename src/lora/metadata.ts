/**
 * What an adapter file says of itself: the `ss_` fields of kohya-ss/sd-scripts, by which A1111 and Forge sort, and Stability's
 * ModelSpec 1.0.1. Every value is text.
 */
import type { PredictionType } from "../diffusion/schedule.ts";
import type { AdapterFamily } from "./names.ts";

/** What the writer of an adapter knows of how it came to be. */
export interface AdapterMetadata {
  /** What the adapter is called. */
  readonly name: string;
  /** Of Gesso. */
  readonly version: string;
  readonly base: { readonly name: string; readonly sha256?: string; readonly vaeSha256?: string };
  readonly predictionType: PredictionType;
  readonly widthPx: number;
  readonly heightPx: number;
  readonly triggerWord?: string;
  readonly description?: string;
  readonly author?: string;
  readonly license?: string;
  readonly usageHint?: string;
  /** Leave out both dates where a file's bytes must not depend on the clock. */
  readonly startedAt?: Date;
  readonly savedAt?: Date;
  readonly training: TrainingMetadata;
  readonly dataset: DatasetMetadata;
}

interface TrainingMetadata {
  /** Optimizer updates that made this file, and those that the run was planned to make. */
  readonly step: number;
  readonly totalSteps: number;
  readonly epoch: number;
  readonly totalEpochs: number;
  readonly seed: number;
  readonly batchSize: number;
  readonly gradientAccumulationSteps: number;
  readonly learningRate: number;
  /** Undefined where the text encoders were not trained; a list where each has a rate of its own. */
  readonly textEncoderLearningRate?: number | readonly number[] | undefined;
  /** "AdamW" */
  readonly optimizer: string;
  /** "constant", "cosine" */
  readonly learningRateSchedule: string;
  readonly warmupSteps: number;
  readonly maxGradNorm: number;
  readonly minSnrGamma?: number | undefined;
  readonly noiseOffset?: number | undefined;
  readonly captionDropout?: number | undefined;
  readonly clipSkip?: number | undefined;
  /** Tokens of a caption, where more were read than a text encoder reads at once. */
  readonly maxTokenLength?: number | undefined;
}

interface DatasetMetadata {
  readonly pictures: number;
  /** By the folder's name. */
  readonly folders: Readonly<Record<string, { readonly repeats: number; readonly pictures: number }>>;
  /** How often each tag is in the captions of a folder: the tag cloud of A1111 and Forge. See `countTags`. */
  readonly tags: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly buckets: readonly { readonly widthPx: number; readonly heightPx: number; readonly pictures: number }[];
}

/** Rank and alpha of the linear layers, and of convolutions wider than 1 x 1; undefined where there are none. */
export interface NetworkSize {
  readonly linear: { readonly rank: number | "Dynamic"; readonly alpha: number | "Dynamic" } | undefined;
  readonly conv: { readonly rank: number | "Dynamic"; readonly alpha: number | "Dynamic" } | undefined;
}

/** How often each tag (what stands between commas) is in the captions, most frequent first. */
export function countTags(captions: readonly string[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const tag of captions.flatMap((caption) => caption.split(","))) {
    const trimmed = tag.trim();
    if (trimmed) counts.set(trimmed, (counts.get(trimmed) ?? 0) + 1);
  }
  return Object.fromEntries([...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)));
}

/** By family: the values that readers look for. */
export const families: { readonly [F in AdapterFamily]: { version: string; architecture: string; implementation: string } } = {
  sd15: { version: "sd_v1", architecture: "stable-diffusion-v1/lora", implementation: "diffusers" },
  sdxl: {
    version: "sdxl_base_v1-0",
    architecture: "stable-diffusion-xl-v1-base/lora",
    implementation: "https://github.com/Stability-AI/generative-models",
  },
};

const modelSpecPrediction: { readonly [P in PredictionType]: string } = { epsilon: "epsilon", v_prediction: "v" };

/** The `ss_` fields: what was trained on what, with which settings. */
export function trainingFields(metadata: AdapterMetadata, family: AdapterFamily, size: NetworkSize): Record<string, string> {
  const { name, base, triggerWord, startedAt, savedAt, training, dataset, widthPx, heightPx } = metadata;
  const { textEncoderLearningRate: textRates } = training;
  const network = size.linear ?? size.conv;
  const conv = size.conv && { conv_dim: String(size.conv.rank), conv_alpha: String(size.conv.alpha) };
  return asText({
    // What A1111 and Forge tell the family by, exactly so spelt.
    ss_v2: false,
    ss_base_model_version: families[family].version,
    ss_network_module: "networks.lora",
    ss_network_dim: network?.rank,
    ss_network_alpha: network?.alpha,
    ss_network_args: JSON.stringify(conv ?? {}),
    ss_output_name: name,
    ss_sd_model_name: base.name,
    ss_new_sd_model_hash: base.sha256,
    ss_new_vae_hash: base.vaeSha256,
    ss_learning_rate: training.learningRate,
    ss_unet_lr: training.learningRate,
    // One number, or a list as Python writes it.
    ss_text_encoder_lr: typeof textRates === "object" ? `[${textRates.join(", ")}]` : (textRates ?? null),
    ss_optimizer: training.optimizer,
    ss_lr_scheduler: training.learningRateSchedule,
    ss_lr_warmup_steps: training.warmupSteps,
    ss_max_grad_norm: training.maxGradNorm,
    ss_steps: training.step,
    ss_max_train_steps: training.totalSteps,
    ss_epoch: training.epoch,
    ss_num_epochs: training.totalEpochs,
    ss_seed: training.seed,
    ss_total_batch_size: training.batchSize,
    ss_gradient_accumulation_steps: training.gradientAccumulationSteps,
    ss_min_snr_gamma: training.minSnrGamma ?? null,
    ss_noise_offset: training.noiseOffset ?? null,
    ss_caption_dropout_rate: training.captionDropout ?? 0,
    ss_clip_skip: training.clipSkip ?? null,
    ss_max_token_length: training.maxTokenLength ?? null,
    ss_resolution: `(${widthPx}, ${heightPx})`,
    ss_num_train_images: dataset.pictures,
    ss_num_reg_images: 0,
    ss_dataset_dirs: JSON.stringify(
      mapValues(dataset.folders, (folder) => ({ n_repeats: folder.repeats, img_count: folder.pictures })),
    ),
    ss_tag_frequency: JSON.stringify(withTrigger(dataset.tags, name, triggerWord)),
    ss_bucket_info: JSON.stringify({
      buckets: Object.fromEntries(
        dataset.buckets.map((bucket, i) => [i, { resolution: [bucket.widthPx, bucket.heightPx], count: bucket.pictures }]),
      ),
    }),
    ss_training_started_at: startedAt && startedAt.getTime() / 1000,
    ss_training_finished_at: savedAt && savedAt.getTime() / 1000,
  });
}

/** The `modelspec.` fields: ModelSpec 1.0.1 (Stability-AI/ModelSpec). */
export function modelSpecFields(
  metadata: AdapterMetadata,
  family: AdapterFamily,
  tensorsSha256: string,
): Record<string, string> {
  const { name, triggerWord, description, author, license, usageHint, savedAt, training } = metadata;
  return asText({
    "modelspec.sai_model_spec": "1.0.1",
    "modelspec.architecture": families[family].architecture,
    "modelspec.implementation": families[family].implementation,
    "modelspec.implementation_version": `gesso/${metadata.version}`,
    "modelspec.title": name,
    "modelspec.resolution": `${metadata.widthPx}x${metadata.heightPx}`,
    "modelspec.prediction_type": modelSpecPrediction[metadata.predictionType],
    "modelspec.hash_sha256": `0x${tensorsSha256}`,
    "modelspec.trigger_phrase": triggerWord,
    "modelspec.description": description,
    "modelspec.author": author,
    "modelspec.license": license,
    "modelspec.usage_hint": usageHint,
    "modelspec.encoder_layer": training.clipSkip,
    "modelspec.date": savedAt && savedAt.toISOString().replace(/\.\d+Z$/, "Z"),
  });
}

/** The tag cloud is where A1111 shows how to call an adapter, so the trigger word is always in it. */
function withTrigger(tags: DatasetMetadata["tags"], name: string, triggerWord: string | undefined): DatasetMetadata["tags"] {
  if (triggerWord === undefined || Object.values(tags).some((counts) => Object.hasOwn(counts, triggerWord))) return tags;
  return { ...tags, [name]: { ...tags[name], [triggerWord]: 1 } };
}

/** As sd-scripts, in Python, writes values: True, False and None. What is undefined is left out. */
function asText(fields: Readonly<Record<string, string | number | boolean | null | undefined>>): Record<string, string> {
  const text: Record<string, string> = {};
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    if (value === null) text[key] = "None";
    else if (typeof value === "boolean") text[key] = value ? "True" : "False";
    else text[key] = String(value);
  }
  return text;
}

function mapValues<A, B>(record: Readonly<Record<string, A>>, change: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));
}
