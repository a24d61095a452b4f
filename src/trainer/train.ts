/** A training run, told as events: prepare, step, measure, show, save; and going on where a stopped run stood. */
import { UserError } from "../errors.ts";
import type { TrainPlan } from "../planner/plan.ts";
import { writeTrainedAdapter } from "./adapter-file.ts";
import {
  type Checkpoint,
  hasCheckpoint,
  NonFiniteError,
  readCheckpoint,
  type RunState,
  type StateTensor,
  writeCheckpoint,
} from "./checkpoint.ts";
import { chooseStep } from "./choose.ts";
import type { TrainEvent, Validation } from "./events.ts";
import type { Sample } from "./feeds.ts";
import { rateFactor } from "./learning-rate.ts";
import type { StepDraw } from "./order.ts";
import type { Previewer } from "./preview.ts";
import { prepareRun, type PreparedRun, type TrainOptions } from "./prepare.ts";
import { writeReport } from "./report.ts";
import {
  createRun,
  type EventLog,
  listCheckpoints,
  makeFolders,
  openEventLog,
  readEvents,
  readPlan,
  removeLeftovers,
  removeUnbegunRun,
  type RunPaths,
  runPaths,
  stepName,
} from "./run-folder.ts";
import { join } from "node:path";

/**
 * Carries out a plan. The last event is `done`, `stopped` (asked to by the signal; saved) or `failed` (the loss is no number).
 *
 * @throws UserError for whatever the user can mend: dataset, base model, disk
 * @example for await (const event of train(plan, { createEngine, hashCacheFile, signal })) console.log(event);
 */
export async function* train(plan: TrainPlan, options: TrainOptions): AsyncGenerator<TrainEvent, void> {
  const paths = await createRun(plan);
  try {
    yield* carryOut(plan, paths, undefined, options);
  } catch (error) {
    await removeUnbegunRun(paths);
    throw error;
  }
}

/**
 * Goes on with a run from its last checkpoint, or from the start when there is none. What the run did after that checkpoint is done
 * again, to the same bytes; its events are cut from events.jsonl.
 *
 * @param folder of the run; it may have been moved
 */
export async function* resumeTraining(folder: string, options: TrainOptions): AsyncGenerator<TrainEvent, void> {
  const plan = await readPlan(folder);
  const paths = runPaths(folder, plan.name.value);
  await makeFolders(paths);
  await removeLeftovers(paths);
  const last = (await listCheckpoints(paths)).at(-1);
  const checkpoint = last === undefined ? undefined : await readCheckpoint(paths, last);
  yield* carryOut(plan, paths, checkpoint, options);
}

async function* carryOut(
  plan: TrainPlan,
  paths: RunPaths,
  from: Checkpoint | undefined,
  options: TrainOptions,
): AsyncGenerator<TrainEvent, void> {
  let run: PreparedRun;
  try {
    run = yield* prepareRun(plan, paths, options);
  } catch (error) {
    if (!options.signal?.aborted) throw error;
    yield {
      type: "stopped",
      step: from?.state.step ?? 0,
      runFolder: paths.folder,
      checkpoint: from ? checkpointPath(paths, from.state.step) : null,
    };
    return;
  }
  const log = await openEventLog(paths.events, from?.state.eventsBytes ?? 0);
  try {
    if (from && from.state.datasetHash !== run.run.hash) {
      throw new UserError(`The dataset ${run.settings.datasetFolder} has changed since the run was started.`, {
        fix: "Put the pictures and captions back as they were, or start a new run (with --continue-from, if you like).",
      });
    }
    for await (const event of steps(run, log, from, options.signal)) {
      if (event.type !== "progress") await log.append(event);
      yield event;
    }
  } finally {
    await log.close();
    await run.dispose();
  }
}

/** The run from its present state to its end. */
async function* steps(
  run: PreparedRun,
  log: EventLog,
  from: Checkpoint | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<TrainEvent, void> {
  const { settings, network, paths } = run;
  let state: RunState = from?.state ?? {
    version: 1,
    step: 0,
    eventsBytes: 0,
    datasetHash: run.run.hash,
    baseLosses: null,
    validations: [],
    sheets: [],
  };
  if (from) yield { type: "checkpoint", step: state.step, path: checkpointPath(paths, state.step) };
  yield startEvent(run, state.step);
  for (const message of state.step === 0 ? run.notes : []) yield { type: "warning", message };
  await network.load(from?.tensors ?? new Map());
  if (state.baseLosses === null) {
    state = await validate(run, state);
    const failure = findBrokenBase(state);
    if (failure) throw failure;
    yield* lastValidation(state);
  }

  while (state.step < settings.steps) {
    if (signal?.aborted) {
      yield* stop(run, log, state);
      return;
    }
    const step = state.step + 1;
    const draw = run.order(step - 1);
    yield* compile(run, draw);
    const startedAt = performance.now();
    const { loss, gradNorm } = await takeStep(run, step, draw);
    if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
      yield await failedEvent(
        run,
        step,
        draw,
        `The ${Number.isFinite(loss) ? "gradient" : "loss"} of step ${step} is not a number`,
      );
      return;
    }
    const lr = settings.learningRate * rateFactor(step, settings);
    const durationMs = Math.round(performance.now() - startedAt);
    yield { type: "step", step, epoch: draw.epoch, loss, lr, gradNorm, durationMs, memoryBytes: process.memoryUsage.rss() };
    state = { ...state, step };

    const isLast = step === settings.steps;
    if (isLast || isDue(step, settings.validateEvery)) {
      state = await validate(run, state);
      yield* lastValidation(state);
    }
    if (run.previewer && (isLast || isDue(step, settings.previewEvery))) state = yield* preview(run.previewer, state, signal);
    if (isLast || isDue(step, settings.checkpointEvery)) {
      try {
        yield await save(run, log, state);
      } catch (error) {
        if (!(error instanceof NonFiniteError)) throw error;
        yield await failedEvent(run, step, draw, `After step ${step} the weights are not numbers: ${error.message}`);
        return;
      }
    }
  }
  yield await finish(run, state);
}

function isDue(step: number, every: number): boolean {
  return every > 0 && step % every === 0;
}

function checkpointPath(paths: RunPaths, step: number): string {
  return join(paths.checkpoints, stepName(step));
}

function startEvent(run: PreparedRun, step: number): TrainEvent {
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

/** Height and width of a draw's latents. */
function latentSize({ run, base }: PreparedRun, draw: StepDraw): readonly [height: number, width: number] {
  const bucket = run.buckets[draw.bucket];
  if (!bucket) throw new Error(`train: there is no bucket ${draw.bucket}`);
  return [bucket.heightPx / base.pixelsPerLatent, bucket.widthPx / base.pixelsPerLatent];
}

/** Compiles the step for the draw's bucket when it is the first of it. */
async function* compile(run: PreparedRun, draw: StepDraw): AsyncGenerator<TrainEvent, void> {
  const { network } = run;
  const [height, width] = latentSize(run, draw);
  if (network.isCompiled({ height, width })) return;
  yield { type: "progress", phase: "compile", done: 0, total: 1 };
  await network.compile({ height, width });
  yield { type: "progress", phase: "compile", done: 1, total: 1 };
}

/** One optimizer step over the draw's pictures. */
async function takeStep(run: PreparedRun, step: number, draw: StepDraw): Promise<{ loss: number; gradNorm: number }> {
  const { settings, feeds } = run;
  const size = latentSize(run, draw);
  const samples = drawnPictures(run, draw).map((index, i): Sample => {
    const picture = run.encoded(index, feeds.isFlipped(step, i));
    const caption = feeds.isDropped(step, i) ? "" : (run.run.pictures[index]?.caption ?? "");
    return { picture, caption, noise: feeds.noise(step, i, size), timestep: feeds.timestep(step, i) };
  });
  const microsteps = Array.from({ length: settings.accumulation }, (_, i) =>
    feeds.batch(samples.slice(i * settings.batch, (i + 1) * settings.batch)),
  );
  return run.network.step(step, { height: size[0], width: size[1] }, microsteps);
}

/** Indices among all pictures of the run. */
function drawnPictures(run: PreparedRun, { bucket, draws }: StepDraw): readonly number[] {
  return draws.map(({ item }) => {
    const index = run.members[bucket]?.[item];
    if (index === undefined) throw new Error(`train: bucket ${bucket} has no picture ${item}`);
    return index;
  });
}

async function validate(run: PreparedRun, state: RunState): Promise<RunState> {
  const losses = await run.validator.measure(run.network);
  const base = state.baseLosses ?? losses;
  const ratio = losses.heldOut !== null && base.heldOut !== null ? losses.heldOut / base.heldOut : losses.train / base.train;
  const validation: Validation = { step: state.step, ...losses, base, ratio };
  return { ...state, baseLosses: base, validations: [...state.validations, validation] };
}

function* lastValidation({ validations }: RunState): Generator<TrainEvent> {
  const last = validations.at(-1);
  if (last) yield { type: "validation", ...last };
}

/** Nothing can be trained when the base itself gives no numbers. */
function findBrokenBase({ baseLosses }: RunState): UserError | undefined {
  if (baseLosses && Number.isFinite(baseLosses.train) && Number.isFinite(baseLosses.heldOut ?? 0)) return undefined;
  return new UserError("The base model's own loss is not a number, before any training.", {
    fix: "Its weights, or the adapter that the run goes on from, hold values that are not numbers: download them again.",
  });
}

/** Draws a sheet. When the run is asked to stop meanwhile, it is left out: stopping must not wait for minutes. */
async function* preview(
  previewer: Previewer,
  state: RunState,
  signal: AbortSignal | undefined,
): AsyncGenerator<TrainEvent, RunState> {
  const { step } = state;
  const drawing = previewer.draw(step, signal);
  try {
    for (let next = await drawing.next(); ; next = await drawing.next()) {
      if (next.done) {
        yield { type: "sample", step, path: next.value };
        return { ...state, sheets: [...state.sheets, { step, path: `samples/${stepName(step)}.png` }] };
      }
      const [done, total] = next.value;
      yield { type: "progress", phase: "preview", done, total };
    }
  } catch (error) {
    if (!signal?.aborted) throw error;
    return state;
  }
}

/** Writes a checkpoint of the present state. */
async function save(run: PreparedRun, log: EventLog, state: RunState): Promise<TrainEvent> {
  const tensors = await run.network.read();
  const eventsBytes = await log.flush();
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const path = await writeCheckpoint(run.paths, { ...state, eventsBytes }, tensors, (file) =>
    writeAdapterOf(run, file, byName, state.step),
  );
  return { type: "checkpoint", step: state.step, path };
}

function writeAdapterOf(
  run: PreparedRun,
  file: string,
  tensors: ReadonlyMap<string, StateTensor>,
  step: number,
): Promise<void> {
  return writeTrainedAdapter(file, run.facts, tensors, step, run.order(Math.max(0, step - 1)).epoch);
}

async function* stop(run: PreparedRun, log: EventLog, state: RunState): AsyncGenerator<TrainEvent, void> {
  const { paths } = run;
  if (state.step > 0 && !(await hasCheckpoint(paths, state.step))) yield await save(run, log, state);
  const checkpoint = state.step > 0 ? checkpointPath(paths, state.step) : null;
  yield { type: "stopped", step: state.step, runFolder: paths.folder, checkpoint };
}

/** The state on the engine is lost; the last checkpoint on disk is what counts. */
async function failedEvent(run: PreparedRun, step: number, draw: StepDraw, what: string): Promise<TrainEvent> {
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

/** Chooses the best checkpoint, writes it as the result, and the report. */
async function finish(run: PreparedRun, state: RunState): Promise<TrainEvent> {
  const { paths, plan, settings } = run;
  // Only the planned ones, so that a run that was stopped in between ends as one that was not.
  const planned = (await listCheckpoints(paths)).filter(
    (step) => step === settings.steps || isDue(step, settings.checkpointEvery),
  );
  const choice = chooseStep(planned, state.validations);
  const { tensors } = await readCheckpoint(paths, choice.step);
  await writeAdapterOf(run, paths.result, tensors, choice.step);
  const events = await readEvents(paths.events);
  const losses = events.flatMap((event) => (event.type === "step" ? [{ step: event.step, loss: event.loss }] : []));
  const sheets = state.sheets.map(({ step, path }) => ({ step, path: join(paths.folder, path) }));
  await writeReport(paths, { plan, losses, validations: state.validations, sheets, chosen: choice, notes: run.notes });
  const ratio = state.validations.find(({ step }) => step === choice.step)?.ratio ?? null;
  return { type: "done", path: paths.result, step: choice.step, reason: choice.reason, ratio, report: paths.report };
}
