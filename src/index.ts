/** The public API: what the command line and your own code are written on. An explicit list. */
import { join } from "node:path";
import type { BaseModel } from "./checkpoints/base.ts";
import { userCacheFolder } from "./checkpoints/cache-folder.ts";
import { openBase as openBaseIn } from "./checkpoints/diffusers-folder.ts";
import { createChosenEngine } from "./engines/choose.ts";
import type { Engine } from "./engines/engine.ts";
import { createOrtEngine } from "./engines/ort/engine.ts";
import type { Pixels } from "./formats/images.ts";
import { settingsOf, type TrainPlan } from "./planner/plan.ts";
import type { TrainEvent } from "./trainer/events.ts";
import { readPlan } from "./trainer/run-folder.ts";
import { sampleImages, type SampleOptions } from "./trainer/sample-images.ts";
import { resumeTraining as resumeWith, train as trainWith } from "./trainer/train.ts";

export { UserError } from "./errors.ts";
export { version } from "./trainer/adapter-file.ts";

export { userCacheFolder } from "./checkpoints/cache-folder.ts";
export type { BaseModel } from "./checkpoints/base.ts";
export { readDataset } from "./dataset/read.ts";
export type { Dataset, DatasetItem, Finding, ReadDatasetOptions } from "./dataset/read.ts";
export { insertTrigger } from "./dataset/captions.ts";
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

/** Draws one picture for each prompt, on the CPU engine when no other is given. */
export function sample(
  options: Omit<SampleOptions, "createEngine"> & Pick<RunOptions, "createEngine">,
): Promise<readonly Pixels[]> {
  return sampleImages({ ...options, createEngine: options.createEngine ?? createOrtEngine });
}
