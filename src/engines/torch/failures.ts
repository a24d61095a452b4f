/** What went wrong in or with the worker, as something that a person can act on. */
import { UserError } from "../../errors.ts";
import type { Failure, FailureKind } from "./messages.ts";

/** The oldest PyTorch that the worker is written for. */
const oldestTorch = "2.5";
const useCpu = "or leave --engine out: Gesso then uses what it finds";

type Explain = (message: string, python: string) => { readonly message: string; readonly fix: string };

const explanations: { readonly [K in Exclude<FailureKind, "bug">]: Explain } = {
  "no-torch": (message, python) => ({
    message: `${python} cannot load PyTorch: ${message}.`,
    fix: `Have Gesso install one of its own (gesso setup torch), or install it there (${python} -m pip install torch numpy), ${useCpu}. gesso doctor tells more.`,
  }),
  version: (message, python) => ({
    message: `${python} has ${message}, which is too old for Gesso.`,
    fix: `Install PyTorch ${oldestTorch} or newer: ${python} -m pip install --upgrade torch.`,
  }),
  "cpu-build": (message) => ({
    message: `A GPU was asked for, but ${message}.`,
    fix: `Install the PyTorch for your card (gesso setup torch), or give another interpreter with --python, ${useCpu}.`,
  }),
  driver: (message) => ({
    message: `The graphics driver is too old for this PyTorch: ${message}`,
    fix: `Update the driver, or install a PyTorch that was built for an older one (gesso setup torch), ${useCpu}.`,
  }),
  "no-device": (message) => ({
    message: `A GPU was asked for, but there is none that can be used: ${message}.`.replace(/\.\.$/, "."),
    fix: `Let gesso doctor look what is in the way, ${useCpu}.`,
  }),
  memory: (message) => ({
    message: `PyTorch found no memory: ${firstLine(message)}`,
    fix: "Close other programs that use the GPU, or train with a smaller batch or resolution; a run that has begun goes on with --resume.",
  }),
  device: (message) => ({
    message: `The GPU failed: ${firstLine(message)}`,
    fix: "Go on from the last checkpoint with gesso train --resume; if it fails again, update the driver and check the card.",
  }),
  workers: (message) => ({
    message: `The workers cannot be what was asked for: ${message}.`,
    fix: "Give --gpus the number of all workers, which with --torchrun is nodes times processes on each (docs/engines.md).",
  }),
  file: (message) => ({ message, fix: "Put the file back or download it again, or choose the base model anew." }),
};

function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? text;
}

/** @param python the interpreter that the worker runs on */
export function explainFailure({ kind, message, trace }: Failure, python: string): Error {
  if (kind === "bug") return new Error(`torch: ${message}${trace === "" ? "" : `\n${trace}`}`);
  const { message: text, fix } = explanations[kind](message, python);
  // Whoever wants to tell causes apart (gesso doctor) reads them from the failure itself.
  return new UserError(text, { fix, cause: { kind, message, trace } satisfies Failure });
}

/** How a worker's process ended. */
export interface WorkerEnd {
  readonly rank: number;
  readonly code: number | null;
  readonly signal: string | null;
  /** The last that it wrote to its error stream. */
  readonly said: string;
}

/** How a worker ends that has lost another one (worker/parallel.py); what is behind it is how that one ended. */
const lostPeerCode = 5;

/**
 * Workers that ended before they were asked to, by the one that did so of itself.
 *
 * @param ends of those that were not ended by Gesso
 * @param said by each worker
 * @param workers started by Gesso itself; torchrun is one, whatever it starts
 */
export function explainEnd(ends: readonly WorkerEnd[], said: readonly string[], workers: number, python: string): Error {
  const failure = said.map((text) => /^gesso failure: (.*)$/m.exec(text)?.[1]).find((line) => line !== undefined);
  if (failure !== undefined) return explainFailure(JSON.parse(failure) as Failure, python);
  const rest = ends.filter(({ code }) => code !== 0 && code !== lostPeerCode);
  const first = rest.find(({ signal }) => signal !== null) ??
    rest[0] ??
    ends[0] ?? { rank: 0, code: null, signal: null, said: "" };
  const { rank, code, signal } = readTorchrun(first.said) ?? first;
  const how = signal === null ? `ended with code ${code ?? "unknown"}` : `was ended by ${signal}`;
  const why = signal === "SIGKILL" ? ", which is what a system does that runs out of memory" : "";
  const last =
    first.said
      .trim()
      .split("\n")
      .findLast((line) => /\w/.test(line)) ?? "";
  const who = workers === 1 && rank === first.rank ? "The PyTorch worker" : `PyTorch worker ${rank}`;
  return new UserError(`${who} ${how}${why}${last === "" || signal !== null ? "." : `: ${last}`}`, {
    fix: "Go on from the last checkpoint with gesso train --resume; with a smaller batch or resolution, where memory ran out.",
    // Nobody but the system ends it so.
    ...(signal === "SIGKILL" ? { cause: { kind: "memory", message: how, trace: "" } satisfies Failure } : {}),
  });
}

const signalNames: Readonly<Record<number, string>> = { 6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM" };

/** Which worker torchrun's report calls the first that failed. */
function readTorchrun(said: string): Pick<WorkerEnd, "rank" | "code" | "signal"> | undefined {
  const [, rank, exit] = /Root Cause[^]*?rank\s*: (\d+)[^]*?exitcode\s*: (-?\d+)/.exec(said) ?? [];
  if (rank === undefined || exit === undefined) return undefined;
  const code = Number(exit);
  return { rank: Number(rank), code, signal: code < 0 ? (signalNames[-code] ?? `signal ${-code}`) : null };
}

/** An interpreter that could not be started. */
export function explainNoPython(python: string, cause: NodeJS.ErrnoException): UserError {
  const why = cause.code === "ENOENT" ? "it is not there" : cause.code === "EACCES" ? "it may not be run" : cause.message;
  return new UserError(`Cannot start ${python}: ${why}.`, {
    fix: `Give a Python with PyTorch with --python, such as .venv/bin/python, ${useCpu}.`,
    cause,
  });
}
