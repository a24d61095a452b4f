/** Which engine to use on this machine, and why. */
import { UserError } from "../errors.ts";
import type { FloatDType } from "../graph/graph.ts";
import { availableMemoryBytes } from "./available-memory.ts";
import type { DeviceProfile, Engine, EngineFacts } from "./engine.ts";
import { createOrtEngine } from "./ort/engine.ts";
import { createTorchEngine } from "./torch/engine.ts";
import { listPythons } from "./torch/find-python.ts";
import type { DeviceInfo } from "./torch/messages.ts";

export const engineNames = ["auto", "ort", "torch"] as const;
export const precisions: readonly FloatDType[] = ["float32", "bfloat16", "float16"];

/** What the user asked for; the rest is found. */
export interface EngineRequest {
  readonly engine?: (typeof engineNames)[number] | undefined;
  /** Interpreter with torch; only it is tried then. */
  readonly python?: string | undefined;
  /** "cpu", "cuda", "cuda:1", "mps". */
  readonly device?: string | undefined;
  readonly precision?: FloatDType | undefined;
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
}: StartedChoice): Promise<Engine & { measureProfile(): Promise<DeviceProfile> }> {
  if (engine === "ort") return createOrtEngine();
  return createTorchEngine({ python: python ?? "python3", device, precision });
}

type StartedChoice = Pick<EngineChoice, "engine" | "device" | "precision" | "python">;

/** What a forecast has to know of a device. */
export interface MeasuredDevice {
  /** With measured rates. */
  readonly profile: DeviceProfile;
  /** Memory that a run could take now. */
  readonly freeBytes: number;
  readonly facts: EngineFacts;
}

/** Starts the engine, measures its rates and what is free, and ends it: a second on a processor, a few where PyTorch has to be loaded. */
export async function measureDevice(choice: StartedChoice): Promise<MeasuredDevice> {
  const engine = await createChosenEngine(choice);
  try {
    const { freeBytes } = await engine.memory();
    const profile = await engine.measureProfile();
    const { composites, precision, overhead } = engine;
    return {
      profile,
      freeBytes: Math.min(profile.memoryBytes, freeBytes ?? availableMemoryBytes()),
      facts: { composites, precision, overhead },
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

function chooseTorch({ engine, device, precision }: EngineRequest, { python, info }: FoundTorch): EngineChoice {
  const name = info.name ?? "the processor";
  const why = engine === "torch" || device !== undefined ? `${asked}: ` : "";
  const usual = usualPrecision(info);
  return {
    engine: "torch",
    reason: `${why}PyTorch ${info.torch} on ${name}`,
    device: info.device,
    precision: precision ?? usual.precision,
    precisionReason: precision === undefined ? usual.reason : asked,
    python,
  };
}

/** @throws UserError for a precision that the CPU engine does not have */
function chooseOrt({ precision, device }: EngineRequest, reason: string): EngineChoice {
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
  return { engine: "ort", reason, device: "cpu", precision: "float32", precisionReason: "what it computes in", python: null };
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
