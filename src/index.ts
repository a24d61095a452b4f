/** The public API: what the command line and your own code are written on. An explicit list. */
import { join } from "node:path";
import type { BaseModel, BaseOptions } from "./checkpoints/base.ts";
import { userCacheFolder } from "./checkpoints/cache-folder.ts";
import { extractAdapter as extractFrom, type ExtractOptions, type ExtractReport } from "./checkpoints/extract-adapter.ts";
import { openBase as openBaseIn } from "./checkpoints/open-base.ts";
import { inspectDataset as inspectDatasetWith, type InspectionEvent } from "./dataset/inspect.ts";
import type { DrawTrigger } from "./dataset/trigger-facts.ts";
import { chooseEngine, createChosenEngine } from "./engines/choose.ts";
import { UserError } from "./errors.ts";
import { drawForTrigger } from "./trainer/draw-trigger.ts";
import { createFaceFinder, type FaceFinder, findFaceModel } from "./trainer/find-faces.ts";
import type { Engine } from "./engines/engine.ts";
import { createOrtEngine } from "./engines/ort/engine.ts";
import { readBaseWeight } from "./checkpoints/read-weight.ts";
import type { Pixels } from "./formats/images.ts";
import {
  mergeAdapters as mergeFiles,
  resizeAdapter as resizeFile,
  type AdapterSource,
  type ReworkOptions,
  type ReworkReport,
} from "./lora/rework.ts";
import type { RankChoice } from "./lora/svd.ts";
import { type AdapterReport, inspectAdapter as inspectWith, type InspectOptions } from "./lora/inspect.ts";
import { settingsOf, type TrainPlan } from "./planner/plan.ts";
import { version } from "./trainer/adapter-file.ts";
import type { TrainEvent } from "./trainer/events.ts";
import { isInspectionFamily, type TargetChoices, targetOfBase, targetOfFamily } from "./trainer/inspection-target.ts";
import { readPlan } from "./trainer/run-folder.ts";
import {
  drawPictures as drawPicturesWith,
  type DrawnPicture,
  type DrawOptions,
  sampleImages,
  type SampleOptions,
} from "./trainer/sample-images.ts";
import { resumeTraining as resumeWith, train as trainWith } from "./trainer/train.ts";

export { UserError } from "./errors.ts";
export { version } from "./trainer/adapter-file.ts";

export { userCacheFolder } from "./checkpoints/cache-folder.ts";
export type { BaseModel, BaseOptions } from "./checkpoints/base.ts";
export { lineageNames } from "./models/lineages.ts";
export type { LineageName } from "./models/lineages.ts";
export { readDataset } from "./dataset/read.ts";
export type { Dataset, DatasetItem, Finding, ReadDatasetOptions } from "./dataset/read.ts";
export { insertTrigger } from "./dataset/captions.ts";
export type { InspectionEvent } from "./dataset/inspect.ts";
export type { CopyReport, DatasetReport, FacesReport, InspectionFinding, PictureReport } from "./dataset/report.ts";
export { mendDataset } from "./dataset/mend.ts";
export type { MendReport } from "./dataset/mend.ts";
export { limit as inspectionLimit } from "./dataset/checks/check.ts";
export type { TriggerDrawing } from "./dataset/trigger-facts.ts";
export { inspectionFamilies } from "./trainer/inspection-target.ts";
export { makeThumbnail } from "./formats/thumbnails.ts";
export { describeDataset } from "./trainer/dataset-facts.ts";

export { planTraining, settingsOf } from "./planner/plan.ts";
export type { BaseFacts, DatasetFacts, Planned, TrainPlan, TrainSettings, UserChoices } from "./planner/plan.ts";
export { loraTypes } from "./planner/recipes.ts";
export type { LoraType } from "./planner/recipes.ts";
export { targetSets } from "./lora/targets.ts";
export type { TargetSet } from "./lora/targets.ts";

export type { Losses, TrainEvent, Validation } from "./trainer/events.ts";
export { readEvents, readPlan } from "./trainer/run-folder.ts";

export { chooseEngine, createChosenEngine, engineNames, precisions } from "./engines/choose.ts";
export type { EngineChoice, EngineRequest } from "./engines/choose.ts";
export { createOrtEngine } from "./engines/ort/engine.ts";
export { createTorchEngine } from "./engines/torch/engine.ts";
export type { TorchEngine, TorchOptions } from "./engines/torch/engine.ts";
export type { DeviceProfile, Engine } from "./engines/engine.ts";

export { samplerNames } from "./diffusion/samplers/samplers.ts";
export type { SamplerName } from "./diffusion/samplers/samplers.ts";
export { readAdapter } from "./lora/read.ts";
export type { AdapterFile } from "./lora/read.ts";
export { parseRankChoice } from "./lora/rework.ts";
export type { AdapterSource, ReworkReport } from "./lora/rework.ts";
export type { PartReport } from "./lora/loss-report.ts";
export type { RankChoice } from "./lora/svd.ts";
export type { AdapterDType } from "./lora/file.ts";
export { mergeIntoBase } from "./checkpoints/merge-into.ts";
export type { MergeIntoOptions, MergeIntoReport } from "./checkpoints/merge-into.ts";
export { extractParts } from "./checkpoints/extract-adapter.ts";
export type { ExtractOptions, ExtractPart, ExtractReport } from "./checkpoints/extract-adapter.ts";
export { openAdapter } from "./lora/open.ts";
export type { AdapterKind, OpenedAdapter, OpenedModule } from "./lora/open.ts";
export { readDelta, readLowRank } from "./lora/delta.ts";
export type { AdapterReport, LayerGroup } from "./lora/inspect.ts";
export { checkCompatibility, programs } from "./lora/compatibility.ts";
export type { Compatibility, Program } from "./lora/compatibility.ts";
export { adapterStyles, convertAdapter } from "./lora/convert.ts";
export type { AdapterStyle, ConvertOptions, ConvertReport } from "./lora/convert.ts";
export { adapterDTypes } from "./lora/draft.ts";
export { writePng } from "./formats/images.ts";
export type { Pixels } from "./formats/images.ts";
export { renderSheet } from "./formats/sheet.ts";
export type { Sheet } from "./formats/sheet.ts";
export type { DrawnPicture, PictureRequest } from "./trainer/sample-images.ts";
export type { LoraUse } from "./trainer/lora-slots.ts";
export { createPictureDescriber } from "./trainer/picture-parameters.ts";
export type { PictureDescriber } from "./trainer/picture-parameters.ts";

const hashCacheFile = (): string => join(userCacheFolder(), "file-hashes.json");

/**
 * Opens a base model: "mini", a .safetensors file of SD 1.5 or SDXL, or a folder in the diffusers layout. Nothing large is read.
 *
 * @throws UserError naming what is missing or wrong, or what the file is instead of a base
 */
export function openBase(nameOrPath: string, options: BaseOptions = {}): Promise<BaseModel> {
  return openBaseIn(nameOrPath, { ...options, hashCacheFile: hashCacheFile() });
}

export interface RunOptions {
  /** The plan's own engine when not given. The run disposes of it. */
  readonly createEngine?: () => Promise<Engine>;
  /** Asks the run to save itself and stop. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Carries out a plan. The last event is `done`, `stopped` or `failed`.
 *
 * @throws UserError for whatever the user can mend
 * @example for await (const event of train(plan, { signal })) console.log(event.type);
 */
export function train(plan: TrainPlan, { createEngine, signal }: RunOptions = {}): AsyncGenerator<TrainEvent, void> {
  const planned = (): Promise<Engine> => createChosenEngine(settingsOf(plan));
  return trainWith(plan, { createEngine: createEngine ?? planned, hashCacheFile: hashCacheFile(), signal });
}

/**
 * Goes on with a stopped run, exactly where it stood.
 *
 * @param options.python the interpreter of the torch engine, where it is not the one that the run was planned with
 */
export function resumeTraining(
  runFolder: string,
  { createEngine, python, signal }: RunOptions & { readonly python?: string | undefined } = {},
): AsyncGenerator<TrainEvent, void> {
  const planned = async (): Promise<Engine> => {
    const settings = settingsOf(await readPlan(runFolder));
    return createChosenEngine({ ...settings, python: python ?? settings.python });
  };
  return resumeWith(runFolder, { createEngine: createEngine ?? planned, hashCacheFile: hashCacheFile(), signal });
}

export interface InspectionChoices extends Partial<TargetChoices> {
  /** "mini", a folder or file as `openBase` takes it, or one of `inspectionFamilies`; "mini" by default. */
  readonly base?: string | undefined;
  /** For pictures without a caption of their own. */
  readonly defaultCaption?: string | undefined;
  /** Where measurements are kept; the user's cache folder by default, null for nowhere. */
  readonly cacheFolder?: string | null | undefined;
  /** Has the base draw what the trigger word means to it: two dozen pictures. */
  readonly drawTrigger?: boolean | undefined;
  /** For drawing; what `chooseEngine` finds by default. */
  readonly createEngine?: (() => Promise<Engine>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Measures every picture and caption of a dataset folder and says what would make training fail, and how to mend it. The last event is
 * `done` with the report, or `stopped`. Measurements are kept, so that a second inspection takes seconds.
 *
 * @throws UserError for a folder or a base that cannot be used
 * @example for await (const event of inspectDataset("./photos", { base: "sdxl", type: "style" })) if (event.type === "done") console.log(event.report.counts);
 */
export async function* inspectDataset(folder: string, choices: InspectionChoices = {}): AsyncGenerator<InspectionEvent, void> {
  const { base = "mini", type = "concept", cacheFolder, defaultCaption, signal } = choices;
  const wanted = { ...choices, type };
  const model = isInspectionFamily(base) ? undefined : await openBase(base);
  const target = isInspectionFamily(base)
    ? await targetOfFamily(base, wanted)
    : targetOfBase(model ?? (await openBase(base)), wanted);
  const kept = cacheFolder === null ? undefined : (cacheFolder ?? join(userCacheFolder(), "inspect"));
  const drawTrigger = choices.drawTrigger === true ? prepareDrawing(model, choices) : undefined;
  const faces = lazyFaceFinder();
  try {
    yield* inspectDatasetWith(folder, {
      target,
      cacheFolder: kept,
      defaultCaption,
      signal,
      findFaces: faces?.find,
      drawTrigger,
    });
  } finally {
    await faces?.dispose();
  }
}

/** @throws UserError where there is nothing to draw, or nothing to draw with */
function prepareDrawing(
  base: BaseModel | undefined,
  { trigger, createEngine, signal, base: name = "mini" }: InspectionChoices,
): DrawTrigger {
  if (trigger === undefined)
    throw new UserError("There is no trigger word to draw.", { fix: "Give one with --trigger WORD.", exitCode: 2 });
  if (!base) {
    throw new UserError(`${name} is the name of a family: there is no model to draw with.`, {
      fix: "Give the checkpoint itself with --base FILE, or leave --draw out.",
      exitCode: 2,
    });
  }
  const chosen = async (): Promise<Engine> => createChosenEngine(await chooseEngine({}, process.env));
  return (word, captions) =>
    drawForTrigger(word, captions, {
      base,
      signal,
      createEngine: createEngine ?? (base.name === "mini" ? createOrtEngine : chosen),
    });
}

/** The network is read when the first face is looked for. Undefined where the package that it comes in is not installed. */
function lazyFaceFinder(): FaceFinder | undefined {
  const model = findFaceModel();
  if (model === undefined) return undefined;
  let finder: Promise<FaceFinder> | undefined;
  return {
    find: async (path) => (await (finder ??= createFaceFinder(model, createOrtEngine))).find(path),
    dispose: async () => (await finder)?.dispose(),
  };
}

/** Draws one picture for each prompt, on the CPU engine when no other is given. */
export function sample(
  options: Omit<SampleOptions, "createEngine"> & Pick<RunOptions, "createEngine">,
): Promise<readonly Pixels[]> {
  return sampleImages({ ...options, createEngine: options.createEngine ?? createOrtEngine });
}

export interface ReworkAdapterOptions extends Omit<ReworkOptions, "base" | "version"> {
  /** The model that the adapters are for; needed for models other than SD 1.5 and SDXL where names differ, and for DoRA. */
  readonly base?: BaseModel | undefined;
}

/**
 * Several adapter files as one that does what they do together: exactly, with ranks that add up, or reduced by SVD.
 *
 * @throws UserError for adapters of two families, kinds that cannot be joined exactly, or a result that cannot be written
 * @example await mergeAdapters([{ path: "a.safetensors", weight: 0.8 }, { path: "b.safetensors", weight: 0.5 }], { out, choice: undefined });
 */
export function mergeAdapters(sources: readonly AdapterSource[], options: ReworkAdapterOptions): Promise<ReworkReport> {
  return mergeFiles(sources, withBase(options));
}

/**
 * An adapter file of another rank that does what this one does as nearly as the rank allows.
 *
 * @throws UserError as mergeAdapters
 * @example await resizeAdapter("big.safetensors", { out: "small.safetensors", choice: { energy: 0.99 } });
 */
export function resizeAdapter(
  path: string,
  options: ReworkAdapterOptions & { readonly choice: RankChoice },
): Promise<ReworkReport> {
  return resizeFile(path, { ...withBase(options), choice: options.choice });
}

function withBase({ base, ...options }: ReworkAdapterOptions): ReworkOptions {
  const readWeight = (module: { readonly path: string | undefined }): Promise<Float32Array> =>
    readBaseWeight(base ?? { weights: new Map() }, `${module.path}.weight`);
  return { ...options, version, base: base && { layout: base, readWeight } };
}

/**
 * Writes an adapter that turns `base` into `tuned`, as nearly as the choice allows.
 *
 * @throws UserError when the two are not of one shape, do not differ, or the result cannot be written
 * @example await extractAdapter({ tuned, base, out: "style.safetensors", choice: { rank: 32 }, targets: "locon", dtype: "float16" });
 */
export function extractAdapter(options: Omit<ExtractOptions, "version">): Promise<ExtractReport> {
  return extractFrom({ ...options, version });
}

/**
 * Draws any number of pictures, each with its own settings and adapters. Yields each when it is done, with the index of its request.
 *
 * @example for await (const { index, pixels } of drawPictures({ base, requests, signal })) await writePng(names[index], pixels);
 */
export function drawPictures(
  options: Omit<DrawOptions, "createEngine"> & Pick<RunOptions, "createEngine">,
): AsyncGenerator<DrawnPicture, void> {
  return drawPicturesWith({ ...options, createEngine: options.createEngine ?? createOrtEngine });
}

/**
 * What an adapter file of any kind and naming holds, and where it loads. Reads all of it.
 *
 * @param options.base the model it is for; needed only for models that are neither SD 1.5 nor SDXL, and to measure a DoRA
 * @throws UserError when it is no adapter
 * @example const { family, parts, loads } = await inspectAdapter("mystyle.safetensors");
 */
export function inspectAdapter(
  path: string,
  { base, onProgress }: { readonly base?: BaseModel | undefined } & Pick<InspectOptions, "onProgress"> = {},
): Promise<AdapterReport> {
  const weights = base && {
    base,
    readBaseWeight: (module: { readonly path: string | undefined }) => readBaseWeight(base, `${module.path ?? ""}.weight`),
  };
  return inspectWith(path, { ...weights, ...(onProgress ? { onProgress } : {}) });
}
