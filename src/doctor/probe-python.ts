/** Interpreters and the PyTorch in them: a quick question to Python, then the engine's own worker, as a run would start it. */
import { UserError } from "../errors.ts";
import { createTorchEngine } from "../engines/torch/engine.ts";
import type { Failure } from "../engines/torch/messages.ts";
import type { Outcome, PythonAnswer, PythonFacts, TorchFacts } from "./facts.ts";
import { oneLine, runTool, type ToolOptions } from "./run-tool.ts";

/** Loading PyTorch from a slow disk for the first time takes a while. */
const torchTimeoutMs = 120_000;

// The installed versions are read from the packages' records: nothing of PyTorch is loaded, which could fail or take long.
const question = `
import json, os, platform, struct, sys, sysconfig
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except Exception:
        return None
print(json.dumps({
    "version": platform.python_version(),
    "executable": sys.executable,
    "bits": struct.calcsize("P") * 8,
    "machine": platform.machine(),
    "isVirtual": sys.prefix != sys.base_prefix,
    "isConda": os.path.isdir(os.path.join(sys.prefix, "conda-meta")),
    "isFreeThreaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "torch": version("torch"),
    "numpy": version("numpy"),
}))
`;

/** What an interpreter is, and what it has installed. */
export async function askPython(python: string, options: ToolOptions): Promise<Outcome<PythonAnswer>> {
  const asked = await runTool(python, ["-c", question], options);
  if (asked.status !== "ok") return asked;
  try {
    const last = asked.value.trim().split("\n").at(-1) ?? "";
    return { status: "ok", value: JSON.parse(last) as PythonAnswer };
  } catch {
    return { status: "failed", said: oneLine(asked.value) || "it printed nothing" };
  }
}

/** An interpreter and, where PyTorch is installed in it, what the engine's worker finds. */
export async function probePython(python: string, origin: PythonFacts["origin"], options: ToolOptions): Promise<PythonFacts> {
  const answer = await askPython(python, options);
  const hasTorch = answer.status === "ok" && answer.value.torch !== null;
  return { path: python, origin, answer, torch: hasTorch ? await askTorch(python) : null };
}

/** Starts the engine's worker once and ends it. */
export async function askTorch(python: string, device = "auto"): Promise<TorchFacts> {
  let timer: NodeJS.Timeout | undefined;
  const tooLong = new Promise<TorchFacts>((resolve) => {
    timer = setTimeout(() => resolve({ status: "timed-out", afterMs: torchTimeoutMs }), torchTimeoutMs);
  });
  try {
    return await Promise.race([startOnce(python, device), tooLong]);
  } finally {
    clearTimeout(timer);
  }
}

async function startOnce(python: string, device: string): Promise<TorchFacts> {
  try {
    const engine = await createTorchEngine({ python, device });
    await engine.dispose();
    return { status: "ok", info: engine.device };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const failure = isFailure(error.cause) ? error.cause : { kind: "death" as const, message: error.message };
    return { status: "failed", kind: failure.kind, said: failure.message, message: error.message, fix: error.fix };
  }
}

function isFailure(value: unknown): value is Failure {
  return typeof value === "object" && value !== null && "kind" in value && "trace" in value;
}
