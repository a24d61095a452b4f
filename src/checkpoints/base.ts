/** A base model on disk, opened: its configurations, tokenizers and where every weight lies. Nothing large is read. */
import type { NoiseSchedule } from "../diffusion/schedule.ts";
import type { Shape } from "../graph/graph.ts";
import type { TensorSource } from "../engines/engine.ts";
import { chunkLength } from "../models/clip/chunks.ts";
import type { ClipTextConfig } from "../models/clip/config.ts";
import type { ClipTokenizer } from "../models/clip/tokenizer.ts";
import type { LineageName } from "../models/lineages.ts";
import type { UnetConfig } from "../models/unet/config.ts";
import type { VaeConfig } from "../models/vae/config.ts";

export type BaseFamily = "sd15" | "sdxl";
export type TextEncoderName = "text_encoder" | "text_encoder_2";
/** The folders of a base model that hold weights; the first part of every buffer's name. */
export type ComponentName = "unet" | "vae" | TextEncoderName;

export interface TextEncoderConfig {
  readonly name: TextEncoderName;
  readonly config: ClipTextConfig;
}

export interface TextEncoderPart extends TextEncoderConfig {
  readonly tokenizer: ClipTokenizer;
}

/** What a base's graphs are built from: plain data, which crosses processes. */
export interface BaseConfigs {
  readonly unet: UnetConfig;
  readonly vae: VaeConfig;
  /** One for sd15, two for sdxl. */
  readonly textEncoders: readonly TextEncoderConfig[];
  /** Pictures' sides are multiples of this, and latents are this many times smaller. */
  readonly pixelsPerLatent: number;
}

/** Where one weight lies, under the name of its buffer: "unet.conv_in.weight". */
export interface BaseWeight {
  readonly shape: Shape;
  readonly source: TensorSource & { readonly kind: "file" };
}

/** How a base is to be read where its files leave a choice. */
export interface BaseOptions {
  /** A VAE to take instead of the base's own: a single file, or a diffusers folder. */
  readonly vaeFile?: string | undefined;
  /** What the base was trained from; found out where absent. */
  readonly lineage?: LineageName | undefined;
  /** Which of a diffusers folder's files to take where there are several: "fp16", "bf16", "ema"; the full-precision ones where absent. */
  readonly variant?: string | undefined;
}

/** The configurations of an open base, without all that cannot cross processes. */
export function configsOf({ unet, vae, textEncoders, pixelsPerLatent }: BaseConfigs): BaseConfigs {
  return { unet, vae, textEncoders: textEncoders.map(({ name, config }) => ({ name, config })), pixelsPerLatent };
}

export interface BaseModel extends BaseConfigs {
  /** "mini", or the name of the folder or file. */
  readonly name: string;
  /** The folder, or the single file. */
  readonly folder: string;
  readonly family: BaseFamily;
  readonly lineage: { readonly name: LineageName; /** "its file name says so" */ readonly reason: string };
  readonly textEncoders: readonly TextEncoderPart[];
  /** The noise that the base was trained with. */
  readonly schedule: NoiseSchedule;
  /** Where the schedule is known from: "as its scheduler_config.json says". */
  readonly scheduleReason: string;
  /** Whether an empty negative prompt is zeros instead of the encoding of "" (`force_zeros_for_empty_prompt`). */
  readonly zerosForEmptyPrompt: boolean;
  /** The side that the base was made for, in pixels. */
  readonly nativeResolutionPx: number;
  readonly weights: ReadonlyMap<string, BaseWeight>;
  /**
   * SHA-256 over each component's weights and configuration, and over all of them; of the base's own bytes where it is a single file,
   * and of a VAE file given besides: by these other programs know them.
   */
  readonly hashes: Readonly<Partial<Record<ComponentName | "file" | "vaeFile", string>>> & { readonly all: string };
  /** What it was opened with: opening it again with the same gives the same. */
  readonly openedWith: BaseOptions;
  /** What a person might want to know, such as keys that were not used. */
  readonly notes: readonly string[];
}

/** How captions are read: the same for a whole run, since every shape follows from it. */
export interface TextForm {
  /** Each caption is cut into so many chunks, which go through the text encoders one by one. */
  readonly chunks: number;
  /** Which hidden state of SD 1.5's text encoder is taken, from the end: 1 is the last. SDXL always takes the second to last. */
  readonly clipSkip: number;
}

/** As the base models themselves were trained. */
export const plainText: TextForm = { chunks: 1, clipSkip: 1 };

/** Tokens of a text as the UNet sees it: those of all chunks, with one start and one end. */
export function tokenCount(base: Parameters<typeof chunkLength>[0], { chunks }: Pick<TextForm, "chunks">): number {
  return chunks * (chunkLength(base) - 2) + 2;
}

/** Size of the text as the UNet sees it: width of each token, and of the pooled text where there is one. */
export function textWidths(base: Pick<BaseConfigs, "unet" | "textEncoders">): {
  embeddings: number;
  pooled: number | undefined;
} {
  const pooled = base.textEncoders.find(({ name }) => name === "text_encoder_2")?.config.projectionDim;
  return { embeddings: base.unet.crossAttentionDim, pooled: base.unet.additionEmbed ? pooled : undefined };
}
