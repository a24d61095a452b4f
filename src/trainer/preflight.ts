/** Does everything that a run does once, on its largest pictures, before it begins: what fails now would have failed hours later. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { type Pixels, writePng } from "../formats/images.ts";
import { verify } from "../graph/verify.ts";
import { networkUnitPx } from "../planner/decide-training.ts";
import { writeTrainedAdapter } from "./adapter-file.ts";
import { type Checkpoint, firstState, NonFiniteError, tryCheckpoint } from "./checkpoint.ts";
import { findFullDisk, measureRunFolder, runFolderBytes } from "./disk-need.ts";
import type { PreflightEvent, TrainEvent } from "./events.ts";
import type { Sample } from "./feeds.ts";
import type { StepDraw } from "./order.ts";
import { preflightDraw } from "./preflight-choice.ts";
import type { PreparedRun } from "./prepare.ts";
import { createRunGraphs, type LatentSize } from "./run-graphs.ts";
import { drawnPictures, latentSize, takeStep } from "./take-step.ts";
import { countProbes } from "./validate.ts";

/** What takes less is done a second time: the first time has its preparations in it. */
const QUICK_MS = 5000;
/** The second one is timed; the first has its preparations in it. */
const SAMPLER_STEPS = 2;
/** For compiling the steps of other sizes than the largest; as long again for checking the graphs of those that are left. */
const COMPILE_MS = 10_000;

/**
 * Takes one optimizer step, one measurement, one step of a preview and one checkpoint, on the largest pictures, and gets the step of every
 * other size ready as far as that takes seconds. What is compiled is used by the run. The network's
 * state is spoilt by it: whoever begins the run loads it (`Network.load`), and every number of the run is then as without a preflight.
 *
 * @throws UserError naming what failed, and what to do about it
 */
export async function* preflight(
  run: PreparedRun,
  from: Checkpoint | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<TrainEvent, PreflightEvent> {
  const startedAt = performance.now();
  const parts = run.previewer ? 5 : 4;
  const progress = (done: number): TrainEvent => ({ type: "progress", phase: "preflight", done, total: parts });
  yield progress(0);
  refuseOddSizes(run);
  await run.network.load(from?.tensors ?? new Map());
  const draw = preflightDraw(run.run, run.settings);
  const { loss, stepMs } = await attempt(`a step on the largest pictures (${describe(run, draw)})`, () => stepOnce(run, draw));
  yield progress(1);
  signal?.throwIfAborted();
  const validationMs = await attempt("measuring the loss", () => validateOnce(run, draw));
  yield progress(2);
  signal?.throwIfAborted();
  const sizes = await attempt("getting the other sizes ready", () => prepareSizes(run, signal));
  yield progress(3);
  signal?.throwIfAborted();
  const { previewer } = run;
  const preview = previewer ? await attempt("drawing a preview", () => previewOnce(run, previewer, signal)) : null;
  yield progress(parts - 1);
  signal?.throwIfAborted();
  const checkpoint = await attempt("writing a checkpoint", () => saveOnce(run, from));
  await attempt("looking for room on the disk", () => refuseFullDisk(run, from, checkpoint));
  yield progress(parts);
  const { peakBytes } = await run.engine.memory();
  const { checkpointMs, checkpointBytes } = checkpoint;
  const measured = { stepMs, validationMs, preview, checkpointMs, checkpointBytes };
  return {
    type: "preflight",
    bucket: { ...bucketOf(run, draw), batch: run.settings.batch },
    sizes,
    loss,
    ...measured,
    peakBytes,
    runMs: estimateRunMs(run, draw, measured),
    durationMs: performance.now() - startedAt,
  };
}

/** Sizes that a later step would stop at. */
function refuseOddSizes({ run, base }: PreparedRun): void {
  const unit = networkUnitPx(base);
  for (const { widthPx, heightPx } of run.buckets) {
    if (widthPx % unit === 0 && heightPx % unit === 0) continue;
    throw new UserError(`Pictures of ${widthPx} x ${heightPx} px cannot be trained: sides must be multiples of ${unit}.`, {
      fix: `Train at a --resolution that is a multiple of ${unit}.`,
    });
  }
}

/**
 * Compiles the step for every size in training, largest first, while there is time: each would be compiled in the run as well. Of those
 * that are left the graphs are built and checked, and of the held-out ones those of their losses.
 */
async function prepareSizes(run: PreparedRun, signal: AbortSignal | undefined): Promise<PreflightEvent["sizes"]> {
  const { network, settings, base, form, masked, engine } = run;
  const graphs = createRunGraphs({ base, settings, form, masked, precision: engine.precision });
  const sizes = sizesBySteps(run);
  const count = { count: sizes.filter(({ isTrained }) => isTrained).length, compiled: 0, checked: 0 };
  const until = performance.now() + COMPILE_MS;
  const untilChecked = until + COMPILE_MS;
  for (const { isTrained, ...size } of sizes) {
    signal?.throwIfAborted();
    if (performance.now() > untilChecked) break;
    verify(graphs.losses({ batch: settings.batch, ...size }));
    if (!isTrained) continue;
    if (network.isCompiled(size) || performance.now() < until) {
      await network.compile(size);
      count.compiled++;
    } else {
      verify(graphs.step(size));
      count.checked++;
    }
  }
  return count;
}

/** Of latents, the most numbers first; and whether any picture of that size is trained on. */
function sizesBySteps({ run, members, base }: PreparedRun): readonly (LatentSize & { readonly isTrained: boolean })[] {
  const { pixelsPerLatent } = base;
  return run.buckets
    .map(({ widthPx, heightPx }, bucket) => ({
      height: heightPx / pixelsPerLatent,
      width: widthPx / pixelsPerLatent,
      isTrained: (members[bucket]?.length ?? 0) > 0,
    }))
    .sort((a, b) => b.height * b.width - a.height * a.width);
}

/** Judges the room on the disk again, by what one checkpoint took: a run goes on for hours before the last of them. */
async function refuseFullDisk(
  { paths, settings }: PreparedRun,
  from: Checkpoint | undefined,
  { checkpointBytes, adapterBytes }: { readonly checkpointBytes: number; readonly adapterBytes: number },
): Promise<void> {
  const checkpoint = { adapter: adapterBytes, state: checkpointBytes - adapterBytes };
  const bytes = runFolderBytes(settings, checkpoint, from?.state.step);
  const [full] = findFullDisk([await measureRunFolder(paths.folder, bytes)]);
  if (full) throw new UserError(full.message, { fix: full.mend });
}

async function stepOnce(run: PreparedRun, draw: StepDraw): Promise<{ readonly loss: number; readonly stepMs: number }> {
  const { settings } = run;
  // The first step at the full rate: after one in the warm-up an adapter may still be too small for its file.
  const step = Math.min(settings.steps, Math.max(1, settings.warmupSteps));
  await run.network.compile(latentSize(run, draw));
  const [result, stepMs] = await timed(() => takeStep(run, step, draw));
  const { loss, gradNorm } = result;
  if (Number.isFinite(loss) && Number.isFinite(gradNorm)) return { loss, stepMs };
  const what = Number.isFinite(loss) ? "gradient" : "loss";
  const pictures = [...new Set(drawnPictures(run, draw).map((index) => run.run.pictures[index]?.item.name ?? ""))];
  throw new UserError(`The ${what} is not a number. Pictures in the step: ${pictures.join(", ")}.`, {
    fix: "The base model's weights may be damaged: download it again; or choose --precision float32.",
  });
}

/** The losses of one batch of the largest pictures. */
async function validateOnce(run: PreparedRun, draw: StepDraw): Promise<number> {
  const { settings, feeds, network } = run;
  const { height, width } = latentSize(run, draw);
  const [timestep = 0] = settings.validationTimesteps;
  const samples = drawnPictures(run, draw)
    .slice(0, settings.batch)
    .map((index, i): Sample => {
      const caption = run.run.pictures[index]?.caption ?? "";
      return { picture: run.encoded(index, false), caption, noise: feeds.noise(1, i, [height, width]), timestep };
    });
  const [losses, ms] = await timed(() => network.losses({ batch: settings.batch, height, width }, feeds.batch(samples)));
  if (losses.every((loss) => Number.isFinite(loss))) return ms;
  throw new UserError("The loss of a measurement is not a number.", {
    fix: "The base model's weights may be damaged: download it again; or choose --precision float32.",
  });
}

async function previewOnce(
  { paths }: PreparedRun,
  previewer: NonNullable<PreparedRun["previewer"]>,
  signal: AbortSignal | undefined,
): Promise<NonNullable<PreflightEvent["preview"]>> {
  const at: number[] = [];
  const pixels = await previewer.tryOut(SAMPLER_STEPS, () => at.push(performance.now()), signal);
  const [first = 0, second = first] = at;
  const decodeMs = performance.now() - second;
  refuseBlack(pixels);
  const path = join(paths.samples, ".preflight.tmp");
  await writePng(path, pixels);
  await rm(path, { force: true });
  return { samplerStepMs: second - first, decodeMs };
}

/** Numbers that are none become black. */
function refuseBlack({ data }: Pixels): void {
  if (data.some((value) => value > 0)) return;
  throw new UserError("The picture is black: what the base model draws are not numbers.", {
    fix: "Its VAE may be damaged, or not its own: give another with --vae; or choose --precision float32.",
  });
}

async function saveOnce(
  run: PreparedRun,
  from: Checkpoint | undefined,
): Promise<Pick<PreflightEvent, "checkpointMs" | "checkpointBytes"> & { readonly adapterBytes: number }> {
  const startedAt = performance.now();
  const tensors = await run.network.read();
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const state = from?.state ?? firstState(run.run.hash);
  try {
    const { bytes: checkpointBytes, adapterBytes } = await tryCheckpoint(run.paths, state, tensors, (file) =>
      writeTrainedAdapter(file, run.facts, byName, 1, 0),
    );
    return { checkpointBytes, adapterBytes, checkpointMs: performance.now() - startedAt };
  } catch (error) {
    if (!(error instanceof NonFiniteError)) throw error;
    throw new UserError(`The weights are not numbers after one step: ${error.message}.`, {
      fix: "Lower --learning-rate, or choose --precision float32.",
    });
  }
}

/** The result, and the milliseconds of a second call where the first was quick. */
async function timed<T>(call: () => Promise<T>): Promise<readonly [T, number]> {
  const measure = async (): Promise<readonly [T, number]> => {
    const startedAt = performance.now();
    const result = await call();
    return [result, performance.now() - startedAt];
  };
  const first = await measure();
  return first[1] < QUICK_MS ? measure() : first;
}

/** Says which part of the preflight failed. */
async function attempt<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof Error && error.name === "AbortError") throw error;
    const isMemory = error instanceof Error && /memory|alloc/i.test(error.message);
    if (!(error instanceof UserError) && !isMemory) throw error;
    throw new UserError(`${error.message} That was in the preflight, at ${what}: nothing was trained.`, {
      fix:
        (error instanceof UserError ? error.fix : undefined) ??
        "Take a smaller --batch, --recompute, or a smaller --resolution.",
      cause: error,
    });
  }
}

function bucketOf(run: PreparedRun, { bucket }: StepDraw): { readonly widthPx: number; readonly heightPx: number } {
  const { widthPx = 0, heightPx = 0 } = run.run.buckets[bucket] ?? {};
  return { widthPx, heightPx };
}

function describe(run: PreparedRun, draw: StepDraw): string {
  const { widthPx, heightPx } = bucketOf(run, draw);
  return `${widthPx} x ${heightPx} px, batch ${run.settings.batch}`;
}

/** Work is taken to grow with the pixels. */
function estimateRunMs(
  run: PreparedRun,
  draw: StepDraw,
  { stepMs, validationMs, preview, checkpointMs }: Pick<PreflightEvent, "stepMs" | "validationMs" | "preview" | "checkpointMs">,
): number {
  const { settings, previewer } = run;
  const { widthPx, heightPx } = bucketOf(run, draw);
  const { pictures } = run.run;
  const shown = pictures.filter(({ isHeldOut }) => !isHeldOut);
  const repeats = shown.reduce((sum, { item }) => sum + item.repeats, 0);
  const pixels = shown.reduce((sum, { item, bucket }) => sum + item.repeats * bucket.widthPx * bucket.heightPx, 0);
  const meanShare = pixels / repeats / (widthPx * heightPx);
  const times = (every: number): number => (every > 0 ? Math.floor((settings.steps - 1) / every) : 0) + 1;
  const batches = Math.ceil(countProbes(pictures, settings) / settings.batch);
  const pictureMs = preview ? settings.previewSteps * preview.samplerStepMs + preview.decodeMs : 0;
  const drawn = previewer ? times(settings.previewEvery) * previewer.counts.withAdapter + previewer.counts.base : 0;
  return (
    settings.steps * stepMs * meanShare +
    (times(settings.validateEvery) + 1) * batches * validationMs * meanShare +
    drawn * pictureMs +
    times(settings.checkpointEvery) * checkpointMs
  );
}
