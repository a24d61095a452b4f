/** Where a Python with PyTorch may be. Nothing is started here. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

type Environment = Readonly<Record<string, string | undefined>>;

/** Gesso's own folder for a Python with PyTorch, by the custom of the system. */
export function ownTorchFolder(env: Environment): string {
  if (process.platform === "win32" && env.LOCALAPPDATA) return join(env.LOCALAPPDATA, "gesso", "torch");
  return join(env.XDG_DATA_HOME ?? join(homedir(), ".local", "share"), "gesso", "torch");
}

/** The interpreter of a virtual environment. */
function pythonIn(folder: string): string {
  return process.platform === "win32" ? join(folder, "Scripts", "python.exe") : join(folder, "bin", "python");
}

/**
 * Interpreters to try, the likeliest first: Gesso's own, then that of the active environment, and, where any will do, those on the search path.
 *
 * @param options.onSearchPath whether a Python that nobody pointed at may be tried too
 */
export function listPythons(env: Environment, { onSearchPath }: { readonly onSearchPath: boolean }): readonly string[] {
  const conda = env.CONDA_PREFIX === undefined || process.platform !== "win32" ? [] : [join(env.CONDA_PREFIX, "python.exe")];
  const folders = [ownTorchFolder(env), env.VIRTUAL_ENV, env.CONDA_PREFIX].filter((folder) => folder !== undefined);
  const pointedAt = [...folders.map(pythonIn), ...conda].filter((path) => existsSync(path));
  return onSearchPath ? [...pointedAt, "python3", "python"] : pointedAt;
}
