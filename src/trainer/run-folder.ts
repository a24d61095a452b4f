/** A run on disk: its plan, its event log, its checkpoints. Each file is complete or absent. */
import { constants } from "node:fs";
import { mkdir, open, readdir, readFile, rm, rmdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { explainWriteError, writeFileAtomically } from "../formats/atomic.ts";
import type { TrainPlan } from "../planner/plan.ts";
import type { TrainEvent } from "./events.ts";

export interface RunPaths {
  readonly folder: string;
  readonly plan: string;
  readonly events: string;
  readonly checkpoints: string;
  readonly samples: string;
  readonly report: string;
  readonly result: string;
}

export function runPaths(folder: string, name: string): RunPaths {
  return {
    folder,
    plan: join(folder, "plan.json"),
    events: join(folder, "events.jsonl"),
    checkpoints: join(folder, "checkpoints"),
    samples: join(folder, "samples"),
    report: join(folder, "report.html"),
    result: join(folder, `${name}.safetensors`),
  };
}

/** "step-000100" */
export function stepName(step: number): string {
  return `step-${String(step).padStart(6, "0")}`;
}

/** The folder of a step's checkpoint. */
export function checkpointPath(paths: RunPaths, step: number): string {
  return join(paths.checkpoints, stepName(step));
}

/**
 * Makes the folders and writes the plan.
 *
 * @throws UserError when a run lies there already, or the disk refuses
 */
export async function createRun(plan: TrainPlan): Promise<RunPaths> {
  const paths = runPaths(plan.runFolder.value, plan.name.value);
  if (await exists(paths.plan)) {
    throw new UserError(`There is a run in ${paths.folder} already.`, {
      fix: `Go on with it (gesso train --resume ${paths.folder}), or choose another --name.`,
    });
  }
  await makeFolders(paths);
  const json = `${JSON.stringify(plan, undefined, 2)}\n`;
  await writeFileAtomically(paths.plan, (write) => write(Buffer.from(json)));
  return paths;
}

/** Takes a run away that failed before its first step, so that its name is free again. A folder with anything else in it stays. */
export async function removeUnbegunRun(paths: RunPaths): Promise<void> {
  const events = await readEvents(paths.events).catch(() => []);
  if (events.some(({ type }) => type === "step")) return;
  await rm(paths.plan, { force: true });
  await rm(paths.events, { force: true });
  // rmdir takes empty folders only; what is not empty is not ours.
  for (const folder of [paths.checkpoints, paths.samples, paths.folder]) await rmdir(folder).catch(() => undefined);
}

export async function makeFolders(paths: RunPaths): Promise<void> {
  for (const folder of [paths.folder, paths.checkpoints, paths.samples]) {
    await mkdir(folder, { recursive: true }).catch((error: unknown) => {
      throw explainWriteError(error, folder);
    });
  }
}

/** @throws UserError when there is no run in the folder, or its plan is of another version or damaged */
export async function readPlan(folder: string): Promise<TrainPlan> {
  const path = join(folder, "plan.json");
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new UserError(`There is no run in ${folder}: ${path} is missing.`, {
      fix: "Give the folder of a run, such as runs/NAME.",
      cause: error,
    });
  });
  const plan = parsePlan(text);
  if (!plan) throw new UserError(`${path} is not a plan that this version of Gesso can read.`, { fix: "Start the run again." });
  return plan;
}

/** What runs did before plans named it. */
const unnamed: Pick<TrainPlan, "engine" | "device" | "precision" | "python" | "gpus" | "heldOut"> = {
  engine: { value: "ort", reason: "the CPU" },
  device: { value: "cpu", reason: "the CPU" },
  precision: { value: "float32", reason: "what the CPU engine computes in" },
  python: { value: null, reason: "the CPU" },
  gpus: { value: 1, reason: "one worker" },
  heldOut: { value: null, reason: "by the seed" },
};

function parsePlan(text: string): TrainPlan | undefined {
  try {
    const json = JSON.parse(text) as Partial<TrainPlan>;
    if (json.version !== 1 || !json.name || !json.steps || !json.runFolder || !json.baseOptions) return undefined;
    return { ...unnamed, basePrecision: json.precision ?? unnamed.precision, ...json } as TrainPlan;
  } catch {
    return undefined;
  }
}

export interface EventLog {
  append(event: TrainEvent): Promise<void>;
  /** Bytes written so far, once they are safe on disk. */
  flush(): Promise<number>;
  close(): Promise<void>;
}

/**
 * Opens events.jsonl to append to. Whatever lies behind `bytes` is cut off: what a run did after its last checkpoint did not
 * happen, for it is done again.
 */
export async function openEventLog(path: string, bytes: number): Promise<EventLog> {
  // Not the append mode, in which Windows does not let a file be cut.
  const file = await open(path, constants.O_RDWR | constants.O_CREAT).catch((error: unknown) => {
    throw explainWriteError(error, path);
  });
  await file.truncate(bytes);
  let position = bytes;
  return {
    async append(event) {
      const line = Buffer.from(`${JSON.stringify(event)}\n`);
      await file.write(line, 0, line.length, position).catch((error: unknown) => {
        throw explainWriteError(error, path);
      });
      position += line.length;
    },
    async flush() {
      await file.sync();
      return position;
    },
    close: () => file.close(),
  };
}

/** The events of a run so far. */
export async function readEvents(path: string): Promise<readonly TrainEvent[]> {
  const text = await readFile(path, "utf8");
  return text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as TrainEvent]));
}

/** Removes what was being written when the run died: files and checkpoints under temporary names. */
export async function removeLeftovers(paths: RunPaths): Promise<void> {
  for (const folder of [paths.folder, paths.samples, paths.checkpoints]) {
    const names = await readdir(folder).catch(() => [] as string[]);
    const isLeftover = (name: string): boolean => name.startsWith(".") && (name.endsWith(".tmp") || /^\.step-\d+\./.test(name));
    for (const name of names.filter(isLeftover)) await rm(join(folder, name), { recursive: true, force: true });
  }
}

/** Steps of the complete checkpoints, in order. */
export async function listCheckpoints(paths: RunPaths): Promise<readonly number[]> {
  const names = await readdir(paths.checkpoints).catch(() => [] as string[]);
  return names.flatMap((name) => (/^step-\d{6,}$/.test(name) ? [Number(name.slice(5))] : [])).sort((a, b) => a - b);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
