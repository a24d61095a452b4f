/** Every kind of graph that a run compiles, made as the trainer makes it and counted instead of run. */
import { type BaseConfigs, textWidths } from "../../checkpoints/base.ts";
import { buildTextEncoding, buildVaeDecoding, buildVaeEncoding } from "../../checkpoints/conditioning.ts";
import type { EngineFacts } from "../../engines/engine.ts";
import { type FloatDType, type Graph, isQuantised } from "../../graph/graph.ts";
import type { GraphMemory } from "../../graph/memory.ts";
import { addAdapters } from "../../lora/inject.ts";
import type { TrainSettings } from "../../planner/plan.ts";
import { trainedTextEncoders } from "../../planner/targets.ts";
import { buildDenoiser } from "../denoiser.ts";
import { previewTexts } from "../preview.ts";
import { createRunGraphs, type LatentSize } from "../run-graphs.ts";
import { fed } from "../sample.ts";
import { textFormOf } from "../text-form.ts";
import { prepareGraph } from "../weights.ts";

/** Pictures of one size. */
export interface BucketLoad extends LatentSize {
  /** Of the steps; those of all buckets add up to 1. */
  readonly share: number;
  readonly pictures: number;
  /** Of the pictures, those that are only measured on. */
  readonly heldOut: number;
}

/** What a forecast has to know of a dataset. */
export interface DatasetLoad {
  readonly buckets: readonly BucketLoad[];
  /** Different captions. */
  readonly captions: number;
  /** Whether any picture has a mask. */
  readonly masked: boolean;
}

/** A graph as the engine will run it, and what it takes. */
export interface CountedGraph {
  readonly graph: Graph;
  readonly memory: GraphMemory;
}

/** The graphs of a run. Those of steps and losses are of the bucket that has the most pixels. */
export interface CountedGraphs {
  readonly pictureEncoder: CountedGraph;
  readonly textEncoder: CountedGraph;
  readonly step: CountedGraph;
  readonly apply: CountedGraph | undefined;
  readonly losses: CountedGraph;
  /** What previews are drawn with, by what it is; none without previews. */
  readonly preview:
    { readonly denoiser: CountedGraph; readonly decoder: CountedGraph; readonly text: CountedGraph | undefined } | undefined;
  /** Steps and losses on latents of another size. */
  stepOf(size: LatentSize): CountedGraph;
  lossesOf(size: LatentSize): CountedGraph;
  pictureEncoderOf(size: LatentSize): CountedGraph;
}

export interface ForecastInput {
  readonly settings: TrainSettings;
  readonly base: BaseConfigs;
  readonly dataset: DatasetLoad;
  readonly engine: EngineFacts;
  /** What this process holds before the run; of no account for an engine that is a process of its own. */
  readonly residentBytes?: number | undefined;
}

export function worstBucket({ buckets }: DatasetLoad): BucketLoad {
  const [first, ...others] = buckets;
  if (!first) throw new Error("forecast: at least one bucket needed, got none");
  return others.reduce((worst, bucket) => (areaOf(bucket) > areaOf(worst) ? bucket : worst), first);
}

export function areaOf({ height, width }: LatentSize): number {
  return height * width;
}

export function countGraphs({ settings, base, dataset, engine }: ForecastInput): CountedGraphs {
  const form = textFormOf(base, settings);
  const basePrecision = isQuantised(settings.basePrecision) ? settings.basePrecision : undefined;
  const graphs = createRunGraphs({ base, settings, form, masked: dataset.masked, precision: engine.precision });
  const isSized = dataset.buckets.length > 1;
  const count = (graph: Graph, { recompute = false, isSized = false }: CountOptions = {}): CountedGraph => {
    const ready = prepareGraph(graph, engine, { recompute, storedIn, basePrecision });
    return { graph: ready, memory: engine.overhead.countMemory(ready, { isSized }) };
  };
  const once = remembered(count);
  const pixels = base.pixelsPerLatent;
  const worst = worstBucket(dataset);
  const stepOf = (size: LatentSize) =>
    once(`step ${keyOf(size)}`, () => graphs.step(size), { recompute: settings.recompute, isSized });
  const lossesOf = (size: LatentSize) =>
    once(`loss ${keyOf(size)}`, () => graphs.losses({ ...size, batch: settings.batch }), { isSized });
  const pictureEncoderOf = ({ height, width }: LatentSize) =>
    once(`vae ${height}x${width}`, () => buildVaeEncoding(base, 1, height * pixels, width * pixels), { isSized: true });
  return {
    pictureEncoder: pictureEncoderOf(worst),
    textEncoder: count(buildTextEncoding(base, 1, form)),
    step: stepOf(worst),
    apply: settings.accumulation > 1 ? count(graphs.apply()) : undefined,
    losses: lossesOf(worst),
    preview: countPreview(),
    stepOf,
    lossesOf,
    pictureEncoderOf,
  };

  function countPreview(): CountedGraphs["preview"] {
    if (previewTexts(settings).length === 0) return undefined;
    const side = settings.previewSizePx / pixels;
    const shape = { batch: settings.previewGuidance === 1 ? 1 : 2, height: side, width: side };
    const own = (prefix: string) => fed(graphs.adapters.filter(({ path }) => path.startsWith(prefix)));
    const isTextTrained = trainedTextEncoders(base, settings).length > 0;
    return {
      denoiser: count(buildDenoiser(base, { shape, adapters: own("unet."), text: "embeddings", form })),
      decoder: count(buildVaeDecoding(base, 1, side, side)),
      text: isTextTrained ? count(addAdapters(buildTextEncoding(base, 1, form), own("text_encoder"))) : undefined,
    };
  }
}

function keyOf({ height, width }: LatentSize): string {
  return `${height}x${width}`;
}

/** Base weights take the type that the graph is computed in; adapters and what belongs to them are float32. */
function storedIn(buffer: string): FloatDType | undefined {
  return buffer.startsWith("adapter.") ? "float32" : undefined;
}

interface CountOptions {
  readonly recompute?: boolean;
  readonly isSized?: boolean;
}

function remembered(count: (graph: Graph, options?: CountOptions) => CountedGraph) {
  const known = new Map<string, CountedGraph>();
  return (key: string, build: () => Graph, options?: CountOptions): CountedGraph => {
    const counted = known.get(key) ?? count(build(), options);
    known.set(key, counted);
    return counted;
  };
}

/** Bytes of one picture's latents and one caption's embeddings, as they are held for the whole run. */
export function encodedBytes(
  { base, settings }: Pick<ForecastInput, "base" | "settings">,
  size: LatentSize,
): { picture: number; text: number } {
  const { embeddings, pooled = 0 } = textWidths(base);
  const latents = base.vae.latentChannels * areaOf(size);
  return { picture: 4 * (latents + 6), text: 4 * (settings.maxCaptionTokens * embeddings + pooled) };
}
