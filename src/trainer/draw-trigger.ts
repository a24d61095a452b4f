/** Has a base model draw what a trigger word means to it, before anything is trained on the word. */
import type { BaseModel } from "../checkpoints/base.ts";
import { thresholds } from "../dataset/thresholds.ts";
import type { TriggerDrawing } from "../dataset/trigger-facts.ts";
import { normal } from "../diffusion/philox.ts";
import { createDenoiser, initialLatents } from "../diffusion/samplers/denoiser.ts";
import { samplers } from "../diffusion/samplers/samplers.ts";
import { modelSigmas } from "../diffusion/samplers/sigmas.ts";
import type { Engine } from "../engines/engine.ts";
import type { Pixels } from "../formats/images.ts";
import { encodeThumbnail } from "../formats/thumbnails.ts";
import { lineages } from "../models/lineages.ts";
import { chooseInvented, compareWithInvented, measureStray, type Stray } from "./invented-words.ts";
import { createPainter, type Painter, type PromptPredictor } from "./sample.ts";
import { createWeightStore } from "./weights.ts";

/** Noise levels at which predictions are compared. */
const LEVELS = 3;
/** That are compared at each, at least: one way from noise to a picture gives as many as there are latents, of which mini has few. */
const LEAST_NUMBERS = 4096;
/** To be looked at, of the word and of an empty prompt. */
const PICTURES = 3;
/** Steps of the sampler: what a picture shows is settled early. */
const STEPS = 10;
const GUIDANCE = 4;
const THUMB_PX = 96;

interface DrawTriggerOptions {
  readonly base: BaseModel;
  readonly createEngine: () => Promise<Engine>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Compares what the base predicts for the word by itself with what it predicts for invented words, and draws a few pictures of a word
 * that it knows and of an empty prompt.
 *
 * @example const drawing = drawForTrigger("sks", { base, createEngine: createOrtEngine });
 */
export async function* drawForTrigger(
  word: string,
  { base, createEngine, signal }: DrawTriggerOptions,
): AsyncGenerator<{ readonly done: number; readonly total: number }, TriggerDrawing> {
  const count = base.vae.latentChannels * (base.nativeResolutionPx / base.pixelsPerLatent) ** 2;
  const ways = Math.ceil(LEAST_NUMBERS / count);
  let total = ways * LEVELS;
  let done = 0;
  yield { done, total };
  const engine = await createEngine();
  try {
    const form = { clipSkip: lineages[base.lineage.name].clipSkip };
    const painter = createPainter({ base, weights: createWeightStore(engine, base), form });
    const invented = chooseInvented(word, (text) => base.textEncoders[0]?.tokenizer.countTokens(text) ?? 0);
    const squares: Stray["squares"][] = [];
    const predict = await painter.predictor([word, ...invented], signal);
    for (let seed = 0; seed < ways; seed++) {
      for await (const list of predictOnWay(base, predict, normal({ seed, purpose: "noise" }, count))) {
        squares.push(list);
        yield { done: ++done, total };
      }
    }
    const effect = compareWithInvented(squares);
    const isKnown = effect.deviations >= thresholds.triggerDraws.value;
    total += isKnown ? 2 * PICTURES : 0;
    const pictures: string[] = [];
    for (const prompt of isKnown ? [word, ""] : []) {
      for (let seed = 0; seed < PICTURES; seed++) {
        pictures.push(await thumbnail(await painter.draw(requestFor(base, prompt, seed), signal)));
        yield { done: ++done, total };
      }
    }
    return { ...effect, invented, withWord: pictures.slice(0, PICTURES), without: pictures.slice(PICTURES) };
  } finally {
    await engine.dispose();
  }
}

/**
 * Asks for all words at the same latents, on the way that the mean of the invented words' predictions takes. Summed over noise levels,
 * squared differences of predictions are a divergence between what two prompts draw (Song et al. 2021, "Maximum likelihood training of
 * score-based diffusion models", theorem 1), so that no picture has to be finished for it.
 *
 * @param predict for the word, then for each invented word
 */
async function* predictOnWay(
  { schedule }: Pick<BaseModel, "schedule">,
  predict: PromptPredictor,
  unitNoise: Float32Array,
): AsyncGenerator<Stray["squares"], void> {
  let squares: Stray["squares"] = [];
  const denoise = createDenoiser(schedule, async (scaled, timestep) => {
    const [word = scaled, ...invented] = await predict(scaled, timestep);
    const stray = measureStray(word, invented);
    squares = stray.squares;
    return stray.mean;
  });
  // Trailing: from pure noise, in equal steps, whatever the base's own sampler does.
  const sigmas = modelSigmas({ ...schedule, timestepSpacing: "trailing" }, LEVELS);
  const way = samplers.euler(denoise, sigmas, initialLatents(unitNoise, sigmas[0] ?? 0), () => unitNoise);
  while (!(await way.next()).done) yield squares;
}

function requestFor(base: BaseModel, prompt: string, seed: number): Parameters<Painter["draw"]>[0] {
  const side = base.nativeResolutionPx;
  const settings = { negativePrompt: "", steps: STEPS, guidance: GUIDANCE, sampler: "euler", adapters: [] } as const;
  return { ...settings, prompt, seed, widthPx: side, heightPx: side };
}

async function thumbnail(pixels: Pixels): Promise<string> {
  return Buffer.from(await encodeThumbnail(pixels, THUMB_PX)).toString("base64");
}
