/** A run that found no memory: how to go on, and which settings would take how much less. */
import { isOutOfMemory } from "../engines/out-of-memory.ts";
import { UserError } from "../errors.ts";
import { formatBytes } from "../bytes.ts";
import { forecaster } from "./fit-run.ts";
import { datasetLoadOf } from "./forecast/forecast.ts";
import type { PreparedRun } from "./prepare.ts";
import { remediesFor } from "./remedies.ts";
import { checkpointPath, listCheckpoints } from "./run-folder.ts";

/** At most so many settings are named. */
const MOST_TOLD = 4;
/** What saves less than this share of the run's memory is not worth a word. */
const LEAST_SHARE = 0.01;

type Run = Pick<PreparedRun, "settings" | "base" | "run" | "engine" | "paths">;

/** The error as it is, or, where it means a lack of memory, one that says what to do about it. Forecasts take a few seconds each for SDXL. */
export async function adviseOnMemory(error: unknown, run: Run): Promise<unknown> {
  if (!(error instanceof UserError) || !isOutOfMemory(error)) return error;
  const last = (await listCheckpoints(run.paths)).at(-1);
  const goOn =
    last === undefined
      ? "Close other programs that use the memory"
      : `Close other programs that use the memory and go on (gesso train --resume ${run.paths.folder}; a run keeps its settings)`;
  const from = last === undefined ? "" : ` and --continue-from ${checkpointPath(run.paths, last)}/adapter.safetensors`;
  return new UserError(error.message, { fix: `${goOn}, or ${describeSavings(run, from)}.`, cause: error.cause });
}

function describeSavings(run: Run, from: string): string {
  const { settings, base, engine } = run;
  const forecast = forecaster(settings, { base, load: datasetLoadOf(run.run, base), device: engine, facts: engine });
  const now = forecast(settings).memory.peakBytes;
  const saved = remediesFor(settings).map(({ option, change }) => {
    return { option, bytes: now - forecast({ ...settings, ...change }).memory.peakBytes };
  });
  const told = saved.filter(({ bytes }) => bytes > LEAST_SHARE * now).toSorted((a, b) => b.bytes - a.bytes).slice(0, MOST_TOLD); // prettier-ignore
  if (told.length === 0) return `use a device with more: ${formatBytes(now)} were forecast, and no setting takes much less`;
  const list = told.map(({ option, bytes }) => `${option} saves ${formatBytes(bytes)}`);
  return `start a new run with less than the ${formatBytes(now)} that were forecast${from}: ${list.join(", ")}`;
}
