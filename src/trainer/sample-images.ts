/** Draws pictures with adapter files, from opening the engine to disposing of it. */
import type { BaseModel } from "../checkpoints/base.ts";
import { parseSamplerName } from "../diffusion/samplers/samplers.ts";
import type { Engine } from "../engines/engine.ts";
import type { Pixels } from "../formats/images.ts";
import type { AdapterSpec } from "../lora/inject.ts";
import { loadAdapter } from "./load-adapter.ts";
import { createPainter } from "./sample.ts";
import { createWeightStore, type ScaledChange } from "./weights.ts";

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
  readonly signal?: AbortSignal | undefined;
  readonly onPicture?: (done: number, total: number) => void;
}

/**
 * One picture for each prompt.
 *
 * @throws UserError for an adapter of another base, a size that the base cannot draw, or an unknown sampler
 * @example const [picture] = await sampleImages({ base, createEngine, adapters: [], prompts: ["a red apple"], ...settings });
 */
export async function sampleImages(options: SampleOptions): Promise<readonly Pixels[]> {
  const { base, prompts, seed } = options;
  const sampler = parseSamplerName(options.sampler);
  const engine = await options.createEngine();
  try {
    const specs: AdapterSpec[] = [];
    const changes: ScaledChange[] = [];
    for (const [i, adapter] of options.adapters.entries()) {
      const loaded = await loadAdapter(engine, base, adapter, `adapter${i}`);
      specs.push(...loaded.specs);
      changes.push(...loaded.changes);
    }
    const painter = createPainter({ base, weights: createWeightStore(engine, base, changes) });
    const pictures: Pixels[] = [];
    for (const [i, prompt] of prompts.entries()) {
      pictures.push(await painter.draw({ ...options, prompt, seed: seed + i, sampler, adapters: specs }, options.signal));
      options.onPicture?.(i + 1, prompts.length);
    }
    return pictures;
  } finally {
    await engine.dispose();
  }
}
