/** Carries out a setup plan: all in a folder beside the final one, which takes its place in one step once it is known to work. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { checkEngine, type EngineCheck, isRight } from "../../engines/check-engine.ts";
import { createTorchEngine } from "../../engines/torch/engine.ts";
import { ownTorchFolder, pythonIn, recordName } from "../../engines/torch/find-python.ts";
import type { DeviceInfo } from "../../engines/torch/messages.ts";
import { UserError } from "../../errors.ts";
import { explainInstall } from "./explain.ts";
import type { SetupPlan, SetupStep } from "./plan.ts";

export interface SetupHooks {
  readonly signal?: AbortSignal | undefined;
  /** A step begins. */
  readonly onStep?: ((what: string) => void) | undefined;
  /** A line that the installer printed. */
  readonly onLine?: ((line: string) => void) | undefined;
}

export interface SetupResult {
  readonly python: string;
  readonly info: DeviceInfo;
  readonly check: EngineCheck;
}

/** Kept of what an installer prints, for the reason of a failure. */
const mostSaid = 64 * 1024;

/**
 * Undefined when it was interrupted. Whatever happens, what was there before stays as it was until the new one works.
 *
 * @throws UserError saying in a sentence why it failed
 */
export async function runSetup(plan: SetupPlan, hooks: SetupHooks = {}): Promise<SetupResult | undefined> {
  const { folder, stage } = plan;
  await removeStages(folder);
  await mkdir(join(stage, "tmp"), { recursive: true });
  try {
    const environment = join(stage, "env");
    if (plan.kind === "install") {
      for (const step of plan.steps) {
        hooks.onStep?.(step.what);
        if (!(await runStep(step, stage, hooks))) return undefined;
      }
    } else await mkdir(environment);
    hooks.onStep?.("compute with it");
    const result = await prove(plan.kind === "use" ? plan.python : pythonIn(environment), plan);
    if (hooks.signal?.aborted) return undefined;
    await writeFile(join(environment, recordName), `${JSON.stringify(recordOf(plan, result.info), null, 2)}\n`);
    await replaceFolder(environment, folder, join(stage, "old"));
    return { ...result, python: plan.kind === "use" ? plan.python : pythonIn(folder) };
  } finally {
    await rm(stage, { recursive: true, force: true, maxRetries: 3 });
  }
}

function recordOf(plan: SetupPlan, { torch }: DeviceInfo): Readonly<Record<string, unknown>> {
  const madeBy = "gesso setup torch";
  if (plan.kind === "use") return { madeBy, python: plan.python, torch };
  return { madeBy, build: plan.build.name, torch, basePython: plan.python, installer: plan.installer };
}

/** False when it was interrupted. */
async function runStep({ command, args, what }: SetupStep, stage: string, { signal, onLine }: SetupHooks): Promise<boolean> {
  let said = "";
  /** Both streams come in pieces that end anywhere; each is told of line by line. */
  const listen = (stream: Readable): void => {
    let begun = "";
    const tell = (line: string): void => {
      if (line.trim() !== "") onLine?.(line.trim());
    };
    stream.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-mostSaid);
      const lines = (begun + text).split(/[\r\n]+/);
      begun = lines.pop() ?? "";
      lines.forEach(tell);
    });
    stream.on("end", () => tell(begun));
  };
  const code = await new Promise<number | null>((resolve, reject) => {
    const child = spawn(command, args, { env: stepEnvironment(stage), stdio: ["ignore", "pipe", "pipe"], windowsHide: true });
    const stop = (): void => void child.kill();
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
    listen(child.stdout);
    listen(child.stderr);
    child.on("error", reject);
    child.on("close", (status) => {
      signal?.removeEventListener("abort", stop);
      resolve(status);
    });
  }).catch((error: unknown) => {
    throw explainInstall(what, (error as Error).message);
  });
  if (signal?.aborted) return false;
  if (code !== 0) throw explainInstall(what, said);
  return true;
}

/**
 * Downloads are unpacked and kept inside the stage: the system's own folder for such things may be small, and nothing is left elsewhere. What
 * would make Python or pip act on another environment is taken away.
 */
function stepEnvironment(stage: string): NodeJS.ProcessEnv {
  const tmp = join(stage, "tmp");
  const kept = Object.entries(process.env).filter(([name]) => !misleading.has(name));
  const uv = { UV_CACHE_DIR: join(stage, "uv-cache"), UV_PYTHON_DOWNLOADS: "never" };
  return { ...Object.fromEntries(kept), ...uv, TMPDIR: tmp, TEMP: tmp, TMP: tmp, PYTHONUNBUFFERED: "1", PYTHONNOUSERSITE: "1" };
}

const misleading = new Set(["PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "PIP_TARGET", "PIP_USER", "PIP_PREFIX"]);

/** Loads PyTorch by the engine's own worker, and computes: what a run would do first. */
async function prove(python: string, plan: SetupPlan): Promise<Omit<SetupResult, "python">> {
  const engine = await createTorchEngine({ python });
  try {
    const { device: info } = engine;
    if (plan.kind === "install" && plan.needsCard && info.device === "cpu") {
      throw new UserError(
        `PyTorch was installed, but sees no card: ${info.build.gpuProblem ?? "no reason given"}. Nothing was left behind.`,
        {
          fix: "gesso doctor says more. --build cpu installs one for the processor.",
        },
      );
    }
    const check = await checkEngine(engine);
    if (isRight(check.matmul) && isRight(check.attention)) return { info, check };
    throw new UserError(`PyTorch ${info.torch} computes wrong on ${info.name ?? "the processor"}. Nothing was left behind.`, {
      fix: "Undo any overclocking and update the driver; gesso doctor says more.",
    });
  } finally {
    await engine.dispose();
  }
}

/** Puts `fresh` where `folder` is. What was there is only removed when the new one is in place. */
async function replaceFolder(fresh: string, folder: string, old: string): Promise<void> {
  const hadOne = existsSync(folder);
  if (hadOne) {
    needOwn(folder);
    await rename(folder, old);
  }
  try {
    await rename(fresh, folder);
  } catch (error) {
    if (hadOne) await rename(old, folder);
    throw error;
  }
}

/** A folder of that name that nobody but the user can have made is not Gesso's to remove. */
function needOwn(folder: string): void {
  if ([recordName, "pyvenv.cfg"].some((name) => existsSync(join(folder, name)))) return;
  throw new UserError(`${folder} is neither an environment nor made by Gesso.`, { fix: "Move it away, then try again." });
}

/** What setups left that were ended by force; those that still run keep theirs. */
async function removeStages(folder: string): Promise<readonly string[]> {
  const parent = dirname(folder);
  const prefix = `${basename(folder)}.setup-`;
  const names = existsSync(parent) ? await readdir(parent) : [];
  const dead = names.filter((name) => name.startsWith(prefix) && !isAlive(Number(name.slice(prefix.length))));
  for (const name of dead) await rm(join(parent, name), { recursive: true, force: true });
  return dead.map((name) => join(parent, name));
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/**
 * Removes what `gesso setup torch` made, and nothing else; an interpreter of the user's that it only took note of stays.
 *
 * @returns the folders that were removed
 */
export async function removeSetup(env: Readonly<Record<string, string | undefined>>): Promise<readonly string[]> {
  const folder = ownTorchFolder(env);
  const stages = await removeStages(folder);
  if (!existsSync(folder)) return stages;
  needOwn(folder);
  // Out of the way in one step: no run finds half of it.
  const doomed = `${folder}.setup-${process.pid}`;
  await rename(folder, doomed);
  await rm(doomed, { recursive: true, force: true, maxRetries: 3 });
  return [folder, ...stages];
}
