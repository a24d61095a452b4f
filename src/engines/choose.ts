/** Which engine to use on this machine, and why. */
import { UserError } from "../errors.ts";
import type { FloatDType, QuantisedDType, WeightDType } from "../graph/graph.ts";
import { availableMemoryBytes } from "./available-memory.ts";
import { askModule } from "../processes.ts";
import type { DeviceProfile, EngineFacts } from "./engine.ts";
import { type MeasurableEngine, type MeasuredEngine, measureEngine } from "./measure-engine.ts";
import { createOrtEngine, ortFacts } from "./ort/engine.ts";
import { createTorchEngine, torchFacts } from "./torch/engine.ts";
import { listPythons } from "./torch/find-python.ts";
import type { DeviceInfo } from "./torch/messages.ts";

export const engineNames = ["auto", "ort", "torch"] as const;
export const precisions: readonly FloatDType[] = ["float32", "bfloat16", "float16"];
/** What the UNet's frozen weights can be kept in where it is not the precision that they are computed with. */
export const basePrecisions: readonly QuantisedDType[] = ["int8", "nf4"];

/** What the user asked for; the rest is found. */
export interface EngineRequest {
  readonly engine?: (typeof engineNames)[number] | undefined;
  /** Interpreter with torch; only it is tried then. */
  readonly python?: string | undefined;
  /** "cpu", "cuda", "cuda:1", "mps". */
  readonly device?: string | undefined;
  readonly precision?: FloatDType | undefined;
  readonly basePrecision?: QuantisedDType | undefined;
  /** Workers, each on a GPU of its own. */
  readonly gpus?: number | undefined;
  /** Arguments for torchrun, which then starts the workers, on other machines too. */
  readonly torchrun?: string | undefined;
}

/** An engine and how it is to be started: plain values, so that a plan can hold them. */
export interface EngineChoice {
  readonly engine: "ort" | "torch";
  /** Why this one. */
  readonly reason: string;
  readonly device: string;
  readonly precision: FloatDType;
  readonly precisionReason: string;
  /** Interpreter of the torch engine; null for the others. */
  readonly python: string | null;
  readonly gpus: number;
  readonly gpusReason: string;
  readonly basePrecision: WeightDType;
  readonly basePrecisionReason: string;
}

const asked = "you chose it";

/**
 * PyTorch where one with a GPU is found, the processor otherwise. A Python that nobody pointed at (by an option, an active environment,
 * `gesso setup torch`) is only looked for when the torch engine was asked for. Looking for one takes the seconds that loading PyTorch does.
 *
 * @param env where active environments are looked up; `process.env`, for one
 * @param open finds out what PyTorch an interpreter has; throws UserError where it cannot be used
 * @throws UserError when what was asked for cannot be had
 * @example const choice = await chooseEngine({ engine: "auto" }, process.env);
 */
export async function chooseEngine(
  request: EngineRequest,
  env: Readonly<Record<string, string | undefined>>,
  open: OpenTorch = openTorch,
): Promise<EngineChoice> {
  const { engine = "auto", python } = request;
  if (engine === "ort") return chooseOrt(request, asked);
  const pythons = python === undefined ? listPythons(env, { onSearchPath: engine === "torch" }) : [python];
  const { found, problem } = await findTorch(pythons, request.device ?? "auto", open);
  if (found && (engine === "torch" || found.info.device !== "cpu" || request.device !== undefined)) {
    return chooseTorch(request, found);
  }
  if (engine === "torch" || python !== undefined || request.device !== undefined) {
    if (problem !== undefined) throw problem;
    if (!found) throw noPython();
  }
  if (found) return chooseOrt(request, `${found.python} has PyTorch, but no GPU that it can use`);
  const why = problem === undefined ? "no PyTorch with a GPU was found" : `PyTorch cannot be used: ${problem.message}`;
  return chooseOrt(request, `the CPU; ${why}`);
}

/** Starts what was chosen. */
export function createChosenEngine({
  engine,
  device,
  precision,
  python,
  gpus,
  torchrun,
}: StartedChoice): Promise<MeasurableEngine> {
  if (engine === "ort") return createOrtEngine();
  return createTorchEngine({ python: python ?? "python3", device, precision, workers: gpus, torchrun });
}

type StartedChoice = Pick<EngineChoice, "engine" | "device" | "precision" | "python" | "gpus"> &
  Pick<EngineRequest, "torchrun">;

/** What is found on a device before a run. Plain data. */
export interface MeasuredDevice extends MeasuredEngine {
  /** Memory that a run could take now. */
  readonly freeBytes: number;
}

/** What a forecast has to know of an engine, before it is started. */
export function factsOf({ engine, device, precision }: Pick<EngineChoice, "engine" | "device" | "precision">): EngineFacts {
  return engine === "ort" ? ortFacts : torchFacts(device, precision);
}

/**
 * Measures an engine's rates, what is free and whether it computes rightly: two seconds on a processor, a few where PyTorch has to be loaded.
 * In a process of its own, since large arrays leave memory behind that the run would be counted with.
 */
export async function measureDevice(choice: StartedChoice): Promise<MeasuredDevice> {
  if (choice.engine === "torch") return measureTorch(choice);
  const measured: MeasuredEngine = await askModule(new URL("./ort/measure-process.js", import.meta.url), undefined);
  return { ...measured, freeBytes: freeOf(measured.profile, undefined) };
}

async function measureTorch(choice: StartedChoice): Promise<MeasuredDevice> {
  const engine = await createChosenEngine(choice);
  try {
    const { freeBytes } = await engine.memory();
    const measured = await measureEngine(engine);
    return { ...measured, freeBytes: freeOf(measured.profile, freeBytes) };
  } finally {
    await engine.dispose();
  }
}

/** @param freeBytes of a device with memory of its own */
function freeOf({ memoryBytes }: DeviceProfile, freeBytes: number | undefined): number {
  // What this process holds already counts as the run's own.
  return Math.min(memoryBytes, freeBytes ?? availableMemoryBytes() + process.memoryUsage.rss());
}

interface FoundTorch {
  readonly python: string;
  readonly info: DeviceInfo;
}

export type OpenTorch = (python: string, device: string) => Promise<DeviceInfo>;

/** Starts a worker and ends it. */
async function openTorch(python: string, device: string): Promise<DeviceInfo> {
  const engine = await createTorchEngine({ python, device });
  await engine.dispose();
  return engine.device;
}

/** The first that has a GPU, else the first that works, else what is wrong with the first. */
async function findTorch(
  pythons: readonly string[],
  device: string,
  open: OpenTorch,
): Promise<{ readonly found: FoundTorch | undefined; readonly problem: UserError | undefined }> {
  let found: FoundTorch | undefined;
  let problem: UserError | undefined;
  for (const python of pythons) {
    try {
      const info = await open(python, device);
      found ??= { python, info };
      if (info.device !== "cpu") return { found: { python, info }, problem: undefined };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      problem ??= error;
    }
  }
  return { found, problem: found ? undefined : problem };
}

function chooseTorch(request: EngineRequest, { python, info }: FoundTorch): EngineChoice {
  const { engine, device, basePrecision, gpus = 1 } = request;
  const name = info.name ?? "the processor";
  const why = engine === "torch" || device !== undefined ? `${asked}: ` : "";
  const usual = usualPrecision(info);
  const precision = request.precision ?? usual.precision;
  if (gpus > 1) checkGpus(request, info);
  return {
    engine: "torch",
    reason: `${why}PyTorch ${info.torch} on ${gpus === 1 ? "" : `${gpus} x `}${name}`,
    // Each worker takes the GPU of its number.
    device: gpus === 1 ? info.device : info.device.replace(/:.*/, ""),
    precision,
    precisionReason: request.precision === undefined ? usual.reason : asked,
    python,
    gpus,
    gpusReason: gpus === 1 ? "one worker" : `${asked}: each step is shared by so many workers`,
    basePrecision: basePrecision ?? precision,
    basePrecisionReason: basePrecision === undefined ? "the precision that it is computed with" : asked,
  };
}

/** @throws UserError for several workers where there is no place for them */
function checkGpus({ gpus = 1, device, torchrun }: EngineRequest, info: DeviceInfo): void {
  if (device?.includes(":") === true || info.device === "mps") {
    throw new UserError(`${gpus} workers cannot share ${device ?? info.device}.`, {
      fix: "Leave --gpus out, or give --device cuda: each worker then takes a GPU of its own.",
      exitCode: 2,
    });
  }
  if (torchrun !== undefined || info.device === "cpu" || info.deviceCount >= gpus) return;
  throw new UserError(`--gpus ${gpus} asks for more GPUs than PyTorch finds here: ${info.deviceCount}.`, {
    fix: `Give --gpus ${info.deviceCount}, or --torchrun for several machines (docs/engines.md).`,
    exitCode: 2,
  });
}

/** @throws UserError for what the CPU engine does not have */
function chooseOrt({ precision, device, basePrecision, gpus = 1 }: EngineRequest, reason: string): EngineChoice {
  const useTorch = (what: string, option: string): UserError =>
    new UserError(`The CPU engine ${what}; the torch engine does.`, {
      fix: `Leave --${option} out, or use --engine torch with --python.`,
      exitCode: 2,
    });
  if (basePrecision !== undefined) throw useTorch(`does not keep weights in ${basePrecision}`, "base-precision");
  if (gpus > 1) throw useTorch(`has one worker, not ${gpus}`, "gpus");
  if (precision !== undefined && precision !== "float32") {
    throw new UserError(`The CPU engine computes in float32, not in ${precision}.`, {
      fix: "Leave --precision out, or use --engine torch.",
      exitCode: 2,
    });
  }
  if (device !== undefined && device !== "cpu") {
    throw new UserError(`The CPU engine does not run on ${device}.`, {
      fix: "Leave --device out, or use --engine torch.",
      exitCode: 2,
    });
  }
  return {
    ...{ engine: "ort", reason, device: "cpu", python: null, gpus: 1, gpusReason: "one worker" },
    ...{ precision: "float32", precisionReason: "what it computes in" },
    ...{ basePrecision: "float32", basePrecisionReason: "what it computes in" },
  };
}

function usualPrecision({ device, dtypes }: DeviceInfo): { readonly precision: FloatDType; readonly reason: string } {
  if (!device.startsWith("cuda")) return { precision: "float32", reason: "narrow types are not measured on this device yet" };
  if (dtypes.includes("bfloat16")) {
    return { precision: "bfloat16", reason: "fast on this card; adapter, optimizer and loss stay float32" };
  }
  return { precision: "float16", reason: "the card has no bfloat16; adapter, optimizer and loss stay float32" };
}

function noPython(): UserError {
  return new UserError("No Python with PyTorch was found for the torch engine.", {
    fix: "Have Gesso install one (gesso setup torch), give one with --python, or leave --engine out to use the CPU.",
  });
}
