/** The forward process of denoising diffusion (Ho et al. 2020): how much noise each timestep holds, and what the model is to predict. */
import { findNearest, UserError } from "../errors.ts";

/**
 * What the network predicts: the noise (Ho et al. 2020) or the velocity (Salimans and Ho 2022). The tables of this folder are complete
 * over this type, so that another prediction ("flow") is a name here and what the compiler then finds missing.
 */
export type PredictionType = (typeof predictionTypes)[number];
const predictionTypes = ["epsilon", "v_prediction"] as const;

/** How beta runs from its start to its end: evenly, or evenly in its square root (Rombach et al. 2022). */
type BetaSchedule = (typeof betaSchedules)[number];
const betaSchedules = ["linear", "scaled_linear"] as const;

/** Which timesteps a sampler visits (Lin et al. 2023, table 2). */
export type TimestepSpacing = (typeof timestepSpacings)[number];
const timestepSpacings = ["leading", "trailing", "linspace"] as const;

/** What a schedule is made from. Fields that are left out are as Stable Diffusion has them. */
export interface ScheduleSettings {
  readonly predictionType: PredictionType;
  readonly trainTimesteps: number;
  readonly betaStart: number;
  readonly betaEnd: number;
  /** Default "scaled_linear". */
  readonly betaSchedule?: BetaSchedule;
  /** Shift and stretch the schedule so that its last timestep is pure noise (Lin et al. 2023). Default false. */
  readonly zeroTerminalSnr?: boolean;
  /** Default "leading". */
  readonly timestepSpacing?: TimestepSpacing;
  /** Added to "leading" timesteps. Default 1. */
  readonly stepsOffset?: number;
}

/** A schedule, worked out for each timestep in float64. */
export interface NoiseSchedule extends Required<ScheduleSettings> {
  /** Share of the signal's variance that is left at each timestep: alpha-bar of Ho et al. 2020, eq. 4. [trainTimesteps] */
  readonly alphasCumprod: Float64Array;
}

/**
 * @throws UserError when the numbers cannot be a schedule
 * @example createSchedule({ predictionType: "epsilon", trainTimesteps: 1000, betaStart: 0.00085, betaEnd: 0.012 });
 */
export function createSchedule(settings: ScheduleSettings): NoiseSchedule {
  const { trainTimesteps, betaStart, betaEnd, betaSchedule = "scaled_linear", zeroTerminalSnr = false } = settings;
  const { timestepSpacing = "leading", stepsOffset = 1 } = settings;
  if (!Number.isInteger(trainTimesteps) || trainTimesteps < 2) {
    throw new UserError(`A noise schedule needs at least 2 timesteps; num_train_timesteps is ${trainTimesteps}.`);
  }
  if (!(betaStart > 0 && betaStart <= betaEnd && betaEnd < 1)) {
    throw new UserError(`A noise schedule needs 0 < beta_start <= beta_end < 1; they are ${betaStart} and ${betaEnd}.`);
  }
  const alphasCumprod = new Float64Array(trainTimesteps);
  let product = 1;
  for (let t = 0; t < trainTimesteps; t++) {
    product *= 1 - betaAt[betaSchedule](betaStart, betaEnd, t / (trainTimesteps - 1));
    alphasCumprod[t] = product;
  }
  return {
    ...settings,
    betaSchedule,
    zeroTerminalSnr,
    timestepSpacing,
    stepsOffset,
    alphasCumprod: zeroTerminalSnr ? rescaleToZeroTerminalSnr(alphasCumprod) : alphasCumprod,
  };
}

/** Beta at a part of the way, 0 to 1. */
const betaAt: { readonly [K in BetaSchedule]: (start: number, end: number, part: number) => number } = {
  linear: (start, end, part) => start + (end - start) * part,
  scaled_linear: (start, end, part) => (Math.sqrt(start) + (Math.sqrt(end) - Math.sqrt(start)) * part) ** 2,
};

/** Lin et al. 2023 ("Common diffusion noise schedules and sample steps are flawed"), algorithm 1: the last value becomes 0. */
function rescaleToZeroTerminalSnr(alphasCumprod: Float64Array): Float64Array {
  const roots = alphasCumprod.map(Math.sqrt);
  const [first = 1, last = 0] = [roots[0], roots.at(-1)];
  return roots.map((root) => (((root - last) * first) / (first - last)) ** 2);
}

/** Signal-to-noise ratio of a timestep: alpha-bar / (1 - alpha-bar). */
export function snr(schedule: NoiseSchedule, timestep: number): number {
  const alpha = alphaAt(schedule, timestep);
  return alpha / (1 - alpha);
}

/**
 * Noisy latents: sqrt(alpha-bar) latents + sqrt(1 - alpha-bar) noise (Ho et al. 2020, eq. 4).
 *
 * @param latents a batch, row-major
 * @param noise as many
 * @param timesteps one for each picture of the batch
 */
export function addNoise(
  schedule: NoiseSchedule,
  latents: Float32Array,
  noise: Float32Array,
  timesteps: ArrayLike<number>,
): Float32Array {
  return combine("addNoise", schedule, latents, noise, timesteps, (alpha) => [Math.sqrt(alpha), Math.sqrt(1 - alpha)]);
}

/** What the network is to predict of `addNoise(...)`; parameters as there. */
export function target(
  schedule: NoiseSchedule,
  latents: Float32Array,
  noise: Float32Array,
  timesteps: ArrayLike<number>,
): Float32Array {
  return combine("target", schedule, latents, noise, timesteps, targetFactors[schedule.predictionType]);
}

/** Factors of latents and noise. Velocity: sqrt(alpha-bar) noise - sqrt(1 - alpha-bar) latents (Salimans and Ho 2022, eq. 9). */
const targetFactors: { readonly [K in PredictionType]: (alpha: number) => readonly [number, number] } = {
  epsilon: () => [0, 1],
  v_prediction: (alpha) => [-Math.sqrt(1 - alpha), Math.sqrt(alpha)],
};

/** For each picture: a latents + b noise, with a and b functions of its timestep's alpha-bar. */
function combine(
  where: string,
  schedule: NoiseSchedule,
  latents: Float32Array,
  noise: Float32Array,
  timesteps: ArrayLike<number>,
  factors: (alpha: number) => readonly [number, number],
): Float32Array {
  const size = latents.length / timesteps.length;
  if (latents.length !== noise.length || !Number.isInteger(size)) {
    throw new Error(
      `${where}: as much noise as latents, for ${timesteps.length} pictures needed, got ${noise.length} and ${latents.length}`,
    );
  }
  const out = new Float32Array(latents.length);
  for (let i = 0; i < timesteps.length; i++) {
    const [a, b] = factors(alphaAt(schedule, timesteps[i] ?? -1));
    for (let j = i * size; j < (i + 1) * size; j++) out[j] = a * (latents[j] ?? 0) + b * (noise[j] ?? 0);
  }
  return out;
}

function alphaAt({ alphasCumprod }: NoiseSchedule, timestep: number): number {
  const alpha = alphasCumprod[timestep];
  if (alpha === undefined)
    throw new Error(`schedule: a timestep from 0 to ${alphasCumprod.length - 1} needed, got ${timestep}`);
  return alpha;
}

/** diffusers' schedulers over the betas of Ho et al., and the spacing that each takes when the file names none. */
const schedulerSpacings: Readonly<Record<string, TimestepSpacing>> = {
  DDIMScheduler: "leading",
  DDPMScheduler: "leading",
  DEISMultistepScheduler: "linspace",
  DPMSolverMultistepScheduler: "linspace",
  DPMSolverSinglestepScheduler: "linspace",
  EulerAncestralDiscreteScheduler: "linspace",
  EulerDiscreteScheduler: "linspace",
  HeunDiscreteScheduler: "linspace",
  KDPM2AncestralDiscreteScheduler: "linspace",
  KDPM2DiscreteScheduler: "linspace",
  LCMScheduler: "leading",
  LMSDiscreteScheduler: "linspace",
  PNDMScheduler: "leading",
  UniPCMultistepScheduler: "linspace",
};

/**
 * A schedule from diffusers' scheduler_config.json; what it leaves out is as diffusers has it.
 *
 * @param json the parsed file
 * @param where the file, for messages
 * @throws UserError naming the field that is wrong or that is not supported
 */
export function parseSchedule(json: unknown, where = "scheduler/scheduler_config.json"): NoiseSchedule {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new UserError(`${where} does not hold a JSON object.`, { fix: SAME_MODEL });
  }
  const fields = new Map<string, unknown>(Object.entries(json));
  const className = readChoice(fields, "_class_name", Object.keys(schedulerSpacings), "DDIMScheduler", where);
  if ((fields.get("trained_betas") ?? null) !== null) throw refuse(fields, "trained_betas", "only null is supported", where);
  return createSchedule({
    predictionType: readChoice(fields, "prediction_type", predictionTypes, "epsilon", where),
    trainTimesteps: readNumber(fields, "num_train_timesteps", 1000, where),
    betaStart: readNumber(fields, "beta_start", 0.0001, where),
    betaEnd: readNumber(fields, "beta_end", 0.02, where),
    betaSchedule: readChoice(fields, "beta_schedule", betaSchedules, "linear", where),
    zeroTerminalSnr: fields.get("rescale_betas_zero_snr") === true,
    timestepSpacing: readChoice(fields, "timestep_spacing", timestepSpacings, schedulerSpacings[className] ?? "leading", where),
    stepsOffset: readNumber(fields, "steps_offset", 0, where),
  });
}

const SAME_MODEL = "Use a model that Gesso supports, with the scheduler_config.json that came with it.";

function readNumber(fields: ReadonlyMap<string, unknown>, name: string, fallback: number, where: string): number {
  const value = fields.get(name) ?? fallback;
  if (typeof value !== "number" || !Number.isFinite(value)) throw refuse(fields, name, "a number is needed", where);
  return value;
}

function readChoice<T extends string>(
  fields: ReadonlyMap<string, unknown>,
  name: string,
  choices: readonly T[],
  fallback: T,
  where: string,
): T {
  const value = fields.get(name) ?? fallback;
  const found = choices.find((choice) => choice === value);
  if (found !== undefined) return found;
  const nearest = typeof value === "string" ? findNearest(value, choices) : undefined;
  const hint = nearest === undefined ? "" : `; did it mean ${nearest}?`;
  throw refuse(fields, name, `supported: ${choices.join(", ")}${hint}`, where);
}

function refuse(fields: ReadonlyMap<string, unknown>, name: string, needed: string, where: string): UserError {
  return new UserError(`${where}: ${name} is ${JSON.stringify(fields.get(name))}; ${needed}.`, { fix: SAME_MODEL });
}
