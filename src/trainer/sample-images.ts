/** Draws pictures with adapter files, from opening the engine to disposing of it. */
import type { BaseModel, TextForm } from "../checkpoints/base.ts";
import { lineages } from "../models/lineages.ts";
import { parseSamplerName } from "../diffusion/samplers/samplers.ts";
import type { Engine } from "../engines/engine.ts";
import type { Pixels } from "../formats/images.ts";
import { adapterBufferNames, type AdapterSpec } from "../lora/inject.ts";
import { readAdapter } from "../lora/read.ts";
import { chunkLength, MAX_CHUNKS } from "../models/clip/chunks.ts";
import { refuseCaptionTokens, refuseClipSkip } from "../planner/text.ts";
import { createPainter } from "./sample.ts";
import { describeCutPrompt } from "./text-form.ts";
import { createWeightStore } from "./weights.ts";

export interface SampleOptions {
  readonly base: BaseModel;
  readonly createEngine: () => Promise<Engine>;
  /** Adapter files and how strongly each acts; 1 is as trained. */
  readonly adapters: readonly { readonly path: string; readonly weight: number }[];
  readonly prompts: readonly string[];
  readonly negativePrompt: string;
  /** Of the first prompt's picture; each further one takes the next. */
  readonly seed: number;
  readonly steps: number;
  /** Classifier-free guidance; 1 is none. */
  readonly guidance: number;
  /** "euler", "euler_a" or "dpmpp_2m". */
  readonly sampler: string;
  readonly widthPx: number;
  readonly heightPx: number;
  /** Which hidden state of SD 1.5's text encoder is taken, from the end; 1 when absent. SDXL has no choice. */
  readonly clipSkip?: number | undefined;
  /** How many tokens of a prompt are read; when absent the fewest that hold the prompts, up to 225. */
  readonly maxCaptionTokens?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told of a prompt that is not read to its end. */
  readonly onWarning?: ((message: string) => void) | undefined;
  readonly onPicture?: (done: number, total: number) => void;
}

/**
 * One picture for each prompt.
 *
 * @throws UserError for an adapter of another base, a size, clip skip or prompt length that the base has not, or an unknown sampler
 * @example const [picture] = await sampleImages({ base, createEngine, adapters: [], prompts: ["a red apple"], ...settings });
 */
export async function sampleImages(options: SampleOptions): Promise<readonly Pixels[]> {
  const { base, prompts, seed } = options;
  const sampler = parseSamplerName(options.sampler);
  const form = sampleForm(options);
  const engine = await options.createEngine();
  try {
    const specs: AdapterSpec[] = [];
    for (const [i, adapter] of options.adapters.entries())
      specs.push(...(await loadAdapter(engine, base, adapter, `adapter${i}`)));
    const painter = createPainter({ base, weights: createWeightStore(engine, base), form });
    const pictures: Pixels[] = [];
    for (const [i, prompt] of prompts.entries()) {
      const cut = describeCutPrompt(base, prompt, { chunks: form.chunks ?? MAX_CHUNKS });
      if (cut !== undefined) options.onWarning?.(cut);
      pictures.push(await painter.draw({ ...options, prompt, seed: seed + i, sampler, adapters: specs }, options.signal));
      options.onPicture?.(i + 1, prompts.length);
    }
    return pictures;
  } finally {
    await engine.dispose();
  }
}

function sampleForm({ base, clipSkip, maxCaptionTokens }: SampleOptions): Partial<TextForm> {
  if (clipSkip !== undefined) refuseClipSkip(base, clipSkip);
  if (maxCaptionTokens !== undefined) refuseCaptionTokens(base, maxCaptionTokens);
  return {
    clipSkip: clipSkip ?? lineages[base.lineage.name].clipSkip,
    ...(maxCaptionTokens === undefined ? {} : { chunks: maxCaptionTokens / (chunkLength(base) - 2) }),
  };
}

/** Puts an adapter file's matrices on the engine. */
async function loadAdapter(
  engine: Engine,
  base: BaseModel,
  { path, weight }: { readonly path: string; readonly weight: number },
  prefix: string,
): Promise<readonly AdapterSpec[]> {
  const { modules } = await readAdapter(path, base);
  for (const { path: layer, down, up } of modules) {
    const names = adapterBufferNames({ path: layer, prefix });
    await engine.allocate({ name: names.down, shape: down.shape, dtype: "float32" }, { kind: "data", data: down.data });
    await engine.allocate({ name: names.up, shape: up.shape, dtype: "float32" }, { kind: "data", data: up.data });
  }
  return modules.map(({ path: layer, rank, alpha }) => ({ path: layer, rank, alpha, weight, prefix }));
}
