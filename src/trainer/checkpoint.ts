/** Saves what a run needs to go on, complete or not at all, and reads it back. */
import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { explainWriteError, writeFileAtomically } from "../formats/atomic.ts";
import { openSafetensors, readTensor, writeSafetensors } from "../formats/safetensors.ts";
import type { Shape } from "../graph/graph.ts";
import type { Losses, Validation } from "./events.ts";
import { checkpointPath, listCheckpoints, type RunPaths, stepName } from "./run-folder.ts";

/** A tensor of the run's state under its buffer's name: a trained parameter, or one of AdamW's two moments of it. */
export interface StateTensor {
  readonly name: string;
  readonly shape: Shape;
  readonly data: Float32Array;
}

/** state.json */
export interface RunState {
  readonly version: 1;
  /** Steps done. */
  readonly step: number;
  /** Length of events.jsonl when the checkpoint was taken; what lies behind it is superseded when the run goes on from here. */
  readonly eventsBytes: number;
  /** Of the pictures, captions and buckets that the run is on. */
  readonly datasetHash: string;
  readonly baseLosses: Losses | null;
  readonly validations: readonly Validation[];
  /** Preview sheets made so far. */
  readonly sheets: readonly { readonly step: number; readonly path: string }[];
}

/** Where a run begins that goes on from nothing. */
export function firstState(datasetHash: string): RunState {
  return { version: 1, step: 0, eventsBytes: 0, datasetHash, baseLosses: null, validations: [], sheets: [] };
}

export interface Checkpoint {
  readonly state: RunState;
  readonly tensors: ReadonlyMap<string, StateTensor>;
}

/** Thrown instead of writing a value that is not a number. */
export class NonFiniteError extends Error {
  override readonly name = "NonFiniteError";
}

/** @throws NonFiniteError naming the first tensor that holds a value that is not finite */
function refuseNonFinite(tensors: Iterable<StateTensor>): void {
  for (const { name, data } of tensors) {
    const index = data.findIndex((value) => !Number.isFinite(value));
    if (index >= 0) throw new NonFiniteError(`${name} holds ${data[index]} at position ${index}`);
  }
}

/**
 * Writes `checkpoints/step-NNNNNN/`: optimizer.safetensors (exact float32 parameters and moments), adapter.safetensors (the usable
 * adapter, by `writeAdapter`) and state.json. The folder gets its name when all of it is on disk.
 *
 * @throws NonFiniteError; UserError when the disk refuses
 * @returns the folder
 */
export async function writeCheckpoint(
  paths: RunPaths,
  state: RunState,
  tensors: readonly StateTensor[],
  writeAdapter: (path: string) => Promise<void>,
): Promise<string> {
  const folder = checkpointPath(paths, state.step);
  const temporary = temporaryPath(paths, state.step);
  refuseNonFinite(tensors);
  try {
    await writeFiles(temporary, state, tensors, writeAdapter);
    await rm(folder, { recursive: true, force: true });
    await rename(temporary, folder);
    await syncFolder(paths.checkpoints);
    return folder;
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined); // The first error is the one that matters.
    throw explainWriteError(error, folder);
  }
}

/**
 * Writes a checkpoint of the state under a temporary name and takes it away again: whether one can be written, and how large it is.
 *
 * @throws NonFiniteError; UserError when the disk refuses
 * @returns the bytes of all of it, and of the adapter's file, which older checkpoints are thinned to
 */
export async function tryCheckpoint(
  paths: RunPaths,
  state: RunState,
  tensors: readonly StateTensor[],
  writeAdapter: (path: string) => Promise<void>,
): Promise<{ readonly bytes: number; readonly adapterBytes: number }> {
  const temporary = temporaryPath(paths, state.step);
  refuseNonFinite(tensors);
  try {
    await writeFiles(temporary, state, tensors, writeAdapter);
    const sizeOf = async (name: string): Promise<number> => (await stat(join(temporary, name))).size;
    const sizes = await Promise.all((await readdir(temporary)).map(sizeOf));
    return { bytes: sizes.reduce((sum, size) => sum + size, 0), adapterBytes: await sizeOf("adapter.safetensors") };
  } catch (error) {
    throw explainWriteError(error, paths.checkpoints);
  } finally {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined); // `removeLeftovers` tries again.
  }
}

function temporaryPath(paths: RunPaths, step: number): string {
  return join(paths.checkpoints, `.${stepName(step)}.${randomBytes(4).toString("hex")}`);
}

async function writeFiles(
  folder: string,
  state: RunState,
  tensors: readonly StateTensor[],
  writeAdapter: (path: string) => Promise<void>,
): Promise<void> {
  await mkdir(folder);
  const list = tensors.map((tensor) => ({ ...tensor, dtype: "F32" }) as const);
  await writeSafetensors(join(folder, "optimizer.safetensors"), list, { step: String(state.step) });
  await writeAdapter(join(folder, "adapter.safetensors"));
  const json = `${JSON.stringify(state, undefined, 2)}\n`;
  await writeFileAtomically(join(folder, "state.json"), (write) => write(Buffer.from(json)));
}

/** So that a power cut cannot lose the new name. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } catch {
    // Some network file systems know no fsync of a folder.
  } finally {
    await handle.close();
  }
}

/** The newest is what a run goes on from; the one before stands in for it when it is damaged. */
export const RESUMABLE_CHECKPOINTS = 2;

/**
 * Takes optimizer.safetensors, six times an adapter's size, out of all but the newest checkpoints. Their adapters stay: any of them
 * may become the result.
 */
export async function thinCheckpoints(paths: RunPaths): Promise<void> {
  for (const step of (await listCheckpoints(paths)).slice(0, -RESUMABLE_CHECKPOINTS)) {
    // A file that cannot be removed only takes room, and this is tried again after the next checkpoint.
    await rm(join(checkpointPath(paths, step), "optimizer.safetensors"), { force: true }).catch(() => undefined);
  }
}

/** @throws UserError when it is damaged, or holds the adapter alone */
export async function readCheckpoint(paths: RunPaths, step: number): Promise<Checkpoint> {
  const folder = checkpointPath(paths, step);
  const optimizer = join(folder, "optimizer.safetensors");
  if (!(await exists(optimizer))) {
    const adapter = join(folder, "adapter.safetensors");
    throw new UserError(`A run cannot go on from ${folder}: it holds the adapter, but not the optimizer's state.`, {
      fix: `Put the newer checkpoints back, or go on from the adapter in a new run: --continue-from ${adapter}`,
    });
  }
  const file = await openSafetensors(optimizer);
  const tensors = new Map<string, StateTensor>();
  for (const [name, { shape }] of file.tensors) tensors.set(name, { name, shape, data: await readTensor(file, name) });
  return { state: await readState(folder), tensors };
}

async function readState(folder: string): Promise<RunState> {
  const path = join(folder, "state.json");
  try {
    const state = JSON.parse(await readFile(path, "utf8")) as Partial<RunState>;
    if (state.version === 1 && Number.isInteger(state.step) && Number.isInteger(state.eventsBytes)) return state as RunState;
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${(error as Error).message}.`, {
      fix: `Remove ${folder} to go on from the one before.`,
      cause: error,
    });
  }
  throw new UserError(`${path} is of another version of Gesso.`, { fix: `Remove ${folder} to go on from the one before.` });
}

/** Whether a checkpoint of this step is there. */
export async function hasCheckpoint(paths: RunPaths, step: number): Promise<boolean> {
  return exists(join(checkpointPath(paths, step), "state.json"));
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
