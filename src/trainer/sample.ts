/** Draws pictures with a base model and adapters. */
import { type BaseModel, textWidths, tokenCount } from "../checkpoints/base.ts";
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
import { type AdapterSpec, addAdapters } from "../lora/inject.ts";
import { buildDenoiser } from "./denoiser.ts";
import { type EncodedText, requireFloats, textFeeds, tokenise } from "./encode.ts";
import { createExecutables } from "./executables.ts";
import { join } from "./feeds.ts";
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
  /** Adapters whose buffers are on the engine. */
  readonly adapters: readonly AdapterSpec[];
}

export interface Painter {
  draw(request: ImageRequest, signal?: AbortSignal): Promise<Pixels>;
  /** Ends what was compiled; a later picture compiles it again. */
  dispose(): Promise<void>;
}

/**
 * @param options.encodeText what encodes prompts that no adapter changes, such as a cache; the text encoders themselves if absent
 */
export function createPainter(options: {
  readonly base: BaseModel;
  readonly weights: WeightStore;
  readonly encodeText?: (prompt: string) => Promise<EncodedText>;
}): Painter {
  const { base, weights } = options;
  const executables = createExecutables(weights);
  const encode = async (prompt: string, adapters: readonly AdapterSpec[]): Promise<EncodedText> => {
    const own = adapters.filter(({ path }) => path.startsWith("text_encoder"));
    if (own.length === 0 && options.encodeText) return options.encodeText(prompt);
    const run = await executables.get(`text encoders${keyOf(own)}`, () => addAdapters(buildTextEncoding(base, 1), own));
    const { textEmbeddings, pooled } = await run.run(textFeeds(base, tokenise(base, prompt)));
    return {
      textEmbeddings: requireFloats(textEmbeddings, "textEmbeddings"),
      pooled: pooled && requireFloats(pooled, "pooled"),
    };
  };
  const encodeNegative = (prompt: string, adapters: readonly AdapterSpec[]): Promise<EncodedText> | EncodedText =>
    prompt === "" && base.zerosForEmptyPrompt ? zeroText(base) : encode(prompt, adapters);

  return {
    async draw(request, signal) {
      const { adapters, guidance, widthPx, heightPx } = request;
      checkSize(base, widthPx, heightPx);
      const size = { height: heightPx / base.pixelsPerLatent, width: widthPx / base.pixelsPerLatent };
      const texts = [await encode(request.prompt, adapters)];
      if (guidance !== 1) texts.push(await encodeNegative(request.negativePrompt, adapters));
      const own = adapters.filter(({ path }) => path.startsWith("unet."));
      const shape = { batch: texts.length, ...size };
      const unet = await executables.get(`denoiser ${widthPx}x${heightPx} x${shape.batch}${keyOf(own)}`, () =>
        buildDenoiser(base, { shape, adapters: own, text: "embeddings" }),
      );
      const latents = await denoise(base, unet, texts, request, signal);
      const decoder = await executables.get(`vae decoder ${widthPx}x${heightPx}`, () =>
        buildVaeDecoding(base, 1, size.height, size.width),
      );
      const { pixels } = await decoder.run({ latents });
      return tensorToPixels(requireFloats(pixels, "pixels"), heightPx, widthPx);
    },
    dispose: () => executables.dispose(),
  };
}

/** From noise to latents. */
async function denoise(
  base: BaseModel,
  unet: Executable,
  texts: readonly EncodedText[],
  request: ImageRequest,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const { seed, guidance, widthPx, heightPx, steps, sampler } = request;
  const size = {
    originalHeightPx: heightPx,
    originalWidthPx: widthPx,
    cropTopPx: 0,
    cropLeftPx: 0,
    targetHeightPx: heightPx,
    targetWidthPx: widthPx,
  };
  const predict = async (scaled: Float32Array, timestep: number): Promise<readonly Float32Array[]> => {
    signal?.throwIfAborted();
    const { prediction } = await unet.run({
      noisyLatents: join(texts.map(() => scaled)),
      timesteps: Float32Array.from(texts, () => (asksWholeTimesteps[sampler] ? Math.round(timestep) : timestep)),
      textEmbeddings: join(texts.map(({ textEmbeddings }) => textEmbeddings)),
      ...(texts[0]?.pooled
        ? { pooled: join(texts.flatMap(({ pooled }) => pooled ?? [])), timeIds: join(texts.map(() => sdxlTimeIds(size))) }
        : {}),
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
  return finish(run);
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

function keyOf(adapters: readonly AdapterSpec[]): string {
  const strengths = adapters.map(({ prefix, weight }) => `${prefix ?? "adapter"}:${weight ?? 1}`);
  return adapters.length === 0 ? "" : ` with ${[...new Set(strengths)].join(", ")}`;
}

function zeroText(base: BaseModel): EncodedText {
  const { embeddings, pooled } = textWidths(base);
  return {
    textEmbeddings: new Float32Array(tokenCount(base) * embeddings),
    pooled: pooled === undefined ? undefined : new Float32Array(pooled),
  };
}

function checkSize({ pixelsPerLatent, unet }: BaseModel, widthPx: number, heightPx: number): void {
  const unit = pixelsPerLatent * 2 ** (unet.downBlocks.length - 1);
  for (const side of [widthPx, heightPx]) {
    if (Number.isInteger(side) && side >= unit && side % unit === 0) continue;
    throw new UserError(`A picture of ${widthPx} x ${heightPx} px cannot be drawn with this base.`, {
      fix: `Give sides that are multiples of ${unit}.`,
      exitCode: 2,
    });
  }
}
