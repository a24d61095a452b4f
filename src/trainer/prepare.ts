/** Everything that stands between a plan and its first step: base, dataset, encoding, and the network on the engine. */
import { openBase } from "../checkpoints/diffusers-folder.ts";
import type { BaseModel } from "../checkpoints/base.ts";
import { openCache } from "../dataset/cache.ts";
import type { Engine } from "../engines/engine.ts";
import { UserError } from "../errors.ts";
import { settingsOf, type TrainPlan, type TrainSettings } from "../planner/plan.ts";
import { type AdapterFacts, readInitialAdapter } from "./adapter-file.ts";
import { createEncoder, type EncodedPicture, type EncodedText, type Encoder, tokenise } from "./encode.ts";
import type { TrainEvent } from "./events.ts";
import { createFeedMaker, type FeedMaker } from "./feeds.ts";
import { createNetwork, type Network } from "./network.ts";
import { findAdapterTargets } from "../planner/targets.ts";
import { createOrder, type StepDraw } from "./order.ts";
import { readRunPictures, type RunPicture, type RunPictures } from "./pictures.ts";
import { createPreviewer, type Previewer, previewTexts } from "./preview.ts";
import type { RunPaths } from "./run-folder.ts";
import { createPainter, type Painter } from "./sample.ts";
import { createValidator, type Validator } from "./validate.ts";
import { createWeightStore } from "./weights.ts";

export interface TrainOptions {
  /** Makes the engine that the run is to use; the run disposes of it. */
  readonly createEngine: () => Promise<Engine>;
  /** Where hashes of large files are remembered; undefined remembers none. */
  readonly hashCacheFile: string | undefined;
  /** Asks the run to save itself and stop. */
  readonly signal?: AbortSignal | undefined;
}

export interface PreparedRun {
  readonly plan: TrainPlan;
  readonly settings: TrainSettings;
  readonly paths: RunPaths;
  readonly base: BaseModel;
  readonly engine: Engine;
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
  readonly notes: readonly string[];
  dispose(): Promise<void>;
}

/** Yields progress and warnings. @throws UserError for whatever keeps the run from starting */
export async function* prepareRun(
  plan: TrainPlan,
  paths: RunPaths,
  options: TrainOptions,
): AsyncGenerator<TrainEvent, PreparedRun> {
  const settings = settingsOf(plan);
  const { signal } = options;
  yield { type: "progress", phase: "base", done: 0, total: 1 };
  const base = await openBase(settings.base, { hashCacheFile: options.hashCacheFile });
  if (base.hashes.all !== settings.baseHash) {
    throw new UserError(`The base model ${base.folder} is not the one that this run was planned for.`, {
      fix: "Put the old files back, or start a new run.",
    });
  }
  const run = await readRunPictures(settings);
  const members = run.buckets.map((_, b) =>
    run.pictures.flatMap(({ bucketIndex, isHeldOut }, i) => (bucketIndex === b && !isHeldOut ? [i] : [])),
  );
  const targets = findAdapterTargets(base, settings.targets, settings.textEncoderLearningRate > 0);
  const initial =
    settings.continueFrom === null ? new Map() : await readInitialAdapter(settings.continueFrom, base, targets, settings);
  const notes = [...base.notes, ...run.notes, ...describeCutCaptions(base, run), ...plan.warnings];
  yield { type: "progress", phase: "base", done: 1, total: 1 };

  const damaged: string[] = [];
  const cache = await openCache(settings.cacheFolder, {
    onDamaged: (path, reason) => damaged.push(`${path} was damaged and is made again: ${reason}`),
  });
  const engine = await options.createEngine();
  let isReady = false;
  try {
    const weights = createWeightStore(engine, base);
    const encoder = createEncoder({ base, weights, cache, settings });
    const pictures = yield* encodePictures(encoder, run.pictures, settings, signal);
    const texts = yield* encodeCaptions(encoder, base, run, settings, signal);
    await encoder.dispose();
    await weights.free("vae");
    const trainsText = settings.textEncoderLearningRate > 0;
    if (!trainsText) for (const { name } of base.textEncoders) await weights.free(name);

    const masked = [...pictures.values()].some(({ mask }) => mask !== undefined);
    const network = createNetwork({ base, engine, weights, settings, masked, initial });
    const feeds = createFeedMaker({
      base,
      schedule: { ...base.schedule, predictionType: settings.predictionType },
      settings,
      masked,
      text: trainsText
        ? { kind: "tokens", get: (caption) => tokenise(base, caption) }
        : { kind: "embeddings", get: (caption) => found(texts.get(caption), `the caption "${caption}"`) },
    });
    const encoded = (picture: number, flip: boolean): EncodedPicture =>
      found(pictures.get(pictureKey(picture, flip)), `picture ${picture}`);
    const painter = createPainter({
      base,
      weights,
      encodeText: (prompt) => Promise.resolve(found(texts.get(prompt), `the prompt "${prompt}"`)),
    });
    const usesPreviews = settings.previewPrompts.length > 0;
    isReady = true;
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
      order: createOrder(
        members.map((list) => list.map((i) => run.pictures[i]?.item.repeats ?? 1)),
        settings.batch * settings.accumulation,
        settings.seed,
      ),
      validator: createValidator({ base, settings, pictures: run.pictures, encoded: (i) => encoded(i, false), feeds }),
      previewer: usesPreviews ? createPreviewer({ painter, paths, settings, adapters: network.adapters }) : undefined,
      facts: { plan, settings, base, targets, run },
      notes: [...notes, ...damaged],
      dispose: () => disposeAll(network, painter, engine),
    };
  } finally {
    // An error, or a caller that listens no longer.
    if (!isReady) await engine.dispose();
  }
}

/** Captions whose end no text encoder sees. */
function describeCutCaptions({ textEncoders }: BaseModel, { pictures }: RunPictures): readonly string[] {
  const cut = pictures.flatMap(({ item, caption }) => {
    const unseen = textEncoders.map(({ tokenizer }) => tokenizer.encode(caption).cutText).filter((text) => text !== "");
    return unseen[0] === undefined || unseen.length < textEncoders.length ? [] : [{ name: item.name, text: unseen[0] }];
  });
  const [first] = cut;
  if (!first) return [];
  const many = cut.length === 1 ? `The caption of ${first.name} is` : `${cut.length} of ${pictures.length} captions are`;
  const where = cut.length === 1 ? "" : ` in ${first.name}`;
  const text = first.text.length > 60 ? `${first.text.slice(0, 60)}...` : first.text;
  return [`${many} longer than the text encoder reads; what it does not see${where}: "${text}". Put what matters first.`];
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
  pictures: readonly RunPicture[],
  { flip }: TrainSettings,
  signal: AbortSignal | undefined,
): AsyncGenerator<TrainEvent, ReadonlyMap<string, EncodedPicture>> {
  const encoded = new Map<string, EncodedPicture>();
  for (const [i, picture] of pictures.entries()) {
    signal?.throwIfAborted();
    for (const isFlipped of flip && !picture.isHeldOut ? [false, true] : [false]) {
      const entry = await encoder.picture(picture, isFlipped);
      refuseEmptyMask(picture, entry);
      encoded.set(pictureKey(i, isFlipped), entry);
    }
    yield { type: "progress", phase: "latents", done: i + 1, total: pictures.length };
  }
  return encoded;
}

function refuseEmptyMask({ item }: RunPicture, { mask }: EncodedPicture): void {
  if (!mask || mask.some((value) => value > 0)) return;
  throw new UserError(`The mask of ${item.path} lets nothing count.`, {
    fix: "Paint white what is to be learnt, or take the picture out.",
  });
}

async function* encodeCaptions(
  encoder: Encoder,
  base: BaseModel,
  run: RunPictures,
  settings: TrainSettings,
  signal: AbortSignal | undefined,
): AsyncGenerator<TrainEvent, ReadonlyMap<string, EncodedText>> {
  // While text encoders are trained, only what the base model alone draws is encoded in advance.
  const captions = settings.textEncoderLearningRate > 0 ? [] : run.pictures.map(({ caption }) => caption);
  const all = [...new Set([...captions, "", ...previewTexts(settings)])];
  const encoded = new Map<string, EncodedText>();
  for (const [i, caption] of all.entries()) {
    signal?.throwIfAborted();
    encoded.set(caption, await encoder.text(caption));
    yield { type: "progress", phase: "captions", done: i + 1, total: all.length };
  }
  return encoded;
}
