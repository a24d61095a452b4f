/** Where a Python with PyTorch may be. Nothing is started here. */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

type Environment = Readonly<Record<string, string | undefined>>;

/** Gesso's own folder for a Python with PyTorch, by the custom of the system: an environment, or a record of where the user's is. */
export function ownTorchFolder(env: Environment): string {
  if (process.platform === "win32" && env.LOCALAPPDATA) return join(env.LOCALAPPDATA, "gesso", "torch");
  return join(env.XDG_DATA_HOME ?? join(homedir(), ".local", "share"), "gesso", "torch");
}

/** The file in Gesso's own folder that says what `gesso setup torch` did. */
export const recordName = "gesso-setup.json";

/** The interpreter of a virtual environment. */
export function pythonIn(folder: string): string {
  return process.platform === "win32" ? join(folder, "Scripts", "python.exe") : join(folder, "bin", "python");
}

/** The interpreter that `gesso setup torch --python` was told to use, if it was. */
function recordedPython(folder: string): string | undefined {
  try {
    const { python } = JSON.parse(readFileSync(join(folder, recordName), "utf8")) as { python?: unknown };
    return typeof python === "string" ? python : undefined;
  } catch {
    return undefined; // There is no record, or somebody has damaged it: then it is as if there were none.
  }
}

export interface FoundPython {
  readonly path: string;
  /** "gesso": its own, or the one that `gesso setup torch` was given; "environment": an active one. */
  readonly origin: "gesso" | "environment" | "search path";
}

/**
 * Interpreters to try, the likeliest first: Gesso's own, then that of the active environment, and, where any will do, those on the search path.
 *
 * @param options.onSearchPath whether a Python that nobody pointed at may be tried too
 */
export function findPythons(env: Environment, { onSearchPath }: { readonly onSearchPath: boolean }): readonly FoundPython[] {
  const own = ownTorchFolder(env);
  const recorded = recordedPython(own);
  const conda = env.CONDA_PREFIX === undefined || process.platform !== "win32" ? [] : [join(env.CONDA_PREFIX, "python.exe")];
  const active = [env.VIRTUAL_ENV, env.CONDA_PREFIX].filter((folder) => folder !== undefined).map(pythonIn);
  const found: FoundPython[] = [
    ...[recorded ?? pythonIn(own)].map((path): FoundPython => ({ path, origin: "gesso" })),
    ...[...active, ...conda].map((path): FoundPython => ({ path, origin: "environment" })),
  ];
  const there = found.filter(({ path }, i) => existsSync(path) && found.findIndex((other) => other.path === path) === i);
  if (!onSearchPath) return there;
  return [...there, { path: "python3", origin: "search path" }, { path: "python", origin: "search path" }];
}

/** The same as paths alone. */
export function listPythons(env: Environment, options: { readonly onSearchPath: boolean }): readonly string[] {
  return findPythons(env, options).map(({ path }) => path);
}
