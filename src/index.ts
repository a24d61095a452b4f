/** The public API: what the command line and your own code are written on. An explicit list. */
import { join } from "node:path";
import type { BaseModel, BaseOptions } from "./checkpoints/base.ts";
import { userCacheFolder } from "./checkpoints/cache-folder.ts";
import { extractAdapter as extractFrom, type ExtractOptions, type ExtractReport } from "./checkpoints/extract-adapter.ts";
import { configsOf } from "./checkpoints/base.ts";
import { openBase as openBaseIn } from "./checkpoints/open-base.ts";
import { examine } from "./doctor/examine.ts";
import { examineForRun } from "./doctor/for-run.ts";
import type { DoctorReport } from "./doctor/judge.ts";
import { inspectDataset as inspectDatasetWith, type InspectionEvent } from "./dataset/inspect.ts";
import type { DrawTrigger } from "./dataset/trigger-facts.ts";
import { chooseEngine, createChosenEngine, measureDevice } from "./engines/choose.ts";
import { UserError } from "./errors.ts";
import { askModule } from "./processes.ts";
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
import { gpuPrices, type GpuPrices } from "./planner/gpu-prices.ts";
import { settingsOf, type TrainPlan } from "./planner/plan.ts";
import { version } from "./trainer/adapter-file.ts";
import type { PreflightEvent, TrainEvent } from "./trainer/events.ts";
import {
  type InspectionFamily,
  isInspectionFamily,
  type TargetChoices,
  targetOfBase,
  targetOfFamily,
} from "./trainer/inspection-target.ts";
import { datasetLoadOf, type RunForecast } from "./trainer/forecast/forecast.ts";
import { readRunPictures } from "./trainer/pictures.ts";
import type { ProspectInput, RunProspect } from "./trainer/prospect.ts";
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
export { insertTrigger, tellInserted } from "./dataset/captions.ts";
export type { InspectionEvent } from "./dataset/inspect.ts";
export type { CopyReport, DatasetReport, FacesReport, InspectionFinding, PictureReport } from "./dataset/report.ts";
export { mendDataset } from "./dataset/mend.ts";
export type { MendReport } from "./dataset/mend.ts";
export { limit as inspectionLimit } from "./dataset/checks/check.ts";
export { describeDrawing, type TriggerDrawing } from "./dataset/trigger-facts.ts";
export { inspectionFamilies } from "./trainer/inspection-target.ts";
export { makeThumbnail } from "./formats/thumbnails.ts";
export { describeDataset } from "./trainer/dataset-facts.ts";

export { withHoldOut } from "./planner/hold-out.ts";
export { planTraining, settingsOf } from "./planner/plan.ts";
export type { BaseFacts, DatasetFacts, Planned, TrainPlan, TrainSettings, UserChoices } from "./planner/plan.ts";
export type { CardCost, RunCosts } from "./planner/costs.ts";
export { placeDose } from "./planner/dose.ts";
export type { PlacedDose } from "./planner/dose.ts";
export { parseGpuPrices } from "./planner/gpu-prices.ts";
export type { GpuCard, GpuPrices } from "./planner/gpu-prices.ts";
export { limits as planLimits } from "./planner/limits.ts";
export { tellFinding } from "./planner/rules/table.ts";
export type { PlanFinding } from "./planner/rules/table.ts";
export { settingRows } from "./planner/setting-words.ts";
export type { SettingRow } from "./planner/setting-words.ts";
export { isHeuristic } from "./planner/sources.ts";
export type { RunProspect } from "./trainer/prospect.ts";
export { loraTypes } from "./planner/recipes.ts";
export type { LoraType } from "./planner/recipes.ts";
export { targetSets } from "./lora/targets.ts";
export type { TargetSet } from "./lora/targets.ts";

export type { Losses, MemoryEvent, PreflightEvent, TrainEvent, Validation } from "./trainer/events.ts";
export { readEvents, readPlan } from "./trainer/run-folder.ts";

export { basePrecisions, chooseEngine, createChosenEngine, engineNames, precisions } from "./engines/choose.ts";
export type { EngineChoice, EngineRequest } from "./engines/choose.ts";
export { createOrtEngine, ortFacts } from "./engines/ort/engine.ts";
export { createTorchEngine, torchFacts } from "./engines/torch/engine.ts";
export type { TorchEngine, TorchOptions } from "./engines/torch/engine.ts";
export type { DeviceProfile, Engine, EngineFacts } from "./engines/engine.ts";

export { datasetLoadOf, forecastRun } from "./trainer/forecast/forecast.ts";
export type {
  BucketLoad,
  DatasetLoad,
  ForecastInput,
  MemoryForecast,
  MemoryTerm,
  RunForecast,
  TimeForecast,
  TimeTerm,
} from "./trainer/forecast/forecast.ts";

export { isRight } from "./engines/check-engine.ts";
export type { DoctorReport } from "./doctor/judge.ts";
export type { EngineFacts as ExaminedEngine, MachineFacts } from "./doctor/facts.ts";
export { removeSetup, runSetup } from "./doctor/setup/install.ts";
export type { SetupHooks, SetupResult } from "./doctor/setup/install.ts";
export { planSetup } from "./doctor/setup/plan.ts";
export type { SetupOptions, SetupPlan } from "./doctor/setup/plan.ts";
export { torchBuilds } from "./doctor/torch-builds.ts";
export type { BuildName } from "./doctor/torch-builds.ts";
export { redactValue as redactReport, shortenHome } from "./doctor/redact.ts";
export { flopRate, megabytesPerSecond } from "./doctor/words.ts";

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
  /** Arguments for torchrun, where several machines train together. */
  readonly torchrun?: string | undefined;
  /** Do everything once on the largest pictures before the run begins: a step, a measurement, a preview's step, a checkpoint. */
  readonly preflight?: boolean | undefined;
  /** Asked after the preflight; when it says no, nothing is trained and nothing is left behind. */
  readonly approve?: ((preflight: PreflightEvent) => Promise<boolean>) | undefined;
  /** The plan's own, as `prospectRun` gives it, for the `memory` event; forecast at the end of the run where absent. */
  readonly forecast?: RunForecast["memory"] | undefined;
}

/**
 * Carries out a plan. The last event is `done`, `stopped`, `declined` or `failed`.
 *
 * @param options.torchrun arguments for torchrun, where several machines train together
 * @throws UserError for whatever the user can mend
 * @example for await (const event of train(plan, { signal })) console.log(event.type);
 */
export function train(
  plan: TrainPlan,
  { createEngine, torchrun, ...options }: RunOptions = {},
): AsyncGenerator<TrainEvent, void> {
  const planned = (): Promise<Engine> => createChosenEngine({ ...settingsOf(plan), torchrun });
  return trainWith(plan, { ...options, createEngine: createEngine ?? planned, hashCacheFile: hashCacheFile() });
}

/**
 * Goes on with a stopped run, exactly where it stood.
 *
 * @param options.python the interpreter of the torch engine, where it is not the one that the run was planned with
 * @param options.torchrun arguments for torchrun, where several machines train together
 */
export function resumeTraining(
  runFolder: string,
  { createEngine, python, torchrun, ...options }: RunOptions & { readonly python?: string | undefined } = {},
): AsyncGenerator<TrainEvent, void> {
  const planned = async (): Promise<Engine> => {
    const settings = settingsOf(await readPlan(runFolder));
    return createChosenEngine({ ...settings, python: python ?? settings.python, torchrun });
  };
  return resumeWith(runFolder, { ...options, createEngine: createEngine ?? planned, hashCacheFile: hashCacheFile() });
}

export interface InspectionChoices extends Partial<TargetChoices> {
  /** A base model, "mini", a folder or file as `openBase` takes it, or one of `inspectionFamilies`; "mini" by default. */
  readonly base?: string | BaseModel | undefined;
  /** For pictures without a caption of their own. */
  readonly defaultCaption?: string | undefined;
  /** Where measurements are kept; the user's cache folder by default, null for nowhere. */
  readonly cacheFolder?: string | null | undefined;
  /** Has the base itself say what the trigger word means to it, against invented words, and draw it where it knows it. */
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
  const opened = await openInspected(base);
  const target = typeof opened === "string" ? await targetOfFamily(opened, wanted) : targetOfBase(opened, wanted);
  const kept = cacheFolder === null ? undefined : (cacheFolder ?? join(userCacheFolder(), "inspect"));
  const drawTrigger = choices.drawTrigger === true ? prepareDrawing(opened, choices) : undefined;
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

/** The base itself, where it is one and not the name of a family. */
async function openInspected(base: string | BaseModel): Promise<BaseModel | InspectionFamily> {
  if (typeof base !== "string" || isInspectionFamily(base)) return base;
  return openBase(base);
}

/** @throws UserError where there is nothing to draw, or nothing to draw with */
function prepareDrawing(base: BaseModel | InspectionFamily, { trigger, createEngine, signal }: InspectionChoices): DrawTrigger {
  if (trigger === undefined)
    throw new UserError("There is no trigger word to draw.", { fix: "Give one with --trigger WORD.", exitCode: 2 });
  if (typeof base === "string") {
    throw new UserError(`${base} is the name of a family: there is no model to draw with.`, {
      fix: "Give the checkpoint itself with --base FILE, or leave --draw out.",
      exitCode: 2,
    });
  }
  const chosen = async (): Promise<Engine> => createChosenEngine(await chooseEngine({}, process.env));
  return (word) =>
    drawForTrigger(word, {
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

export interface ProspectOptions {
  /** Of rented cards; the table that comes with Gesso by default. */
  readonly prices?: GpuPrices | undefined;
}

/**
 * Fits a plan to this machine and says what the run will take: memory term by term, time, disk, and what it would cost on rented cards.
 * Looks at the machine as doctor does, and starts the plan's engine for two
 * seconds to measure it; nothing is trained, and nothing is left behind.
 *
 * @throws UserError for a dataset or an engine that cannot be used
 * @example const { plan, forecast, costs } = await prospectRun(planTraining(facts, base, device, choices), base);
 */
export async function prospectRun(
  plan: TrainPlan,
  base: BaseModel,
  { prices = gpuPrices }: ProspectOptions = {},
): Promise<RunProspect> {
  const settings = settingsOf(plan);
  const load = datasetLoadOf(await readRunPictures(settings), base);
  const machine = await examineForRun(settings);
  const device = await measureDevice(settings);
  const residentBytes = process.memoryUsage.rss();
  // Counting graphs leaves much behind, which training in this process would have to carry.
  return askModule<ProspectInput, RunProspect>(new URL("./trainer/prospect-process.js", import.meta.url), {
    ...{ plan, base: configsOf(base), load, device, machine, prices, residentBytes },
  });
}

export interface ExamineChoices {
  /** Only this interpreter is looked at; else those that a run would find. */
  readonly python?: string | undefined;
  /** Where runs are to be made; "runs" by default. */
  readonly runsFolder?: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (what: string) => void;
}

/**
 * What this machine can do, what is in the way of training, and what mends it. Starts every engine that is there once.
 *
 * @example const { verdict, findings } = await examineMachine(); // findings: [{ id: "torch-cpu-build", mark: "broken", message, mend }]
 */
export function examineMachine({ runsFolder = "runs", ...choices }: ExamineChoices = {}): Promise<DoctorReport> {
  return examine({ ...choices, version, env: process.env, runsFolder, cacheFolder: userCacheFolder() });
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
