/** The public API: what the command line and your own code are written on. An explicit list. */
import { join } from "node:path";
import type { BaseModel } from "./checkpoints/base.ts";
import { userCacheFolder } from "./checkpoints/cache-folder.ts";
import { openBase as openBaseIn } from "./checkpoints/diffusers-folder.ts";
import { inspectDataset as inspectWith, type InspectionEvent } from "./dataset/inspect.ts";
import type { Engine } from "./engines/engine.ts";
import { createOrtEngine } from "./engines/ort/engine.ts";
import type { Pixels } from "./formats/images.ts";
import type { TrainPlan } from "./planner/plan.ts";
import type { TrainEvent } from "./trainer/events.ts";
import { isInspectionFamily, type TargetChoices, targetOfBase, targetOfFamily } from "./trainer/inspection-target.ts";
import { sampleImages, type SampleOptions } from "./trainer/sample-images.ts";
import { resumeTraining as resumeWith, train as trainWith } from "./trainer/train.ts";

export { UserError } from "./errors.ts";
export { version } from "./trainer/adapter-file.ts";

export { userCacheFolder } from "./checkpoints/cache-folder.ts";
export type { BaseModel } from "./checkpoints/base.ts";
export { readDataset } from "./dataset/read.ts";
export type { Dataset, DatasetItem, Finding, ReadDatasetOptions } from "./dataset/read.ts";
export { insertTrigger } from "./dataset/captions.ts";
export type { InspectionEvent } from "./dataset/inspect.ts";
export type { CopyReport, DatasetReport, InspectionFinding, PictureReport } from "./dataset/report.ts";
export { mendDataset } from "./dataset/mend.ts";
export type { MendReport } from "./dataset/mend.ts";
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

export { createOrtEngine } from "./engines/ort/engine.ts";
export type { DeviceProfile, Engine } from "./engines/engine.ts";

export { samplerNames } from "./diffusion/samplers/samplers.ts";
export type { SamplerName } from "./diffusion/samplers/samplers.ts";
export { readAdapter } from "./lora/read.ts";
export type { AdapterFile } from "./lora/read.ts";
export { writePng } from "./formats/images.ts";
export type { Pixels } from "./formats/images.ts";
export { renderSheet } from "./formats/sheet.ts";
export type { Sheet } from "./formats/sheet.ts";

const hashCacheFile = (): string => join(userCacheFolder(), "file-hashes.json");

/**
 * Opens a base model: "mini", or a folder in the diffusers layout. Nothing large is read.
 *
 * @throws UserError naming what is missing or wrong
 */
export function openBase(nameOrPath: string): Promise<BaseModel> {
  return openBaseIn(nameOrPath, { hashCacheFile: hashCacheFile() });
}

export interface RunOptions {
  /** The CPU engine when not given. The run disposes of it. */
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
export function train(
  plan: TrainPlan,
  { createEngine = createOrtEngine, signal }: RunOptions = {},
): AsyncGenerator<TrainEvent, void> {
  return trainWith(plan, { createEngine, hashCacheFile: hashCacheFile(), signal });
}

/** Goes on with a stopped run, exactly where it stood. */
export function resumeTraining(
  runFolder: string,
  { createEngine = createOrtEngine, signal }: RunOptions = {},
): AsyncGenerator<TrainEvent, void> {
  return resumeWith(runFolder, { createEngine, hashCacheFile: hashCacheFile(), signal });
}

export interface InspectionChoices extends Partial<TargetChoices> {
  /** "mini", a folder or file as `openBase` takes it, or one of `inspectionFamilies`; "mini" by default. */
  readonly base?: string | undefined;
  /** For pictures without a caption of their own. */
  readonly defaultCaption?: string | undefined;
  /** Where measurements are kept; the user's cache folder by default, null for nowhere. */
  readonly cacheFolder?: string | null | undefined;
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
  const target = isInspectionFamily(base) ? await targetOfFamily(base, wanted) : targetOfBase(await openBase(base), wanted);
  const kept = cacheFolder === null ? undefined : (cacheFolder ?? join(userCacheFolder(), "inspect"));
  yield* inspectWith(folder, { target, cacheFolder: kept, defaultCaption, signal });
}

/** Draws one picture for each prompt. */
export function sample(
  options: Omit<SampleOptions, "createEngine"> & Pick<RunOptions, "createEngine">,
): Promise<readonly Pixels[]> {
  return sampleImages({ ...options, createEngine: options.createEngine ?? createOrtEngine });
}
