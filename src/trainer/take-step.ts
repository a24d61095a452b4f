/** One optimizer step: from what is drawn for it to loss and gradient norm. */
import type { TrainEvent } from "./events.ts";
import type { Sample } from "./feeds.ts";
import type { StepDraw } from "./order.ts";
import type { PreparedRun } from "./prepare.ts";

/** Height and width of a draw's latents. */
export function latentSize({ run, base }: PreparedRun, draw: StepDraw): { readonly height: number; readonly width: number } {
  const bucket = run.buckets[draw.bucket];
  if (!bucket) throw new Error(`train: there is no bucket ${draw.bucket}`);
  return { height: bucket.heightPx / base.pixelsPerLatent, width: bucket.widthPx / base.pixelsPerLatent };
}

/** Compiles the step for the draw's bucket when it is the first of it. */
export async function* compileStep(run: PreparedRun, draw: StepDraw): AsyncGenerator<TrainEvent, void> {
  const size = latentSize(run, draw);
  if (run.network.isCompiled(size)) return;
  yield { type: "progress", phase: "compile", done: 0, total: 1 };
  await run.network.compile(size);
  yield { type: "progress", phase: "compile", done: 1, total: 1 };
}

/** One optimizer step over the draw's pictures. */
export async function takeStep(
  run: PreparedRun,
  step: number,
  draw: StepDraw,
): Promise<{ readonly loss: number; readonly gradNorm: number }> {
  const { settings, feeds } = run;
  const size = latentSize(run, draw);
  const samples = drawnPictures(run, draw).map((index, i): Sample => {
    const picture = run.encoded(index, feeds.isFlipped(step, i));
    const caption = feeds.isDropped(step, i) ? "" : (run.run.pictures[index]?.caption ?? "");
    return { picture, caption, noise: feeds.noise(step, i, [size.height, size.width]), timestep: feeds.timestep(step, i) };
  });
  const microsteps = Array.from({ length: settings.accumulation * settings.gpus }, (_, i) =>
    feeds.batch(samples.slice(i * settings.batch, (i + 1) * settings.batch)),
  );
  return run.network.step(step, size, microsteps);
}

/** Indices among all pictures of the run. */
export function drawnPictures(run: PreparedRun, { bucket, draws }: StepDraw): readonly number[] {
  return draws.map(({ item }) => {
    const index = run.members[bucket]?.[item];
    if (index === undefined) throw new Error(`train: bucket ${bucket} has no picture ${item}`);
    return index;
  });
}
