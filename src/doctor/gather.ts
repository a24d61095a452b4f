/** Asks the machine everything that doctor judges: small questions, each with a time limit, those that take long one after the other. */
import { UserError } from "../errors.ts";
import { checkEngine } from "../engines/check-engine.ts";
import { chooseEngine, createChosenEngine, type EngineChoice } from "../engines/choose.ts";
import { createOrtEngine } from "../engines/ort/engine.ts";
import { createTorchEngine } from "../engines/torch/engine.ts";
import { findPythons, ownTorchFolder } from "../engines/torch/find-python.ts";
import type { DiskFacts, DiskRole, EngineFacts, GpuFacts, MachineFacts, PythonFacts } from "./facts.ts";
import { probeDisk } from "./probe-disk.ts";
import { probeNvidia } from "./probe-nvidia.ts";
import { probeAdapters, probeAmd, probeNodes, probeVulkan } from "./probe-other-gpus.ts";
import { probePython } from "./probe-python.ts";
import { probeMemory, probeProcessor, probeSystem } from "./probe-system.ts";
import type { ToolOptions } from "./run-tool.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface GatherOptions {
  readonly version: string;
  readonly env: Environment;
  /** Where runs are made, and where encodings are kept. */
  readonly runsFolder: string;
  readonly cacheFolder: string;
  /** Only this interpreter is looked at, when given. */
  readonly python?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told what is being looked at. */
  readonly onProgress?: ((what: string) => void) | undefined;
}

/** A driver that is stuck makes its tools hang; what needs longer is as good as not there. */
const toolTimeoutMs = 10_000;

const watchedVariables = [
  ...["LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX"],
  ...["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION"],
  ...["PYTORCH_CUDA_ALLOC_CONF", "NVIDIA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING"],
];

/** Everything that is known of this machine; where PyTorch is, loading it takes most of the time. */
export async function gatherFacts(options: GatherOptions): Promise<MachineFacts> {
  const { env, signal, onProgress = () => undefined } = options;
  const tool: ToolOptions = { timeoutMs: toolTimeoutMs, signal };
  onProgress("the system and its cards");
  const [system, processor, gpu] = await Promise.all([probeSystem(tool), probeProcessor(tool), probeGpus(tool)]);
  onProgress("the disks");
  const disks = await probeDisks(options);
  const pythons = await probePythons(options, tool);
  const { choice, choiceProblem } = await choose(options, pythons);
  const memory = probeMemory();
  const engines = await measureEngines(pythons, choice, options);
  const variables = readVariables(env);
  return {
    version: options.version,
    system,
    processor,
    memory,
    disks,
    gpu,
    pythons,
    variables,
    engines,
    choice,
    choiceProblem,
  };
}

/** An empty list of visible cards hides them all; otherwise an empty variable is as good as none. */
function readVariables(env: Environment): Readonly<Record<string, string>> {
  return Object.fromEntries(
    watchedVariables.flatMap((name) => {
      const value = env[name];
      return value === undefined || (value === "" && !name.endsWith("VISIBLE_DEVICES")) ? [] : [[name, value]];
    }),
  );
}

export async function probeGpus(options: ToolOptions): Promise<GpuFacts> {
  const { platform } = process;
  const [nvidia, amd, vulkan, adapters] = await Promise.all([
    probeNvidia(options),
    probeAmd(options),
    probeVulkan(options),
    probeAdapters(platform, options),
  ]);
  return { adapters, nodes: probeNodes(platform), nvidia, amd, vulkan };
}

async function probeDisks({ env, runsFolder, cacheFolder }: GatherOptions): Promise<readonly DiskFacts[]> {
  const places: readonly (readonly [DiskRole, string])[] = [
    ["runs", runsFolder],
    ["caches", cacheFolder],
    ["torch", ownTorchFolder(env)],
  ];
  const disks: DiskFacts[] = [];
  for (const [role, folder] of places) disks.push(await probeDisk(role, folder));
  return disks;
}

/** Those that a run may use, and the first on the search path, which is what many believe to be used. */
async function probePythons({ env, python, onProgress }: GatherOptions, tool: ToolOptions): Promise<readonly PythonFacts[]> {
  const found = python === undefined ? findPythons(env, { onSearchPath: true }) : [{ path: python, origin: "given" as const }];
  const pythons: PythonFacts[] = [];
  for (const { path, origin } of found) {
    onProgress?.(`Python and PyTorch (${path})`);
    // "python" is most often the same as "python3".
    if (path === "python" && pythons.some((other) => other.path === "python3" && other.answer.status === "ok")) continue;
    const facts = await probePython(path, origin, tool);
    if (facts.answer.status !== "absent" || origin !== "search path") pythons.push(facts);
  }
  return pythons;
}

/** As a run would choose, from what was found already. */
async function choose(
  { env, python }: GatherOptions,
  pythons: readonly PythonFacts[],
): Promise<Pick<MachineFacts, "choice" | "choiceProblem">> {
  try {
    const open = (path: string): Promise<ReturnType<typeof infoOf>> =>
      Promise.resolve().then(() => infoOf(pythons.find((facts) => facts.path === path)));
    return { choice: await chooseEngine({ python }, env, open), choiceProblem: null };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { choice: await chooseEngine({ engine: "ort" }, env), choiceProblem: error.message };
  }
}

function infoOf(facts: PythonFacts | undefined): Extract<PythonFacts["torch"], { status: "ok" }>["info"] {
  const torch = facts?.torch;
  if (torch?.status === "ok") return torch.info;
  const why = torch?.status === "failed" ? torch.message : torch ? "PyTorch does not load in time" : "it has no PyTorch";
  throw new UserError(facts?.answer.status === "absent" ? `Cannot start ${facts.path}: it is not there.` : why);
}

async function measureEngines(
  pythons: readonly PythonFacts[],
  choice: EngineChoice,
  { onProgress }: GatherOptions,
): Promise<readonly EngineFacts[]> {
  onProgress?.("how fast ONNX Runtime computes");
  const engines = [await measureOrt()];
  const python = choice.python ?? pythons.find(({ torch }) => torch?.status === "ok")?.path;
  if (python === undefined) return engines;
  onProgress?.("how fast PyTorch computes");
  return [...engines, await measureTorch(python, pythons, choice)];
}

async function measureOrt(): Promise<EngineFacts> {
  const from = { engine: "ort", python: null } as const;
  try {
    const engine = await createOrtEngine();
    try {
      return { ...from, device: "cpu", name: engine.profile.name, check: await checkEngine(engine) };
    } finally {
      await engine.dispose();
    }
  } catch (error) {
    return { ...from, ...problemOf(error) };
  }
}

async function measureTorch(python: string, pythons: readonly PythonFacts[], choice: EngineChoice): Promise<EngineFacts> {
  const from = { engine: "torch", python } as const;
  const torch = pythons.find(({ path }) => path === python)?.torch;
  const info = torch?.status === "ok" ? torch.info : undefined;
  try {
    const isChosen = choice.engine === "torch";
    // bfloat16 where it is there, since that is what a run would use on a card; as the choice says where it was made.
    const precision = isChosen ? choice.precision : info?.dtypes.includes("bfloat16") ? "bfloat16" : "float32";
    const engine = isChosen ? await createChosenEngine(choice) : await createTorchEngine({ python, precision });
    try {
      return { ...from, device: info?.device ?? "auto", name: engine.profile.name, check: await checkEngine(engine) };
    } finally {
      await engine.dispose();
    }
  } catch (error) {
    return { ...from, ...problemOf(error) };
  }
}

function problemOf(error: unknown): { readonly problem: string; readonly fix?: string | undefined } {
  if (error instanceof UserError) return { problem: error.message, fix: error.fix };
  return { problem: error instanceof Error ? error.message : String(error) };
}
