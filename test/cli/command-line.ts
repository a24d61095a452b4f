/** Runs command lines in this process, on real files below a temporary folder, and keeps what they print. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { runCli } from "../../src/cli/run.ts";

export interface CommandResult {
  readonly exitCode: number;
  readonly out: readonly string[];
  readonly err: readonly string[];
}

/**
 * Runs one command line as nobody watches it.
 *
 * @param interruptAt the first printed line for which it is true is answered with Ctrl-C
 */
export async function gesso(
  args: readonly string[],
  interruptAt: (line: string) => boolean = () => false,
): Promise<CommandResult> {
  const interrupt = new AbortController();
  const out: string[] = [];
  const err: string[] = [];
  const terminal = {
    out(text: string) {
      out.push(text);
      if (interruptAt(text)) interrupt.abort();
    },
    err: (text: string) => void err.push(text),
    status: () => undefined,
    isInteractive: false,
    columns: 100,
    signal: interrupt.signal,
  };
  const exitCode = await runCli(args, terminal, "0.0.0");
  return { exitCode, out, err };
}

/** A temporary folder for a test file, with a cache folder of its own, removed at the end. */
export function useTemporaryFolder(): (...path: string[]) => string {
  let root = "";
  // Nor is any Python found: what a command does by default is then the same everywhere.
  const { XDG_CACHE_HOME, LOCALAPPDATA, XDG_DATA_HOME, VIRTUAL_ENV, CONDA_PREFIX } = process.env;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "gesso-cli-"));
    Object.assign(process.env, {
      XDG_CACHE_HOME: join(root, "cache"),
      LOCALAPPDATA: join(root, "cache"),
      XDG_DATA_HOME: join(root, "data"),
    });
    for (const name of ["VIRTUAL_ENV", "CONDA_PREFIX"]) Reflect.deleteProperty(process.env, name);
  });
  afterAll(async () => {
    for (const [name, value] of Object.entries({ XDG_CACHE_HOME, LOCALAPPDATA, XDG_DATA_HOME, VIRTUAL_ENV, CONDA_PREFIX })) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
    await rm(root, { recursive: true });
  });
  return (...path) => join(root, ...path);
}
