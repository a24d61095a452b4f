/** Everything that stands between a plan and its first step: base, dataset, encoding, and the network on the engine. */
import { openBase } from "../checkpoints/open-base.ts";
import type { BaseModel, TextForm } from "../checkpoints/base.ts";
import { createSchedule } from "../diffusion/schedule.ts";
import { openCache } from "../dataset/cache.ts";
import type { Engine } from "../engines/engine.ts";
import { UserError } from "../errors.ts";
import { isQuantised } from "../graph/graph.ts";
import { describeHalfLoads } from "../lora/compatibility.ts";
import type { AdapterTarget } from "../lora/targets.ts";
import { picturesPerStep } from "../planner/per-step.ts";
import { settingsOf, type TrainPlan, type TrainSettings } from "../planner/plan.ts";
import { findTrainedTargets, trainedTextEncoders } from "../planner/targets.ts";
import type { AdapterFacts } from "./adapter-file.ts";
import { createEncoder, type EncodedPicture, type EncodedText, type Encoder, tokenise } from "./encode.ts";
import type { PreflightEvent, TrainEvent } from "./events.ts";
import type { MemoryForecast } from "./forecast/memory.ts";
import { createFeedMaker, type FeedMaker, type TextSource } from "./feeds.ts";
import { readInitialAdapter } from "./initial-adapter.ts";
import { type AdapterWeights, createNetwork, type Network } from "./network.ts";
import { createOrder, type StepDraw } from "./order.ts";
import { readRunPictures, type RunPicture, type RunPictures } from "./pictures.ts";
import { preflightPictures } from "./preflight-choice.ts";
import { createPreviewer, type Previewer, previewTexts } from "./preview.ts";
import type { RunPaths } from "./run-folder.ts";
import { createPainter, type Painter } from "./sample.ts";
import { describeCutCaptions, textFormOf } from "./text-form.ts";
import { createValidator, type Validator } from "./validate.ts";
import { createWeightStore, type WeightStore } from "./weights.ts";

export interface TrainOptions {
  /** Makes the engine that the run is to use; the run disposes of it. */
  readonly createEngine: () => Promise<Engine>;
  /** Where hashes of large files are remembered; undefined remembers none. */
  readonly hashCacheFile: string | undefined;
  /** Asks the run to save itself and stop. */
  readonly signal?: AbortSignal | undefined;
  /** Do everything once on the largest pictures before the run begins; see `PreflightEvent`. */
  readonly preflight?: boolean | undefined;
  /** Asked after the preflight; the run is not begun when it says no. */
  readonly approve?: ((preflight: PreflightEvent) => Promise<boolean>) | undefined;
  /** What was forecast of the run before it, to be told beside what it took; forecast at its end where absent. */
  readonly forecast?: MemoryForecast | undefined;
}

export interface PreparedRun {
  readonly plan: TrainPlan;
  readonly settings: TrainSettings;
  readonly paths: RunPaths;
  readonly base: BaseModel;
  readonly engine: Engine;
  /** What this process held before the run. */
  readonly residentBytes: number;
  /** Undefined where it was not forecast before. */
  readonly forecast: MemoryForecast | undefined;
  readonly run: RunPictures;
  /** Indices of the pictures that are trained on, for each bucket in use. */
  readonly members: readonly (readonly number[])[];
  readonly network: Network;
  readonly feeds: FeedMaker;
  readonly order: (step: number) => StepDraw;
  readonly encoded: (picture: number, flip: boolean) => EncodedPicture;
  readonly validator: Validator;
  /** Undefined when the plan has no preview prompts. */
  readonly previewer: Previewer | undefined;
  readonly facts: AdapterFacts;
  readonly form: TextForm;
  /** Whether the graphs take a mask. */
  readonly masked: boolean;
  readonly notes: readonly string[];
  /** Encodes what a preflight left for later; nothing without one. */
  encodeRest(signal: AbortSignal | undefined): AsyncGenerator<TrainEvent, void>;
  dispose(): Promise<void>;
}

/** Yields progress and warnings. @throws UserError for whatever keeps the run from starting */
export async function* prepareRun(
  plan: TrainPlan,
  paths: RunPaths,
  options: TrainOptions,
): AsyncGenerator<TrainEvent, PreparedRun> {
  const settings = settingsOf(plan);
  const residentBytes = process.memoryUsage.rss();
  yield { type: "progress", phase: "base", done: 0, total: 1 };
  const base = await openPlannedBase(settings, options.hashCacheFile);
  const form = textFormOf(base, settings);
  const run = await readRunPictures(settings);
  const targets = findTrainedTargets(base, settings);
  const initial =
    settings.continueFrom === null ? undefined : await readInitialAdapter(settings.continueFrom, base, targets, settings);
  const notes = [
    ...base.notes,
    ...run.notes,
    ...describeCutCaptions(base, run, form),
    ...(initial?.notes ?? []),
    // Which layers are trained decides it, so it is said before the run, not after it.
    ...describeHalfLoads(targets, base),
    ...plan.warnings,
  ];
  yield { type: "progress", phase: "base", done: 1, total: 1 };

  const engine = await options.createEngine();
  let isReady = false;
  try {
    const weights = createWeightStore(engine, base, isQuantised(settings.basePrecision) ? settings : {});
    const context = { base, weights, run, settings, form };
    // What hides in an alpha channel is not known before all pictures are read.
    const first = options.preflight && !settings.alphaAsMask ? preflightPictures(run, settings) : undefined;
    const encodings = yield* encodeAll(context, first, options.signal);
    const begun = initial?.weights ?? new Map<string, AdapterWeights>();
    const parts = { plan, settings, form, paths, base, engine, weights, run, targets, encodings };
    const prepared = assemble({ ...parts, initial: begun });
    isReady = true;
    return {
      ...prepared,
      residentBytes,
      forecast: options.forecast,
      get notes() {
        return [...notes, ...encodings.notes];
      },
      encodeRest: (signal) => encodeOthers(context, encodings, signal),
    };
  } finally {
    // An error, or a caller that listens no longer.
    if (!isReady) await engine.dispose();
  }
}

async function openPlannedBase(settings: TrainSettings, hashCacheFile: string | undefined): Promise<BaseModel> {
  const base = await openBase(settings.base, { ...settings.baseOptions, hashCacheFile });
  if (base.hashes.all === settings.baseHash) return asPlanned(base, settings);
  throw new UserError(`The base model ${base.folder} is not the one that this run was planned for.`, {
    fix: "Put the old files back, or start a new run.",
  });
}

/** The base as the plan reads it, in training and in previews. */
function asPlanned(base: BaseModel, { predictionType, zeroTerminalSnr }: TrainSettings): BaseModel {
  return { ...base, schedule: createSchedule({ ...base.schedule, predictionType, zeroTerminalSnr }) };
}

/** Everything that is encoded before the first step; more is added while the run is prepared. */
interface Encodings {
  /** By `pictureKey`. */
  readonly pictures: Map<string, EncodedPicture>;
  /** By caption or prompt. */
  readonly texts: ReadonlyMap<string, EncodedText>;
  /** What there is to say of the cache. */
  readonly notes: string[];
}

interface EncodingContext {
  readonly base: BaseModel;
  readonly weights: WeightStore;
  readonly run: RunPictures;
  readonly settings: TrainSettings;
  readonly form: TextForm;
}

async function openEncoder({ base, weights, settings, form }: EncodingContext, notes: string[]): Promise<Encoder> {
  const cache = await openCache(settings.cacheFolder, {
    onDamaged: (path, reason) => notes.push(`${path} was damaged and is made again: ${reason}`),
  });
  return createEncoder({ base, weights, cache, settings, form });
}

/**
 * Encodes pictures and texts, then frees the weights that only this needs.
 *
 * @param first indices of the pictures to encode; all when not given. Texts are all encoded, so that no text encoder need be loaded beside
 *   the UNet
 */
async function* encodeAll(
  context: EncodingContext,
  first: ReadonlySet<number> | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<TrainEvent, Encodings> {
  const { base, weights, run, settings } = context;
  const notes: string[] = [];
  const encoder = await openEncoder(context, notes);
  const pictures = new Map<string, EncodedPicture>();
  yield* encodePictures(encoder, context, first ?? new Set(run.pictures.keys()), pictures, signal);
  // While text encoders are trained, only what the base model alone draws is encoded in advance.
  const isTextTrained = trainedTextEncoders(base, settings).length > 0;
  const captions = isTextTrained ? [] : run.pictures.map(({ caption }) => caption);
  const texts = yield* encodeTexts(encoder, [...captions, "", ...previewTexts(settings)], signal);
  await encoder.dispose();
  await weights.free("vae");
  if (!isTextTrained) for (const { name } of base.textEncoders) await weights.free(name);
  return { pictures, texts, notes };
}

/** The pictures that were left out before. The VAE's decoder stays: previews are drawn with it. */
async function* encodeOthers(
  context: EncodingContext,
  { pictures, notes }: Encodings,
  signal: AbortSignal | undefined,
): AsyncGenerator<TrainEvent, void> {
  const others = [...context.run.pictures.keys()].filter((i) => !pictures.has(pictureKey(i, false)));
  if (others.length === 0) return;
  const encoder = await openEncoder(context, notes);
  yield* encodePictures(encoder, context, new Set(others), pictures, signal);
  await encoder.dispose();
  await context.weights.free("vae.encoder");
}

/** Puts the parts of a run together. Nothing is compiled yet. */
function assemble(parts: {
  readonly plan: TrainPlan;
  readonly settings: TrainSettings;
  readonly form: TextForm;
  readonly paths: RunPaths;
  readonly base: BaseModel;
  readonly engine: Engine;
  readonly weights: WeightStore;
  readonly run: RunPictures;
  readonly targets: readonly AdapterTarget[];
  readonly initial: ReadonlyMap<string, AdapterWeights>;
  readonly encodings: Encodings;
}): Omit<PreparedRun, "notes" | "encodeRest" | "residentBytes" | "forecast"> {
  const { plan, settings, form, paths, base, engine, weights, run, targets, initial, encodings } = parts;
  // Mask files are known before any picture is read.
  const masked =
    run.pictures.some(({ item }) => item.maskPath !== undefined) ||
    [...encodings.pictures.values()].some(({ mask }) => mask !== undefined);
  const members = membersOf(run);
  const oneSize = members.filter((list) => list.length > 0).length === 1;
  const network = createNetwork({ base, engine, weights, settings, form, masked, oneSize, initial });
  const text = textSource(base, settings, form, encodings);
  const feeds = createFeedMaker({ base, schedule: base.schedule, settings, masked, text });
  const encoded = (picture: number, flip: boolean): EncodedPicture =>
    found(encodings.pictures.get(pictureKey(picture, flip)), `picture ${picture}`);
  const encodeText = (prompt: string) => Promise.resolve(found(encodings.texts.get(prompt), `the prompt "${prompt}"`));
  const painter = createPainter({ base, weights, form, encodeText });
  const usesPreviews = settings.previewPrompts.length > 0;
  const repeats = members.map((list) => list.map((i) => run.pictures[i]?.item.repeats ?? 1));
  return {
    plan,
    settings,
    paths,
    base,
    engine,
    run,
    members,
    network,
    feeds,
    encoded,
    order: createOrder(repeats, picturesPerStep(settings), settings.seed),
    validator: createValidator({ base, settings, pictures: run.pictures, encoded: (i) => encoded(i, false), feeds }),
    previewer: usesPreviews ? createPreviewer({ painter, paths, settings, adapters: network.adapters }) : undefined,
    facts: { plan, settings, base, targets, run },
    form,
    masked,
    dispose: () => disposeAll(network, painter, engine),
  };
}

function membersOf({ buckets, pictures }: RunPictures): readonly (readonly number[])[] {
  return buckets.map((_, b) =>
    pictures.flatMap(({ bucketIndex, isHeldOut }, i) => (bucketIndex === b && !isHeldOut ? [i] : [])),
  );
}

/** Token ids where a text encoder is trained: then all of them run in every step, and what is not trained is not changed. */
function textSource(base: BaseModel, settings: TrainSettings, form: TextForm, { texts }: Encodings): TextSource {
  return trainedTextEncoders(base, settings).length > 0
    ? { kind: "tokens", form, get: (caption) => tokenise(base, caption, form) }
    : { kind: "embeddings", get: (caption) => found(texts.get(caption), `the caption "${caption}"`) };
}

async function disposeAll(network: Network, painter: Painter, engine: Engine): Promise<void> {
  await network.dispose();
  await painter.dispose();
  await engine.dispose();
}

function found<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`prepare: ${what} was not encoded`);
  return value;
}

function pictureKey(picture: number, flip: boolean): string {
  return `${picture}${flip ? " mirrored" : ""}`;
}

async function* encodePictures(
  encoder: Encoder,
  { run, settings }: Pick<EncodingContext, "run" | "settings">,
  indices: ReadonlySet<number>,
  encoded: Map<string, EncodedPicture>,
  signal: AbortSignal | undefined,
): AsyncGenerator<TrainEvent, void> {
  let done = 0;
  for (const i of indices) {
    signal?.throwIfAborted();
    const picture = run.pictures[i];
    if (!picture) throw new Error(`prepare: there is no picture ${i}`);
    for (const isFlipped of settings.flip && !picture.isHeldOut ? [false, true] : [false]) {
      const entry = await encoder.picture(picture, isFlipped);
      refuseEmptyMask(picture, entry);
      encoded.set(pictureKey(i, isFlipped), entry);
    }
    yield { type: "progress", phase: "latents", done: ++done, total: indices.size };
  }
}

function refuseEmptyMask({ item }: RunPicture, { mask }: EncodedPicture): void {
  if (!mask || mask.some((value) => value > 0)) return;
  throw new UserError(`The mask of ${item.path} lets nothing count.`, {
    fix: "Paint white what is to be learnt, or take the picture out.",
  });
}

async function* encodeTexts(
  encoder: Encoder,
  texts: readonly string[],
  signal: AbortSignal | undefined,
): AsyncGenerator<TrainEvent, ReadonlyMap<string, EncodedText>> {
  const all = [...new Set(texts)];
  const encoded = new Map<string, EncodedText>();
  for (const [i, text] of all.entries()) {
    signal?.throwIfAborted();
    encoded.set(text, await encoder.text(text));
    yield { type: "progress", phase: "captions", done: i + 1, total: all.length };
  }
  return encoded;
}
