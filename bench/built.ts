/** Gesso as users have it: what runs from the sources, through a loader, is slower. */
import { execFile } from "node:child_process";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

const project = path.join(import.meta.dirname, "..");

/** A file of the built program, which is built first where a source is newer. @param file such as "cli/main.js" */
export async function builtFile(file: string): Promise<string> {
  await promisify(execFile)(process.execPath, [path.join(project, "scripts/ensure.mjs"), "build"], { cwd: project });
  return path.join(project, "dist", file);
}

/** A module of the built program. @param T `typeof import` of its source */
export async function importBuilt<T>(file: string): Promise<T> {
  return (await import(pathToFileURL(await builtFile(file)).href)) as T;
}
