/** Counts the lines of the torch engine's worker, which is to stay small enough to be read in one go. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

export const workerFolder = path.join(import.meta.dirname, "../src/engines/torch/worker");
/** Lines of code that the worker may have. */
export const mostWorkerLines = 800;

/** Lines of a Python text that are neither blank nor of a comment or a docstring. */
export function countPythonLines(text: string): number {
  const withoutDocstrings = text.replace(/^[ \t]*"""[^]*?"""[ \t]*$/gm, "");
  return withoutDocstrings.split("\n").filter((line) => /^\s*[^\s#]/.test(line)).length;
}

/** Of all Python files of a folder together. */
export function countPythonFolder(folder: string): number {
  const files = readdirSync(folder).filter((name) => name.endsWith(".py"));
  return files.reduce((sum, name) => sum + countPythonLines(readFileSync(path.join(folder, name), "utf8")), 0);
}
