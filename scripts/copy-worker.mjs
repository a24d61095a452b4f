/**
 * Puts the torch engine's Python files beside the compiled engine, where it looks for them. Part of the build.
 *
 * Usage: node scripts/copy-worker.mjs
 */
import { cpSync, rmSync } from "node:fs";
import path from "node:path";

const root = path.dirname(import.meta.dirname);
if (process.argv.includes("--help")) {
  console.log("Usage: node scripts/copy-worker.mjs\nCopies src/engines/torch/worker/*.py into dist.");
} else {
  const target = path.join(root, "dist/engines/torch/worker");
  rmSync(target, { recursive: true, force: true });
  cpSync(path.join(root, "src/engines/torch/worker"), target, {
    recursive: true,
    filter: (source) => path.extname(source) === ".py" || path.basename(source) === "worker",
  });
}
