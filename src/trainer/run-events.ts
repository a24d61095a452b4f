/** The first event of a run, and the last one of a run that has failed. */
import type { TrainEvent } from "./events.ts";
import type { StepDraw } from "./order.ts";
import type { PreparedRun } from "./prepare.ts";
import { checkpointPath, listCheckpoints } from "./run-folder.ts";
import { drawnPictures } from "./take-step.ts";

/** @param step how many are done already */
export function startEvent(run: PreparedRun, step: number): TrainEvent {
  const { settings, network, engine } = run;
  const { pictures, buckets } = run.run;
  return {
    type: "start",
    name: settings.name,
    runFolder: run.paths.folder,
    step,
    steps: settings.steps,
    pictures: pictures.length,
    heldOut: pictures.filter(({ isHeldOut }) => isHeldOut).map(({ item }) => item.name),
    buckets: buckets.map((bucket, i) => ({
      ...bucket,
      pictures: pictures.filter(({ bucketIndex }) => bucketIndex === i).length,
    })),
    layers: network.targets.length,
    trainedParameters: network.parameterCount,
    device: engine.profile.name,
  };
}

/** The state on the engine is lost; the last checkpoint on disk is what counts. */
export async function failedEvent(run: PreparedRun, step: number, draw: StepDraw, what: string): Promise<TrainEvent> {
  const { settings, paths } = run;
  const pictures = [...new Set(drawnPictures(run, draw).map((index) => run.run.pictures[index]?.item.name ?? ""))];
  const good = (await listCheckpoints(paths)).at(-1);
  const checkpoint = good === undefined ? null : checkpointPath(paths, good);
  const kept =
    checkpoint === null
      ? "No checkpoint was made yet."
      : `The last good checkpoint is ${checkpoint}; its adapter.safetensors can be used.`;
  const lower = Number((settings.learningRate / 3).toPrecision(2));
  return {
    type: "failed",
    step,
    message: `${what}. Pictures in the batch: ${pictures.join(", ")}. ${kept}`,
    fix: `Start again with a lower learning rate (${lower} instead of ${settings.learningRate}); if it fails at the same pictures, look at them and their captions.`,
    pictures,
    checkpoint,
  };
}
