/**
 * Runs the tests of the torch engine (test/torch) on a Python with PyTorch: the one that GESSO_TORCH_PYTHON names, or .venv's, or that of the
 * active environment. `npm test` never needs one.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";

const help = `Usage: npm run test:torch [-- vitest's own arguments]

GESSO_TORCH_PYTHON=PATH   the interpreter; default: .venv in this folder, then the active virtual environment

Example: GESSO_TORCH_PYTHON=.venv/bin/python npm run test:torch -- test/torch/operators.test.ts`;

function findPython() {
  const inside = (folder) => path.join(folder, process.platform === "win32" ? "Scripts/python.exe" : "bin/python");
  const folders = [".venv", process.env.VIRTUAL_ENV, process.env.CONDA_PREFIX].filter((folder) => folder !== undefined);
  return process.env.GESSO_TORCH_PYTHON ?? folders.map(inside).find((file) => existsSync(file));
}

process.chdir(path.dirname(import.meta.dirname));
const args = process.argv.slice(2);
const python = findPython();
if (args.includes("--help")) {
  console.log(help);
} else if (python === undefined) {
  console.error(
    "No Python with PyTorch was found.\nFix: set GESSO_TORCH_PYTHON to one, or make .venv and install torch and numpy there.",
  );
  process.exitCode = 1;
} else {
  const vitest = path.join("node_modules", "vitest", "vitest.mjs");
  const chosen = args.some((arg) => arg.startsWith("test/")) ? args : ["test/torch", ...args];
  // Loading PyTorch on a busy machine takes long.
  const limits = ["--testTimeout", "600000", "--hookTimeout", "300000", "--maxWorkers", "1"];
  const env = { ...process.env, GESSO_TORCH_PYTHON: python };
  process.exitCode = spawnSync(process.execPath, [vitest, "run", ...chosen, ...limits], { stdio: "inherit", env }).status ?? 1;
}
