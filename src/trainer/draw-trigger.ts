/** Has a base model draw what a trigger word means to it, before anything is trained on the word. */
import type { BaseModel } from "../checkpoints/base.ts";
import { insertTrigger } from "../dataset/captions.ts";
import { likeness } from "../dataset/clusters.ts";
import { shrink } from "../dataset/measure/grid.ts";
import { measureLikeness } from "../dataset/measure/likeness.ts";
import type { TriggerDrawing } from "../dataset/trigger-facts.ts";
import type { Engine } from "../engines/engine.ts";
import type { Pixels } from "../formats/images.ts";
import { encodeThumbnail } from "../formats/thumbnails.ts";
import { drawPictures } from "./sample-images.ts";

/** Of each kind, unless it is said otherwise. */
const SEEDS = 6;
/** Steps of the sampler: what a picture shows is settled early. */
const STEPS = 10;
const GUIDANCE = 4;
const THUMB_PX = 96;

interface DrawTriggerOptions {
  readonly base: BaseModel;
  readonly createEngine: () => Promise<Engine>;
  readonly signal?: AbortSignal | undefined;
  /** Pictures of each kind: with few the distance between seeds is much a matter of chance. */
  readonly seeds?: number | undefined;
}

/**
 * Draws the word by itself and an empty prompt with the same seeds, then a caption of the set with the word and without it. Distances are
 * those of `likeness`: 1 - cosine of layout and colour.
 *
 * @example const drawing = drawForTrigger("sks", ["a dog in a park"], { base, createEngine: createOrtEngine });
 */
export async function* drawForTrigger(
  word: string,
  captions: readonly string[],
  options: DrawTriggerOptions,
): AsyncGenerator<{ readonly done: number; readonly total: number }, TriggerDrawing> {
  const { seeds = SEEDS } = options;
  const caption = middleCaption(captions.map((text) => withoutWord(text, word)));
  const prompts = [word, "", ...(caption === undefined ? [] : [insertTrigger(caption, word).caption, caption])];
  const side = options.base.nativeResolutionPx;
  const settings = { negativePrompt: "", steps: STEPS, guidance: GUIDANCE, sampler: "euler", loras: [] } as const;
  const requests = prompts.flatMap((prompt) =>
    Array.from({ length: seeds }, (_, seed) => ({ ...settings, prompt, seed, widthPx: side, heightPx: side })),
  );
  const pictures: Pixels[] = [];
  let done = 0;
  yield { done, total: requests.length };
  for await (const { index, pixels } of drawPictures({ ...options, requests })) {
    pictures[index] = pixels;
    yield { done: ++done, total: requests.length };
  }
  const [withWord = [], without = [], captioned = [], plain = []] = prompts.map((_, i) =>
    pictures.slice(i * seeds, (i + 1) * seeds),
  );
  const thumbs = (list: readonly Pixels[]): Promise<readonly string[]> =>
    Promise.all(list.map(async (pixels) => Buffer.from(await encodeThumbnail(pixels, THUMB_PX)).toString("base64")));
  return {
    alone: comparePictures(withWord, without),
    inCaption: caption === undefined ? undefined : comparePictures(captioned, plain),
    caption,
    seeds,
    withWord: await thumbs(withWord),
    without: await thumbs(without),
  };
}

/**
 * Mean distance between two lists of pictures seed by seed, over the mean distance between the seeds of the second list: 0 when the lists
 * are equal, about 1 when a change of prompt changes as much as another seed.
 */
export function comparePictures(changed: readonly Pixels[], plain: readonly Pixels[]): number {
  const [a, b] = [changed, plain].map((list) => list.map((pixels) => measureLikeness(shrink(pixels)).descriptor));
  const none = new Int8Array();
  const distance = (x: Int8Array = none, y: Int8Array = none): number => 1 - likeness(x, y);
  const paired = plain.map((_, i) => distance(a?.[i], b?.[i]));
  const seeds = plain.flatMap((_, i) => plain.slice(i + 1).map((_, k) => distance(b?.[i], b?.[i + 1 + k])));
  const mean = (list: readonly number[]): number => list.reduce((sum, value) => sum + value, 0) / Math.max(1, list.length);
  return mean(paired) / Math.max(1e-3, mean(seeds));
}

/** The one of middle length, so that it is neither a single word nor longer than is read. */
function middleCaption(captions: readonly string[]): string | undefined {
  const sorted = captions.filter((text) => text !== "").sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  return sorted[sorted.length >> 1];
}

/** Captions of a set have the word in front. */
function withoutWord(caption: string, word: string): string {
  return caption.startsWith(word) ? caption.slice(word.length).replace(/^[\s,.:;]+/, "") : caption;
}
