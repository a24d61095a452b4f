/** What `gesso setup torch` will do, decided before anything is done: which Python, which build, which commands. */
import { formatBytes } from "../../bytes.ts";
import { statfs } from "node:fs/promises";
import { existsSync, statSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { UserError } from "../../errors.ts";
import { ownTorchFolder, pythonIn } from "../../engines/torch/find-python.ts";
import type { GpuFacts, PythonAnswer, SystemFacts } from "../facts.ts";
import { probeGpus } from "../gather.ts";
import { askPython } from "../probe-python.ts";
import { probeSystem } from "../probe-system.ts";
import type { ToolOptions } from "../run-tool.ts";
import { type BuildName, buildNamed, chooseBuild, numpyFor, type TorchBuild } from "../torch-builds.ts";
import { findBasePython } from "./find-base.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface SetupOptions {
  readonly env: Environment;
  /** The user's own: used as it is where PyTorch is in it, and otherwise what the new environment is made with. */
  readonly python?: string | undefined;
  /** Chosen by the card when not given. */
  readonly build?: BuildName | undefined;
  /** Address of an index, a folder of wheels, or "default" for pip's own; the build's own when not given. */
  readonly index?: string | undefined;
  readonly installer?: "uv" | "pip" | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface SetupStep {
  /** "make an environment" */
  readonly what: string;
  readonly command: string;
  readonly args: readonly string[];
}

/** Everything is made in `stage`, a folder beside the final one, and put in its place when it works. */
export type SetupPlan =
  | {
      readonly kind: "install";
      readonly folder: string;
      readonly stage: string;
      readonly build: TorchBuild;
      readonly reason: string;
      readonly downloadBytes: number;
      readonly installedBytes: number;
      /** Whether the build was chosen for a card, which must then be found. */
      readonly needsCard: boolean;
      readonly python: string;
      readonly pythonVersion: string;
      readonly installer: "uv" | "pip";
      readonly steps: readonly SetupStep[];
    }
  | {
      readonly kind: "use";
      readonly folder: string;
      readonly stage: string;
      readonly python: string;
      readonly answer: PythonAnswer;
    };

const toolTimeoutMs = 20_000;

/**
 * Looks at the machine; nothing is changed.
 *
 * @throws UserError when no build fits, no Python does, or the disk is too full
 */
export async function planSetup(options: SetupOptions): Promise<SetupPlan> {
  const tool: ToolOptions = { timeoutMs: toolTimeoutMs, signal: options.signal };
  const folder = ownTorchFolder(options.env);
  const stage = `${folder}.setup-${process.pid}`;
  const given = options.python === undefined ? undefined : await askGiven(options.python, tool);
  if (given && given.torch !== null && options.build === undefined) {
    return { kind: "use", folder, stage, python: given.executable, answer: given };
  }
  const [system, gpu] = await Promise.all([probeSystem(tool), probeGpus(tool)]);
  const { build, reason, needsCard } = settleBuild(system, gpu, options.build);
  const base = await findBasePython(build, given, { system, tool });
  const installer = options.installer ?? (isOnSearchPath("uv", options.env) ? "uv" : "pip");
  const { executable: python, version: pythonVersion } = base;
  const steps = listSteps({ build, python, pythonVersion, installer, index: options.index, environment: join(stage, "env") });
  const plan = { kind: "install", folder, stage, build, reason, needsCard, installer, steps } as const;
  // pip's own index has no build for the processor alone on Linux: what it has is the one with CUDA.
  const { downloadBytes, installedBytes } =
    options.index === "default" && system.platform === "linux" ? buildNamed("cu128") : build;
  await needRoom(folder, build.name, downloadBytes + installedBytes);
  return { ...plan, downloadBytes, installedBytes, python, pythonVersion };
}

async function askGiven(python: string, tool: ToolOptions): Promise<PythonAnswer> {
  const answer = await askPython(python, tool);
  if (answer.status === "ok") return answer.value;
  const why = answer.status === "absent" ? "it is not there" : answer.status === "failed" ? answer.said : "it does not answer";
  throw new UserError(`${python} cannot be started: ${why}.`, {
    fix: "Give the path of a Python 3 interpreter with --python.",
  });
}

function settleBuild(
  system: SystemFacts,
  gpu: GpuFacts,
  asked: BuildName | undefined,
): { readonly build: TorchBuild; readonly reason: string; readonly needsCard: boolean } {
  if (asked !== undefined) return { build: buildNamed(asked), reason: "you chose it", needsCard: false };
  const { build, reason } = chooseBuild(system, gpu);
  if (build) return { build, reason, needsCard: build.name !== "cpu" };
  throw new UserError(`No PyTorch that Gesso installs fits this machine: ${reason}.`, {
    fix: "gesso doctor says more. --build cpu installs one for the processor; gesso train works without any.",
  });
}

async function needRoom(folder: string, name: string, needed: number): Promise<void> {
  let place = folder;
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  const { bavail, bsize } = await statfs(place);
  if (bavail * bsize >= needed) return;
  throw new UserError(
    `${formatBytes(bavail * bsize)} are free in ${place}, and PyTorch (${name}) needs ${formatBytes(needed)} while it is installed.`,
    {
      fix: `Make room, or set ${process.platform === "win32" ? "LOCALAPPDATA" : "XDG_DATA_HOME"} to a folder on another disk for gesso setup and gesso train alike.`,
    },
  );
}

/** Whether a program of that name lies on the search path. */
function isOnSearchPath(name: string, env: Environment): boolean {
  const file = process.platform === "win32" ? `${name}.exe` : name;
  return (env.PATH ?? "").split(delimiter).some((folder) => folder !== "" && existsSync(join(folder, file)));
}

interface StepChoices {
  readonly build: TorchBuild;
  readonly python: string;
  readonly pythonVersion: string;
  readonly installer: "uv" | "pip";
  readonly index: string | undefined;
  /** Folder that the environment is made in. */
  readonly environment: string;
}

/** The commands, in order. Pure but for looking whether `index` is a folder. */
export function listSteps({ build, python, pythonVersion, installer, index, environment }: StepChoices): readonly SetupStep[] {
  const inside = pythonIn(environment);
  const install = (what: string, packages: readonly string[], source: readonly string[]): SetupStep => {
    if (installer === "uv")
      return { what, command: "uv", args: ["pip", "install", "--python", inside, ...source, ...packages] };
    const pip = [
      "-m",
      "pip",
      "install",
      "--no-cache-dir",
      "--no-input",
      "--disable-pip-version-check",
      "--progress-bar",
      "off",
    ];
    return { what, command: inside, args: [...pip, ...source, ...packages] };
  };
  const folder = index !== undefined && isFolder(index) ? ["--no-index", "--find-links", resolve(index)] : undefined;
  const address = index === "default" ? null : (index ?? build.index);
  const make: SetupStep =
    installer === "uv"
      ? { what: "make an environment", command: "uv", args: ["venv", "--no-project", "--python", python, environment] }
      : { what: "make an environment", command: python, args: ["-m", "venv", environment] };
  return [
    make,
    // NumPy from pip's own index: PyTorch's has not every version of it.
    install("install NumPy", [numpyFor(pythonVersion)], folder ?? []),
    install(
      `install PyTorch ${build.torch} (${build.name})`,
      [`torch==${build.torch}`],
      folder ?? (address === null ? [] : ["--index-url", address]),
    ),
  ];
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
