/** Encodes every picture and caption once, before the first step; what was encoded before comes from the disk. */
import { buildTextEncoding, buildVaeEncoding } from "../checkpoints/conditioning.ts";
import { type BaseModel, type TextForm, textWidths, tokenCount } from "../checkpoints/base.ts";
import { hashFile, makeCacheKey, type TensorCache } from "../dataset/cache.ts";
import { loadPicture } from "../dataset/pixels.ts";
import { UserError } from "../errors.ts";
import { chunkLength } from "../models/clip/chunks.ts";
import { findEosRows } from "../models/clip/model.ts";
import type { TrainSettings } from "../planner/plan.ts";
import { createExecutables, type Executables } from "./executables.ts";
import type { RunPicture } from "./pictures.ts";
import type { WeightStore } from "./weights.ts";

/** A picture as the UNet is given it. */
export interface EncodedPicture {
  /** [C, h, w], scaled. */
  readonly latents: Float32Array;
  /** [h, w] in 0..1: how much each latent pixel counts. */
  readonly mask: Float32Array | undefined;
  /** SDXL's six numbers: original height and width, top and left of the crop, height and width. */
  readonly timeIds: Float32Array;
}

/** A caption as the UNet is given it. */
export interface EncodedText {
  /** [L, D] */
  readonly textEmbeddings: Float32Array;
  /** [P], for SDXL. */
  readonly pooled: Float32Array | undefined;
}

export interface Encoder {
  picture(picture: RunPicture, flip: boolean): Promise<EncodedPicture>;
  text(caption: string): Promise<EncodedText>;
  /** How many were found on disk and how many were made. */
  readonly counts: { cached: number; made: number };
  dispose(): Promise<void>;
}

/** Changes when what is stored, or how it is made, changes. */
const CACHE_VERSION = 1;

interface EncoderOptions {
  readonly base: BaseModel;
  readonly weights: WeightStore;
  /** Keyed by content, model and placement, so that it is valid across runs. */
  readonly cache: TensorCache;
  readonly settings: Pick<TrainSettings, "alphaAsMask">;
  readonly form: TextForm;
}

type CacheEntry = Parameters<TensorCache["put"]>[1];

/** @example const encoder = createEncoder({ base, weights, cache, settings, form }); await encoder.text("a fox"); */
export function createEncoder({ base, weights, cache, settings, form }: EncoderOptions): Encoder {
  const counts = { cached: 0, made: 0 };
  const executables = createExecutables(weights);
  const { alphaAsMask } = settings;
  const remember = async (key: string, make: () => Promise<CacheEntry>) => {
    const known = await cache.get(key);
    if (known) {
      counts.cached++;
      return known;
    }
    const made = await make();
    counts.made++;
    await cache.put(key, made);
    return made;
  };
  return {
    counts,
    async picture(picture, flip) {
      const key = await pictureKey(base, picture, { flip, alphaAsMask });
      const entry = await remember(key, () => makePicture(base, executables, picture, { flip, alphaAsMask }));
      return { latents: tensorOf(entry, "latents"), timeIds: tensorOf(entry, "timeIds"), mask: entry.mask?.data };
    },
    async text(caption) {
      const ids = tokenise(base, caption, form);
      const encoders = base.textEncoders.map(({ name }) => base.hashes[name] ?? base.hashes.all);
      const { chunks, clipSkip } = form;
      const key = makeCacheKey({ version: CACHE_VERSION, ids: ids.map((row) => [...row]), chunks, clipSkip, encoders });
      const entry = await remember(key, () => makeText(base, executables, ids, form));
      return { textEmbeddings: tensorOf(entry, "textEmbeddings"), pooled: entry.pooled?.data };
    },
    dispose: () => executables.dispose(),
  };
}

/** How a picture is read. */
interface Reading {
  readonly flip: boolean;
  readonly alphaAsMask: boolean;
}

async function pictureKey(
  base: BaseModel,
  { bucket, hash, item }: RunPicture,
  { flip, alphaAsMask }: Reading,
): Promise<string> {
  return makeCacheKey({
    version: CACHE_VERSION,
    picture: hash,
    mask: item.maskPath === undefined ? null : await hashFile(item.maskPath),
    alphaAsMask,
    bucket: [bucket.widthPx, bucket.heightPx],
    flip,
    vae: base.hashes.vae ?? base.hashes.all,
  });
}

async function makePicture(
  base: BaseModel,
  executables: Executables,
  picture: RunPicture,
  reading: Reading,
): Promise<CacheEntry> {
  const { widthPx, heightPx } = picture.bucket;
  const loaded = await loadPicture(picture.item, picture.bucket, reading);
  const run = await executables.get(`vae encoder ${widthPx}x${heightPx}`, () => buildVaeEncoding(base, 1, heightPx, widthPx), {
    sizeOf: "vae encoder",
  });
  const latents = requireFloats((await run.run({ pixels: loaded.pixels })).latents, "latents");
  refuseDamagedLatents(picture, latents);
  const [h, w] = [heightPx / base.pixelsPerLatent, widthPx / base.pixelsPerLatent];
  const timeIds = Float32Array.from([...loaded.originalSize, ...loaded.cropTopLeft, ...loaded.targetSize]);
  const entry = {
    latents: { shape: [base.vae.latentChannels, h, w], data: latents },
    timeIds: { shape: [6], data: timeIds },
  };
  const mask = loaded.mask && averagePool(loaded.mask, heightPx, widthPx, base.pixelsPerLatent);
  return mask ? { ...entry, mask: { shape: [h, w], data: mask } } : entry;
}

async function makeText(
  base: BaseModel,
  executables: Executables,
  ids: readonly Int32Array[],
  form: TextForm,
): Promise<CacheEntry> {
  const run = await executables.get("text encoders", () => buildTextEncoding(base, 1, form));
  const { textEmbeddings, pooled } = await run.run(textFeeds(base, ids, form));
  const widths = textWidths(base);
  const shape = [tokenCount(base, form), widths.embeddings];
  const entry = { textEmbeddings: { shape, data: requireFloats(textEmbeddings, "textEmbeddings") } };
  return widths.pooled === undefined
    ? entry
    : { ...entry, pooled: { shape: [widths.pooled], data: requireFloats(pooled, "pooled") } };
}

/** Token ids of a caption for each text encoder: its chunks, one after the other. */
export function tokenise(
  base: Pick<BaseModel, "textEncoders">,
  caption: string,
  { chunks }: Pick<TextForm, "chunks">,
): readonly Int32Array[] {
  const length = chunkLength(base);
  return base.textEncoders.map(({ tokenizer }) => tokenizer.encodeChunks(caption, chunks, length).ids);
}

/** Feeds of `textConditioning` for a batch of token ids, for each encoder one array of what `tokenise` gave for B captions. */
export function textFeeds(
  base: Pick<BaseModel, "textEncoders">,
  ids: readonly Int32Array[],
  { chunks }: Pick<TextForm, "chunks">,
): Record<string, Int32Array> {
  const length = chunkLength(base);
  return Object.fromEntries(
    base.textEncoders.flatMap(({ name, config }, i) => {
      const rows = ids[i] ?? new Int32Array();
      const inputIds = [`inputIds.${name}`, rows] as const;
      if (config.projectionDim === undefined) return [inputIds];
      // The first chunk of each caption is pooled.
      const eosRows = findEosRows(rows, length, config).filter((_, row) => row % chunks === 0);
      return [inputIds, [`eosRows.${name}`, eosRows] as const];
    }),
  );
}

function tensorOf(entry: Readonly<Record<string, { readonly data: Float32Array }>>, name: string): Float32Array {
  const tensor = entry[name];
  if (!tensor) throw new Error(`encode: ${name} needed, got ${Object.keys(entry).join(", ")}`);
  return tensor.data;
}

export function requireFloats(data: unknown, name: string): Float32Array {
  if (data instanceof Float32Array) return data;
  throw new Error(`fetch ${name}: float32 needed, got ${data === undefined ? "nothing" : typeof data}`);
}

function refuseDamagedLatents({ item }: RunPicture, latents: Float32Array): void {
  if (latents.every((value) => Number.isFinite(value))) return;
  throw new UserError(`The VAE gives numbers that are not finite for ${item.path}.`, {
    fix: "The VAE's weights are damaged, or its float16 version overflows: use the full-precision one.",
  });
}

/** Mean of every `size` x `size` square: a mask at the resolution of latents. */
function averagePool(mask: Float32Array, height: number, width: number, size: number): Float32Array {
  const [h, w] = [height / size, width / size];
  const out = new Float32Array(h * w);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = Math.floor(y / size) * w + Math.floor(x / size);
      out[at] = (out[at] ?? 0) + (mask[y * width + x] ?? 0) / (size * size);
    }
  }
  return out;
}
