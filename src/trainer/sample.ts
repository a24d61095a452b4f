/** Draws pictures with a base model and adapters. */
import { type BaseModel, plainText, type TextForm, textWidths, tokenCount } from "../checkpoints/base.ts";
import { buildTextEncoding, buildVaeDecoding } from "../checkpoints/conditioning.ts";
import { sdxlTimeIds } from "../diffusion/conditioning.ts";
import { normal } from "../diffusion/philox.ts";
import type { NoiseSchedule } from "../diffusion/schedule.ts";
import { createDenoiser, initialLatents, withGuidance } from "../diffusion/samplers/denoiser.ts";
import { finish, type SamplerName, samplers } from "../diffusion/samplers/samplers.ts";
import { karrasSigmas, modelSigmas } from "../diffusion/samplers/sigmas.ts";
import type { Executable } from "../engines/engine.ts";
import { UserError } from "../errors.ts";
import { type Pixels, tensorToPixels } from "../formats/images.ts";
import { type AdapterSpec, addAdapters, strengthFeeds } from "../lora/inject.ts";
import { buildDenoiser } from "./denoiser.ts";
import { type EncodedText, requireFloats, textFeeds, tokenise } from "./encode.ts";
import { createExecutables, type Executables } from "./executables.ts";
import { join } from "./feeds.ts";
import { chunksFor } from "./text-form.ts";
import type { WeightStore } from "./weights.ts";

/** One picture to be drawn. */
interface ImageRequest {
  readonly prompt: string;
  readonly negativePrompt: string;
  readonly seed: number;
  readonly steps: number;
  /** Classifier-free guidance; 1 is none. */
  readonly guidance: number;
  readonly sampler: SamplerName;
  readonly widthPx: number;
  readonly heightPx: number;
  /** Adapters whose buffers are on the engine, and how strongly each acts. The specs of one prefix have one weight. */
  readonly adapters: readonly AdapterSpec[];
}

/** What the network predicts of the same latents for each of several prompts; parameters as those of `Predictor`. */
export type PromptPredictor = (scaledLatents: Float32Array, timestep: number) => Promise<readonly Float32Array[]>;

export interface Painter {
  /** @param onStep is called after each step of the sampler */
  draw(request: ImageRequest, signal?: AbortSignal, onStep?: () => void): Promise<Pixels>;
  /** At the base's native size and without adapters: two prompts at a time, by the graph that pictures with guidance are drawn by. */
  predictor(prompts: readonly string[], signal?: AbortSignal): Promise<PromptPredictor>;
  /** Ends what was compiled; a later picture compiles it again. */
  dispose(): Promise<void>;
}

interface PainterOptions {
  readonly base: BaseModel;
  readonly weights: WeightStore;
  /** How prompts are read. Where `chunks` is absent each picture takes the fewest that hold its prompts. */
  readonly form?: Partial<TextForm> | undefined;
  /** Encodes, in that form, prompts that no adapter changes, such as a cache; the text encoders themselves if absent. */
  readonly encodeText?: (prompt: string) => Promise<EncodedText>;
}

export function createPainter(options: PainterOptions): Painter {
  const { base, weights } = options;
  const executables = createExecutables(weights);
  const read = createTextReader(options, executables);
  const compile = (form: TextForm, batch: number, { widthPx, heightPx, adapters }: Conditions): Promise<Executable> =>
    executables.get(`denoiser ${widthPx}x${heightPx} x${batch}, text x${form.chunks}${keyOf(adapters)}`, () => {
      const shape = { batch, height: heightPx / base.pixelsPerLatent, width: widthPx / base.pixelsPerLatent };
      return buildDenoiser(base, { shape, adapters: fed(adapters), text: "embeddings", form });
    });
  return {
    async draw(request, signal, onStep) {
      const { prompt, negativePrompt, guidance, adapters, widthPx, heightPx } = request;
      checkPictureSize(base, widthPx, heightPx);
      const { form, texts } = await read([prompt], guidance === 1 ? undefined : negativePrompt, adapters);
      const own = { ...request, adapters: adapters.filter(({ path }) => path.startsWith("unet.")) };
      const predict = createPrediction(await compile(form, texts.length, own), texts, own, signal);
      const latents = await denoise(base, predict, own, onStep);
      const decoder = await executables.get(`vae decoder ${widthPx}x${heightPx}`, () =>
        buildVaeDecoding(base, 1, heightPx / base.pixelsPerLatent, widthPx / base.pixelsPerLatent),
      );
      const { pixels } = await decoder.run({ latents });
      return tensorToPixels(requireFloats(pixels, "pixels"), heightPx, widthPx);
    },
    async predictor(prompts, signal) {
      const { form, texts } = await read(prompts, undefined, []);
      const conditions = { widthPx: base.nativeResolutionPx, heightPx: base.nativeResolutionPx, adapters: [] };
      const unet = await compile(form, 2, conditions);
      const pairs = texts.flatMap((text, i) => (i % 2 === 0 ? [[text, texts[i + 1] ?? text]] : []));
      const predictions = pairs.map((pair) => createPrediction(unet, pair, conditions, signal));
      return async (scaled, timestep) => {
        const all: Float32Array[] = [];
        for (const predict of predictions) all.push(...(await predict(scaled, timestep)));
        return all.slice(0, prompts.length);
      };
    },
    dispose: () => executables.dispose(),
  };
}

/** Texts in one form. */
interface ReadTexts {
  readonly form: TextForm;
  readonly texts: readonly EncodedText[];
}

/** Reads prompts and, behind them, a negative prompt where there is guidance. */
type TextReader = (
  prompts: readonly string[],
  negativePrompt: string | undefined,
  adapters: readonly AdapterSpec[],
) => Promise<ReadTexts>;

function createTextReader(options: PainterOptions, executables: Executables): TextReader {
  const { base } = options;
  const encode = async (prompt: string, adapters: readonly AdapterSpec[], form: TextForm): Promise<EncodedText> => {
    const own = adapters.filter(({ path }) => path.startsWith("text_encoder"));
    if (own.length === 0 && options.encodeText) return options.encodeText(prompt);
    const run = await executables.get(`text encoders x${form.chunks}${keyOf(own)}`, () =>
      addAdapters(buildTextEncoding(base, 1, form), fed(own)),
    );
    const { textEmbeddings, pooled } = await run.run({
      ...textFeeds(base, tokenise(base, prompt, form), form),
      ...strengthFeeds(own),
    });
    return {
      textEmbeddings: requireFloats(textEmbeddings, "textEmbeddings"),
      pooled: pooled && requireFloats(pooled, "pooled"),
    };
  };
  return async (prompts, negativePrompt, adapters) => {
    const all = negativePrompt === undefined ? prompts : [...prompts, negativePrompt];
    const form = { ...plainText, ...options.form, chunks: options.form?.chunks ?? chunksFor(base, all) };
    const texts: EncodedText[] = [];
    for (const [i, text] of all.entries()) {
      const isZero = i === prompts.length && text === "" && base.zerosForEmptyPrompt;
      texts.push(isZero ? zeroText(base, form) : await encode(text, adapters, form));
    }
    return { form, texts };
  };
}

/** What the network is told beside texts. */
type Conditions = Pick<ImageRequest, "widthPx" | "heightPx" | "adapters">;

/** What the network predicts for each of a batch of texts. */
function createPrediction(
  unet: Executable,
  texts: readonly EncodedText[],
  { widthPx, heightPx, adapters }: Conditions,
  signal: AbortSignal | undefined,
): PromptPredictor {
  const size = {
    originalHeightPx: heightPx,
    originalWidthPx: widthPx,
    cropTopPx: 0,
    cropLeftPx: 0,
    targetHeightPx: heightPx,
    targetWidthPx: widthPx,
  };
  return async (scaled, timestep) => {
    signal?.throwIfAborted();
    const { prediction } = await unet.run({
      noisyLatents: join(texts.map(() => scaled)),
      timesteps: Float32Array.from(texts, () => timestep),
      textEmbeddings: join(texts.map(({ textEmbeddings }) => textEmbeddings)),
      ...(texts[0]?.pooled
        ? { pooled: join(texts.flatMap(({ pooled }) => pooled ?? [])), timeIds: join(texts.map(() => sdxlTimeIds(size))) }
        : {}),
      ...strengthFeeds(adapters),
    });
    const all = requireFloats(prediction, "prediction");
    return texts.map((_, i) => all.subarray((i * all.length) / texts.length, ((i + 1) * all.length) / texts.length));
  };
}

/** From noise to latents. */
async function denoise(
  base: BaseModel,
  predict: PromptPredictor,
  { seed, guidance, widthPx, heightPx, steps, sampler }: ImageRequest,
  onStep: (() => void) | undefined,
): Promise<Float32Array> {
  const predictAt: PromptPredictor = (scaled, timestep) =>
    predict(scaled, asksWholeTimesteps[sampler] ? Math.round(timestep) : timestep);
  const predictor =
    guidance === 1
      ? async (scaled: Float32Array, timestep: number) => (await predictAt(scaled, timestep))[0] ?? new Float32Array()
      : withGuidance(async (scaled, timestep) => {
          const [conditional, unconditional] = await predictAt(scaled, timestep);
          if (!conditional || !unconditional) throw new Error("sample: two predictions needed");
          return { conditional, unconditional };
        }, guidance);
  const sigmas = sigmasOf[sampler](base.schedule, steps);
  const count = (base.vae.latentChannels * heightPx * widthPx) / base.pixelsPerLatent ** 2;
  const start = initialLatents(normal({ seed, purpose: "noise" }, count), sigmas[0] ?? 0);
  const run = samplers[sampler](createDenoiser(base.schedule, predictor), sigmas, start, (step) =>
    normal({ seed, purpose: "sampler", step }, count),
  );
  return finish(run, onStep);
}

/** The noise levels each sampler is used with. */
const sigmasOf: { readonly [K in SamplerName]: (schedule: NoiseSchedule, steps: number) => Float64Array } = {
  euler: modelSigmas,
  euler_a: modelSigmas,
  dpmpp_2m: karrasSigmas,
};

/**
 * Whether the network is asked at the nearest whole timestep, as it was trained, for noise levels that lie between two: as diffusers
 * has it for each sampler. Without this, 8 x 8 blocks of a picture of `mini` by DPM++ 2M were up to 2.4 of 255 from its own.
 */
const asksWholeTimesteps: { readonly [K in SamplerName]: boolean } = { euler: false, euler_a: false, dpmpp_2m: true };

/** The graph is the same at every strength. */
export function fed(adapters: readonly AdapterSpec[]): readonly AdapterSpec[] {
  return adapters.map((spec) => ({ ...spec, weight: "fed" }));
}

/** Which adapters are in a graph. */
function keyOf(adapters: readonly AdapterSpec[]): string {
  const prefixes = new Set(adapters.map(({ prefix = "adapter" }) => prefix));
  return adapters.length === 0 ? "" : ` with ${[...prefixes].join(", ")}`;
}

function zeroText(base: BaseModel, form: TextForm): EncodedText {
  const { embeddings, pooled } = textWidths(base);
  return {
    textEmbeddings: new Float32Array(tokenCount(base, form) * embeddings),
    pooled: pooled === undefined ? undefined : new Float32Array(pooled),
  };
}

/** @throws UserError for a size that the base cannot draw */
export function checkPictureSize({ pixelsPerLatent, unet }: BaseModel, widthPx: number, heightPx: number): void {
  const unit = pixelsPerLatent * 2 ** (unet.downBlocks.length - 1);
  for (const side of [widthPx, heightPx]) {
    if (Number.isInteger(side) && side >= unit && side % unit === 0) continue;
    throw new UserError(`A picture of ${widthPx} x ${heightPx} px cannot be drawn with this base.`, {
      fix: `Give sides that are multiples of ${unit}.`,
      exitCode: 2,
    });
  }
}
