/** The trained adapter as the file that other programs load. */
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import type { BaseModel } from "../checkpoints/base.ts";
import { type AdapterModule, writeAdapter } from "../lora/file.ts";
import { adapterBufferNames, adapterShapes } from "../lora/inject.ts";
import { type AdapterMetadata, countTags } from "../lora/metadata.ts";
import type { AdapterTarget } from "../lora/targets.ts";
import { picturesPerStep, type TrainPlan, type TrainSettings } from "../planner/plan.ts";
import { trainedTextEncoders } from "../planner/targets.ts";
import type { StateTensor } from "./checkpoint.ts";
import type { RunPictures } from "./pictures.ts";
import { textFormOf } from "./text-form.ts";

/** Of this package. */
export const version = (JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string })
  .version;

export interface AdapterFacts {
  readonly plan: TrainPlan;
  readonly settings: TrainSettings;
  readonly base: BaseModel;
  readonly targets: readonly AdapterTarget[];
  readonly run: RunPictures;
}

/**
 * Writes the adapter of a step in Kohya's naming, float16. Its bytes depend on the plan and the numbers alone: the date is the plan's.
 *
 * @throws UserError when a number is not finite, or nothing in it changes the base
 */
export async function writeTrainedAdapter(
  path: string,
  facts: AdapterFacts,
  tensors: ReadonlyMap<string, StateTensor>,
  step: number,
  epoch: number,
): Promise<void> {
  const { settings, base, targets } = facts;
  const { rank, alpha } = settings;
  const modules = targets.map((target): AdapterModule => {
    const names = adapterBufferNames(target);
    const shapes = adapterShapes(target.weightShape, rank);
    const matrix = (name: string, shape: readonly number[]) => ({ shape, data: tensors.get(name)?.data ?? new Float32Array() });
    return { path: target.path, rank, alpha, down: matrix(names.down, shapes.down), up: matrix(names.up, shapes.up) };
  });
  await writeAdapter(path, { modules, base, metadata: describe(facts, step, epoch), dtype: "float16" });
}

function describe({ plan, settings, base, run }: AdapterFacts, step: number, epoch: number): AdapterMetadata {
  const trained = run.pictures.filter(({ isHeldOut }) => !isHeldOut);
  const perEpoch = trained.reduce((sum, { item }) => sum + item.repeats, 0);
  const date = new Date(plan.createdAt);
  return {
    name: settings.name,
    version,
    base: {
      name: base.name,
      ...(base.hashes.file === undefined ? {} : { sha256: base.hashes.file }),
      ...(base.hashes.vaeFile === undefined ? {} : { vaeSha256: base.hashes.vaeFile }),
    },
    predictionType: settings.predictionType,
    widthPx: settings.resolutionPx,
    heightPx: settings.resolutionPx,
    ...(settings.trigger === null ? {} : { triggerWord: settings.trigger }),
    startedAt: date,
    savedAt: date,
    training: {
      step,
      totalSteps: settings.steps,
      epoch,
      totalEpochs: Math.ceil((settings.steps * picturesPerStep(settings)) / perEpoch),
      seed: settings.seed,
      batchSize: settings.batch * settings.gpus,
      gradientAccumulationSteps: settings.accumulation,
      learningRate: settings.learningRate,
      textEncoderLearningRate: textEncoderRates(base, settings),
      optimizer: "AdamW",
      learningRateSchedule: settings.schedule,
      warmupSteps: settings.warmupSteps,
      maxGradNorm: settings.maxGradNorm,
      minSnrGamma: settings.minSnrGamma > 0 ? settings.minSnrGamma : undefined,
      noiseOffset: settings.noiseOffset > 0 ? settings.noiseOffset : undefined,
      captionDropout: settings.captionDropout,
      // As sd-scripts has them: no clip skip for SDXL, and no length where it is the text encoder's own.
      clipSkip: base.family === "sdxl" ? undefined : settings.clipSkip,
      maxTokenLength: textFormOf(base, settings).chunks === 1 ? undefined : settings.maxCaptionTokens,
    },
    dataset: {
      pictures: trained.length,
      folders: countFolders(run, settings.name),
      tags: { [settings.name]: countTags(trained.map(({ caption }) => caption)) },
      buckets: run.buckets.map((bucket, i) => ({
        ...bucket,
        pictures: trained.filter(({ bucketIndex }) => bucketIndex === i).length,
      })),
    },
  };
}

/** One rate where the trained encoders share it, else that of each encoder of the base; undefined where none is trained. */
function textEncoderRates(base: BaseModel, settings: TrainSettings): number | readonly number[] | undefined {
  const { textEncoderLearningRate: first, textEncoder2LearningRate: second } = settings;
  if (trainedTextEncoders(base, settings).length === 0) return undefined;
  return base.textEncoders.length === 1 || first === second ? first : [first, second];
}

/** Pictures by the folder they lie in; those of the dataset's own folder under the run's name, which holds no path of the machine. */
function countFolders(run: RunPictures, name: string): Record<string, { repeats: number; pictures: number }> {
  const folders: Record<string, { repeats: number; pictures: number }> = {};
  for (const { item, isHeldOut } of run.pictures) {
    if (isHeldOut) continue;
    const inside = dirname(item.name);
    const key = inside === "." ? name : inside;
    folders[key] = { repeats: item.repeats, pictures: (folders[key]?.pictures ?? 0) + 1 };
  }
  return folders;
}
