/** The Python that an environment is made with: the user's, or one that PyTorch has builds for. */
import { UserError } from "../../errors.ts";
import type { PythonAnswer, SystemFacts } from "../facts.ts";
import { majorMinor } from "../judge-python.ts";
import { askPython } from "../probe-python.ts";
import { runTool, type ToolOptions } from "../run-tool.ts";
import { compareVersions } from "../thresholds.ts";
import type { TorchBuild } from "../torch-builds.ts";
import { listOf } from "../words.ts";

/** In the order of how well they are supported. */
const versions = ["3.12", "3.13", "3.11", "3.10", "3.14"];

/** @throws UserError when none is there */
export async function findBasePython(
  build: TorchBuild,
  given: PythonAnswer | undefined,
  { system, tool }: { readonly system: SystemFacts; readonly tool: ToolOptions },
): Promise<PythonAnswer> {
  if (given) {
    const why = whyNot(given, build, system);
    if (why === undefined) return given;
    throw new UserError(`${given.executable} cannot be used: ${why}.`, { fix: "Give another with --python, or leave it out." });
  }
  const seen = new Map<string, string>();
  for await (const answer of candidates(build, system, tool)) {
    const why = whyNot(answer, build, system);
    if (why === undefined) return answer;
    seen.set(answer.executable, why);
  }
  const [oldest, newest] = build.python;
  const found = seen.size === 0 ? "none was found" : listOf([...seen].map(([path, why]) => `${path}: ${why}`));
  throw new UserError(`PyTorch ${build.torch} needs a Python ${oldest} to ${newest} (64 bit): ${found}.`, {
    fix: `${installAdvice(system)} Then run gesso setup torch again; --python PATH names one that lies elsewhere.`,
  });
}

async function* candidates(build: TorchBuild, system: SystemFacts, tool: ToolOptions): AsyncGenerator<PythonAnswer> {
  const isWindows = system.platform === "win32";
  for (const version of versions) {
    const path = isWindows
      ? await whereIs("py", [`-${version}`, "-c", "import sys; print(sys.executable)"], tool)
      : `python${version}`;
    if (path !== undefined) yield* ask(path, tool);
  }
  yield* ask("python3", tool);
  yield* ask("python", tool);
  const range = `>=${build.python[0]},<=${build.python[1]}.999`;
  const managed = await whereIs("uv", ["python", "find", "--no-python-downloads", "--no-project", range], tool);
  if (managed !== undefined) yield* ask(managed, tool);
}

async function* ask(path: string, tool: ToolOptions): AsyncGenerator<PythonAnswer> {
  const answer = await askPython(path, tool);
  if (answer.status === "ok") yield answer.value;
}

async function whereIs(command: string, args: readonly string[], tool: ToolOptions): Promise<string | undefined> {
  const asked = await runTool(command, args, tool);
  const path = asked.status === "ok" ? asked.value.trim() : "";
  return path === "" ? undefined : path;
}

/** Why an interpreter has no build of PyTorch, or undefined. */
export function whyNot(answer: PythonAnswer, build: TorchBuild, system: SystemFacts): string | undefined {
  const [oldest, newest] = build.python;
  const version = majorMinor(answer.version);
  if (compareVersions(version, oldest) < 0) return `${answer.version} is too old`;
  if (compareVersions(version, newest) > 0) return `${answer.version} is too new`;
  if (answer.bits !== 64) return `it is a ${answer.bits}-bit program`;
  if (answer.isFreeThreaded) return "it has no global lock, for which there are no builds";
  if (system.platform === "darwin" && answer.machine !== "arm64") return "it was built for Intel's processors";
  return undefined;
}

function installAdvice({ platform }: SystemFacts): string {
  if (platform === "win32") return "Install Python 3.12 from python.org or by winget install Python.Python.3.12.";
  if (platform === "darwin") return "Install Python 3.12 from python.org or by brew install python@3.12.";
  return "Install one with your distribution's package manager (python3.12 and python3.12-venv, for one), or by uv python install 3.12.";
}
