/** Which engine to use on this machine, and why. */
import { checkEngine, type EngineCheck } from "./check-engine.ts";
import { UserError } from "../errors.ts";
import type { FloatDType, QuantisedDType, WeightDType } from "../graph/graph.ts";
import { availableMemoryBytes } from "./available-memory.ts";
import type { DeviceProfile, Engine, EngineFacts } from "./engine.ts";
import { createOrtEngine } from "./ort/engine.ts";
import { createTorchEngine } from "./torch/engine.ts";
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
}: StartedChoice): Promise<Engine & { measureProfile(): Promise<DeviceProfile> }> {
  if (engine === "ort") return createOrtEngine();
  return createTorchEngine({ python: python ?? "python3", device, precision, workers: gpus, torchrun });
}

type StartedChoice = Pick<EngineChoice, "engine" | "device" | "precision" | "python" | "gpus"> &
  Pick<EngineRequest, "torchrun">;

/** What a forecast has to know of a device. */
export interface MeasuredDevice {
  /** With measured rates. */
  readonly profile: DeviceProfile;
  /** Memory that a run could take now. */
  readonly freeBytes: number;
  readonly facts: EngineFacts;
  /** Whether it computes rightly; undefined where that was not looked at. */
  readonly check?: EngineCheck | undefined;
}

/** Starts the engine, measures its rates, what is free and whether it computes rightly, and ends it: two seconds on a processor, a few where PyTorch has to be loaded. */
export async function measureDevice(choice: StartedChoice): Promise<MeasuredDevice> {
  const engine = await createChosenEngine(choice);
  try {
    const { freeBytes } = await engine.memory();
    const profile = await engine.measureProfile();
    // Of several workers each has a card of its own, and only the first would be looked at.
    const check = (engine.workers ?? 1) === 1 ? await checkEngine(engine) : undefined;
    const { composites, precision, overhead } = engine;
    return {
      profile,
      // What this process holds already counts as the run's own.
      freeBytes: Math.min(profile.memoryBytes, freeBytes ?? availableMemoryBytes() + process.memoryUsage.rss()),
      facts: { composites, precision, overhead },
      check,
    };
  } finally {
    await engine.dispose();
  }
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
