/**
 * Makes a fresh clone ready: installs the packages when they are missing or the lock file changed, and builds when a source is newer
 * than the build. Plain JavaScript, since it runs before anything is installed.
 *
 * Usage: node scripts/ensure.mjs test | build
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import path from "node:path";

const root = path.dirname(import.meta.dirname);
process.chdir(root);

/** Runs a program with its output shown; ends with its exit code when it fails. */
function run(command, args) {
  const { status, error } = spawnSync(command, args, { stdio: "inherit", shell: process.platform === "win32" });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

function modifiedAt(file) {
  return existsSync(file) ? statSync(file).mtimeMs : 0;
}

function newestIn(folder) {
  return Math.max(0, ...readdirSync(folder, { recursive: true }).map((name) => modifiedAt(path.join(folder, name))));
}

if (modifiedAt("node_modules/.package-lock.json") < modifiedAt("package-lock.json")) run("npm", ["ci"]);
if (process.argv[2] === "build" && modifiedAt("dist/index.js") < Math.max(newestIn("src"), modifiedAt("tsconfig.build.json"))) {
  rmSync("dist", { recursive: true, force: true });
  run("npm", ["run", "--silent", "build"]);
}
