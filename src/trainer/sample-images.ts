/** Draws pictures with adapter files, from opening the engine to disposing of it. */
import type { BaseModel, TextForm } from "../checkpoints/base.ts";
import { lineages } from "../models/lineages.ts";
import { parseSamplerName } from "../diffusion/samplers/samplers.ts";
import type { Engine } from "../engines/engine.ts";
import type { Pixels } from "../formats/images.ts";
import { chunkLength, MAX_CHUNKS } from "../models/clip/chunks.ts";
import { refuseCaptionTokens, refuseClipSkip } from "../planner/text.ts";
import { createLoraSlots, type LoraUse } from "./lora-slots.ts";
import { checkPictureSize, createPainter } from "./sample.ts";
import { describeCutPrompt } from "./text-form.ts";
import { createWeightStore } from "./weights.ts";

/** One picture to be drawn. */
export interface PictureRequest {
  readonly prompt: string;
  readonly negativePrompt: string;
  readonly seed: number;
  readonly steps: number;
  /** Classifier-free guidance; 1 is none. */
  readonly guidance: number;
  /** "euler", "euler_a" or "dpmpp_2m". */
  readonly sampler: string;
  readonly widthPx: number;
  readonly heightPx: number;
  /** Adapter files and how strongly each acts; 1 is as trained. */
  readonly loras: readonly LoraUse[];
}

export interface DrawOptions {
  readonly base: BaseModel;
  readonly createEngine: () => Promise<Engine>;
  readonly requests: readonly PictureRequest[];
  /** Which hidden state of SD 1.5's text encoder is taken, from the end; by the base's lineage when absent. SDXL has no choice. */
  readonly clipSkip?: number | undefined;
  /** How many tokens of a prompt are read; when absent the fewest that hold a picture's prompts, up to 225. */
  readonly maxCaptionTokens?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told after each step of a sampler: how much of the work on all pictures is done, in runs of the denoiser on one text. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Told of a prompt that is not read to its end. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** A picture that is done. */
export interface DrawnPicture {
  /** Of its request. */
  readonly index: number;
  readonly pixels: Pixels;
}

/**
 * Draws pictures, in the order that changes adapter files least often. Strengths, prompts, seeds, steps and samplers share one compiled
 * graph, and so do adapter files of the same layers, ranks and alphas, such as the checkpoints of a run.
 *
 * Everything that can be wrong with a request is found before the first picture. When `signal` is aborted, it throws the signal's
 * reason; what was yielded is complete.
 *
 * @throws UserError for an adapter of another base, a size, clip skip or prompt length that the base has not, or an unknown sampler
 * @example for await (const { index, pixels } of drawPictures({ base, createEngine, requests })) await writePng(names[index], pixels);
 */
export async function* drawPictures(options: DrawOptions): AsyncGenerator<DrawnPicture, void> {
  const { base, requests, signal, onProgress } = options;
  const form = readingForm(options);
  for (const { sampler, widthPx, heightPx } of requests) {
    parseSamplerName(sampler);
    checkPictureSize(base, widthPx, heightPx);
  }
  const engine = await options.createEngine();
  try {
    const slots = createLoraSlots(engine, base);
    for (const { loras } of requests) for (const { path } of loras) await slots.check(path);
    const weights = createWeightStore(engine, base);
    const painter = createPainter({ base, weights, form });
    for (const prompt of new Set(requests.map((request) => request.prompt))) {
      const cut = describeCutPrompt(base, prompt, { chunks: form.chunks ?? MAX_CHUNKS });
      if (cut !== undefined) options.onWarning?.(cut);
    }
    const total = requests.reduce((sum, request) => sum + request.steps * workOfStep(request), 0);
    let done = 0;
    for (const { request, index } of inGroups(requests)) {
      signal?.throwIfAborted();
      const { specs: adapters, changes } = await slots.place(request.loras);
      await weights.setChanges(changes);
      const pixels = await painter.draw({ ...request, sampler: parseSamplerName(request.sampler), adapters }, signal, () => {
        done += workOfStep(request);
        onProgress?.(done, total);
      });
      yield { index, pixels };
    }
  } finally {
    await engine.dispose();
  }
}

function readingForm({ base, clipSkip, maxCaptionTokens }: DrawOptions): Partial<TextForm> {
  if (clipSkip !== undefined) refuseClipSkip(base, clipSkip);
  if (maxCaptionTokens !== undefined) refuseCaptionTokens(base, maxCaptionTokens);
  return {
    clipSkip: clipSkip ?? lineages[base.lineage.name].clipSkip,
    ...(maxCaptionTokens === undefined ? {} : { chunks: maxCaptionTokens / (chunkLength(base) - 2) }),
  };
}

/** With guidance, each step predicts for two texts. */
function workOfStep({ guidance }: PictureRequest): number {
  return guidance === 1 ? 1 : 2;
}

/** Requests with the same adapter files one after the other, otherwise as they came. */
function inGroups(
  requests: readonly PictureRequest[],
): readonly { readonly request: PictureRequest; readonly index: number }[] {
  const groups = new Map<string, { request: PictureRequest; index: number }[]>();
  for (const [index, request] of requests.entries()) {
    const key = JSON.stringify(request.loras.map(({ path }) => path));
    groups.set(key, [...(groups.get(key) ?? []), { request, index }]);
  }
  return [...groups.values()].flat();
}

export interface SampleOptions extends Omit<PictureRequest, "prompt" | "loras">, Omit<DrawOptions, "requests" | "onProgress"> {
  readonly adapters: readonly LoraUse[];
  /** One picture for each; the first has `seed`, each further one the next. */
  readonly prompts: readonly string[];
  readonly onPicture?: (done: number, total: number) => void;
}

/**
 * One picture for each prompt.
 *
 * @throws UserError as `drawPictures` does
 * @example const [picture] = await sampleImages({ base, createEngine, adapters: [], prompts: ["a red apple"], ...settings });
 */
export async function sampleImages(options: SampleOptions): Promise<readonly Pixels[]> {
  const { prompts, seed, adapters: loras, onPicture } = options;
  const requests = prompts.map((prompt, i) => ({ ...options, prompt, seed: seed + i, loras }));
  const pictures: Pixels[] = [];
  for await (const { pixels } of drawPictures({ ...options, requests })) {
    pictures.push(pixels);
    onPicture?.(pictures.length, prompts.length);
  }
  return pictures;
}
