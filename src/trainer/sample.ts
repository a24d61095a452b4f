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

export interface Painter {
  /** @param onStep is called after each step of the sampler */
  draw(request: ImageRequest, signal?: AbortSignal, onStep?: () => void): Promise<Pixels>;
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
  const encode = createTextReader(options, executables);
  return {
    async draw(request, signal, onStep) {
      const { adapters, widthPx, heightPx } = request;
      checkPictureSize(base, widthPx, heightPx);
      const size = { height: heightPx / base.pixelsPerLatent, width: widthPx / base.pixelsPerLatent };
      const { form, texts } = await encode(request);
      const own = adapters.filter(({ path }) => path.startsWith("unet."));
      const shape = { batch: texts.length, ...size };
      const unet = await executables.get(
        `denoiser ${widthPx}x${heightPx} x${shape.batch}, text x${form.chunks}${keyOf(own)}`,
        () => buildDenoiser(base, { shape, adapters: fed(own), text: "embeddings", form }),
      );
      const latents = await denoise(base, unet, texts, { ...request, adapters: own }, { signal, onStep });
      const decoder = await executables.get(`vae decoder ${widthPx}x${heightPx}`, () =>
        buildVaeDecoding(base, 1, size.height, size.width),
      );
      const { pixels } = await decoder.run({ latents });
      return tensorToPixels(requireFloats(pixels, "pixels"), heightPx, widthPx);
    },
    dispose: () => executables.dispose(),
  };
}

/** A picture's texts, all in one form: the prompt and, where there is guidance, the negative prompt. */
interface ReadTexts {
  readonly form: TextForm;
  readonly texts: readonly EncodedText[];
}

function createTextReader(options: PainterOptions, executables: Executables): (request: ImageRequest) => Promise<ReadTexts> {
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
  return async ({ prompt, negativePrompt, guidance, adapters }) => {
    const prompts = guidance === 1 ? [prompt] : [prompt, negativePrompt];
    const form = { ...plainText, ...options.form, chunks: options.form?.chunks ?? chunksFor(base, prompts) };
    const texts: EncodedText[] = [];
    for (const [i, text] of prompts.entries()) {
      const isZero = i === 1 && text === "" && base.zerosForEmptyPrompt;
      texts.push(isZero ? zeroText(base, form) : await encode(text, adapters, form));
    }
    return { form, texts };
  };
}

/** From noise to latents. `request.adapters` are the UNet's own. */
async function denoise(
  base: BaseModel,
  unet: Executable,
  texts: readonly EncodedText[],
  request: ImageRequest,
  watch: { readonly signal: AbortSignal | undefined; readonly onStep: (() => void) | undefined },
): Promise<Float32Array> {
  const { seed, guidance, widthPx, heightPx, steps, sampler, adapters } = request;
  const size = {
    originalHeightPx: heightPx,
    originalWidthPx: widthPx,
    cropTopPx: 0,
    cropLeftPx: 0,
    targetHeightPx: heightPx,
    targetWidthPx: widthPx,
  };
  const predict = async (scaled: Float32Array, timestep: number): Promise<readonly Float32Array[]> => {
    watch.signal?.throwIfAborted();
    const { prediction } = await unet.run({
      noisyLatents: join(texts.map(() => scaled)),
      timesteps: Float32Array.from(texts, () => (asksWholeTimesteps[sampler] ? Math.round(timestep) : timestep)),
      textEmbeddings: join(texts.map(({ textEmbeddings }) => textEmbeddings)),
      ...(texts[0]?.pooled
        ? { pooled: join(texts.flatMap(({ pooled }) => pooled ?? [])), timeIds: join(texts.map(() => sdxlTimeIds(size))) }
        : {}),
      ...strengthFeeds(adapters),
    });
    const all = requireFloats(prediction, "prediction");
    return texts.map((_, i) => all.subarray((i * all.length) / texts.length, ((i + 1) * all.length) / texts.length));
  };
  const predictor =
    texts.length === 1
      ? async (scaled: Float32Array, timestep: number) => (await predict(scaled, timestep))[0] ?? new Float32Array()
      : withGuidance(async (scaled, timestep) => {
          const [conditional, unconditional] = await predict(scaled, timestep);
          if (!conditional || !unconditional) throw new Error("sample: two predictions needed");
          return { conditional, unconditional };
        }, guidance);
  const sigmas = sigmasOf[sampler](base.schedule, steps);
  const count = (base.vae.latentChannels * heightPx * widthPx) / base.pixelsPerLatent ** 2;
  const start = initialLatents(normal({ seed, purpose: "noise" }, count), sigmas[0] ?? 0);
  const run = samplers[sampler](createDenoiser(base.schedule, predictor), sigmas, start, (step) =>
    normal({ seed, purpose: "sampler", step }, count),
  );
  return finish(run, watch.onStep);
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
