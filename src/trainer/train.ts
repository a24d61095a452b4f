/** A training run, told as events: prepare, step, measure, show, save; and going on where a stopped run stood. */
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { writeFileAtomically } from "../formats/atomic.ts";
import type { TrainPlan } from "../planner/plan.ts";
import { writeTrainedAdapter } from "./adapter-file.ts";
import {
  type Checkpoint,
  firstState,
  hasCheckpoint,
  NonFiniteError,
  readCheckpoint,
  type RunState,
  thinCheckpoints,
  writeCheckpoint,
} from "./checkpoint.ts";
import { chooseStep } from "./choose.ts";
import type { PreflightEvent, TrainEvent, Validation } from "./events.ts";
import { rateFactor } from "./learning-rate.ts";
import { adviseOnMemory } from "./out-of-memory.ts";
import { preflight } from "./preflight.ts";
import type { Previewer } from "./preview.ts";
import { prepareRun, type PreparedRun, type TrainOptions } from "./prepare.ts";
import { writeReport } from "./report.ts";
import { failedEvent, startEvent } from "./run-events.ts";
import {
  checkpointPath,
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
import { measureRunMemory } from "./run-memory.ts";
import { compileStep, takeStep } from "./take-step.ts";

/**
 * Carries out a plan. The last event is `done`, `stopped` (asked to by the signal; saved), `declined` (by `approve`) or `failed` (the loss
 * is no number).
 *
 * @throws UserError for whatever the user can mend: dataset, base model, disk
 * @example for await (const event of train(plan, { createEngine, hashCacheFile, signal })) console.log(event);
 */
export async function* train(plan: TrainPlan, options: TrainOptions): AsyncGenerator<TrainEvent, void> {
  const paths = await createRun(plan);
  try {
    const isDeclined = yield* carryOut(plan, paths, undefined, options);
    if (isDeclined) await removeUnbegunRun(paths);
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

/** @returns whether the run was declined */
async function* carryOut(
  plan: TrainPlan,
  paths: RunPaths,
  from: Checkpoint | undefined,
  options: TrainOptions,
): AsyncGenerator<TrainEvent, boolean> {
  const ready = yield* makeReady(plan, paths, from, options);
  if (typeof ready === "string") return ready === "declined";
  const { run, told } = ready;
  const log = await openEventLog(paths.events, from?.state.eventsBytes ?? 0);
  try {
    if (told) await log.append(told);
    for await (const event of steps(run, log, from, options.signal)) {
      if (event.type !== "progress") await log.append(event);
      yield event;
    }
    return false;
  } catch (error) {
    throw await adviseOnMemory(error, run);
  } finally {
    await log.close();
    await run.dispose();
  }
}

/** A run that can begin, and the preflight's event, which is told already; or how it ended before. */
type Ready = { readonly run: PreparedRun; readonly told: PreflightEvent | undefined } | "stopped" | "declined";

/** Prepares the run; with a preflight, only as much as that needs, and the rest when it is agreed to. */
async function* makeReady(
  plan: TrainPlan,
  paths: RunPaths,
  from: Checkpoint | undefined,
  options: TrainOptions,
): AsyncGenerator<TrainEvent, Ready> {
  const { signal, approve } = options;
  let run: PreparedRun | undefined;
  let isReady = false;
  try {
    run = yield* prepareRun(plan, paths, options);
    refuseOtherDataset(run, from);
    const told = options.preflight ? yield* preflight(run, from, signal) : undefined;
    if (told) yield told;
    if (told && approve && !(await approve(told))) {
      yield { type: "declined", runFolder: paths.folder };
      return "declined";
    }
    yield* run.encodeRest(signal);
    isReady = true;
    return { run, told };
  } catch (error) {
    if (!signal?.aborted) throw run ? await adviseOnMemory(error, run) : error;
    const checkpoint = from ? checkpointPath(paths, from.state.step) : null;
    yield { type: "stopped", step: from?.state.step ?? 0, runFolder: paths.folder, checkpoint };
    return "stopped";
  } finally {
    // Also for a caller that listens no longer.
    if (!isReady) await run?.dispose();
  }
}

function refuseOtherDataset({ run, settings }: PreparedRun, from: Checkpoint | undefined): void {
  if (!from || from.state.datasetHash === run.hash) return;
  throw new UserError(`The dataset ${settings.datasetFolder} has changed since the run was started.`, {
    fix: "Put the pictures and captions back as they were, or start a new run (with --continue-from, if you like).",
  });
}

/** The run from its present state to its end. */
async function* steps(
  run: PreparedRun,
  log: EventLog,
  from: Checkpoint | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<TrainEvent, void> {
  let state = yield* begin(run, from);
  while (state.step < run.settings.steps) {
    if (signal?.aborted) {
      yield* stop(run, log, state);
      return;
    }
    const next = yield* advance(run, log, state, signal);
    if (!next) return;
    state = next;
  }
  yield* finish(run, state);
}

/** Puts the network in its state and tells of the run; a new run measures the base. */
async function* begin(run: PreparedRun, from: Checkpoint | undefined): AsyncGenerator<TrainEvent, RunState> {
  const state = from?.state ?? firstState(run.run.hash);
  if (from) yield { type: "checkpoint", step: state.step, path: checkpointPath(run.paths, state.step) };
  yield startEvent(run, state.step);
  for (const message of state.step === 0 ? run.notes : []) yield { type: "warning", message };
  await run.network.load(from?.tensors ?? new Map());
  if (state.baseLosses !== null) return state;
  const measured = await validate(run, state);
  const failure = findBrokenBase(measured);
  if (failure) throw failure;
  yield* lastValidation(measured);
  return measured;
}

/** One step, and the measuring, showing and saving that is due after it. @returns undefined when the run has failed, which it tells */
async function* advance(
  run: PreparedRun,
  log: EventLog,
  before: RunState,
  signal: AbortSignal | undefined,
): AsyncGenerator<TrainEvent, RunState | undefined> {
  const { settings } = run;
  const step = before.step + 1;
  const draw = run.order(step - 1);
  yield* compileStep(run, draw);
  const startedAt = performance.now();
  const { loss, gradNorm } = await takeStep(run, step, draw);
  if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
    const what = Number.isFinite(loss) ? "gradient" : "loss";
    yield await failedEvent(run, step, draw, `The ${what} of step ${step} is not a number`);
    return undefined;
  }
  const lr = settings.learningRate * rateFactor(step, settings);
  const durationMs = Math.round(performance.now() - startedAt);
  const memoryBytes = (await run.engine.memory()).residentBytes;
  yield { type: "step", step, epoch: draw.epoch, loss, lr, gradNorm, durationMs, memoryBytes };
  for (const message of run.engine.takeNotes?.() ?? []) yield { type: "warning", message };

  let state: RunState = { ...before, step };
  const isLast = step === settings.steps;
  if (isLast || isDue(step, settings.validateEvery)) {
    state = await validate(run, state);
    yield* lastValidation(state);
  }
  if (run.previewer && (isLast || isDue(step, settings.previewEvery))) state = yield* preview(run.previewer, state, signal);
  if (!isLast && !isDue(step, settings.checkpointEvery)) return state;
  try {
    yield await save(run, log, state);
  } catch (error) {
    if (!(error instanceof NonFiniteError)) throw error;
    yield await failedEvent(run, step, draw, `After step ${step} the weights are not numbers: ${error.message}`);
    return undefined;
  }
  return state;
}

function isDue(step: number, every: number): boolean {
  return every > 0 && step % every === 0;
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
  const { epoch } = run.order(Math.max(0, state.step - 1));
  const path = await writeCheckpoint(run.paths, { ...state, eventsBytes }, tensors, (file) =>
    writeTrainedAdapter(file, run.facts, byName, state.step, epoch),
  );
  await thinCheckpoints(run.paths);
  return { type: "checkpoint", step: state.step, path };
}

async function* stop(run: PreparedRun, log: EventLog, state: RunState): AsyncGenerator<TrainEvent, void> {
  const { paths } = run;
  if (state.step > 0 && !(await hasCheckpoint(paths, state.step))) yield await save(run, log, state);
  const checkpoint = state.step > 0 ? checkpointPath(paths, state.step) : null;
  yield { type: "stopped", step: state.step, runFolder: paths.folder, checkpoint };
}

/** Chooses the best checkpoint, makes its adapter the result, tells what the run took, and writes the report. */
async function* finish(run: PreparedRun, state: RunState): AsyncGenerator<TrainEvent, void> {
  const { paths, plan, settings } = run;
  // Only the planned ones, so that a run that was stopped in between ends as one that was not.
  const planned = (await listCheckpoints(paths)).filter(
    (step) => step === settings.steps || isDue(step, settings.checkpointEvery),
  );
  const choice = chooseStep(planned, state.validations);
  const adapter = createReadStream(join(checkpointPath(paths, choice.step), "adapter.safetensors"));
  await writeFileAtomically(paths.result, async (write) => {
    for await (const bytes of adapter as AsyncIterable<Buffer>) await write(bytes);
  });
  const memory = await measureRunMemory(run);
  yield memory;
  const events = await readEvents(paths.events);
  const losses = events.flatMap((event) => (event.type === "step" ? [{ step: event.step, loss: event.loss }] : []));
  const sheets = state.sheets.map(({ step, path }) => ({ step, path: join(paths.folder, path) }));
  await writeReport(paths, { plan, losses, validations: state.validations, sheets, chosen: choice, memory, notes: run.notes });
  const ratio = state.validations.find(({ step }) => step === choice.step)?.ratio ?? null;
  yield { type: "done", path: paths.result, step: choice.step, reason: choice.reason, ratio, report: paths.report };
}
