/** Samplers, their noise levels and the noise schedule against diffusers' numbers, over a model that anyone can compute: a x + b. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { lossWeights } from "../../src/diffusion/loss.ts";
import { parseSchedule, snr, type NoiseSchedule } from "../../src/diffusion/schedule.ts";
import { createDenoiser, initialLatents } from "../../src/diffusion/samplers/denoiser.ts";
import type { Denoiser } from "../../src/diffusion/samplers/sampler.ts";
import { finish, samplers, type SamplerName } from "../../src/diffusion/samplers/samplers.ts";
import { karrasSigmas, modelSigmas } from "../../src/diffusion/samplers/sigmas.ts";

interface SamplerRun {
  readonly options: Readonly<Record<string, unknown>>;
  readonly timesteps: readonly number[];
  readonly sigmas: readonly number[];
  /** Before the first step and after each. */
  readonly latents: readonly (readonly number[])[];
}

interface SamplerCase {
  readonly a: number;
  readonly b: number;
  readonly steps: number;
  readonly schedule: Readonly<Record<string, unknown>>;
  readonly unitNoise: readonly number[];
  readonly stepNoise: readonly (readonly number[])[];
  readonly runs: Readonly<Record<string, SamplerRun>>;
  readonly ddpm: {
    readonly timesteps: readonly number[];
    readonly alphasCumprod: readonly number[];
    readonly snr: readonly number[];
    readonly minSnrGamma: number;
    readonly minSnrWeightEpsilon: readonly number[];
    readonly minSnrWeightVPrediction: readonly number[];
  };
}

const file = path.join(import.meta.dirname, "fixtures/samplers/case.json");
const stored = JSON.parse(readFileSync(file, "utf8")) as SamplerCase;

/** Of latents, on the sigmas that diffusers found: float32 rounding. */
const STEP_TOLERANCE = 1e-6;
/** Of our own sigmas, and of the latents that they lead to: diffusers multiplies its alphas in float32, and 1 - alpha-bar cancels where it is small. */
const SIGMA_TOLERANCE = 2e-5;
const OWN_PATH_TOLERANCE = 1e-5;
/** Of signal-to-noise ratios and what is made of them: the same cancellation. */
const SNR_TOLERANCE = 5e-5;

const samplerOf: Readonly<Record<string, SamplerName>> = {
  "euler-ancestral": "euler_a",
  euler: "euler",
  "dpmpp-2m": "dpmpp_2m",
};

function samplerFor(run: string): SamplerName {
  const prefix = Object.keys(samplerOf).find((start) => run.startsWith(start));
  const name = prefix && samplerOf[prefix];
  if (!name) throw new Error(`no sampler for the run ${run}`);
  return name;
}

function scheduleOf(run: SamplerRun): NoiseSchedule {
  return parseSchedule({ ...stored.schedule, ...run.options });
}

/** Our levels for a run's options. */
function ownSigmas(run: SamplerRun): Float64Array {
  const schedule = scheduleOf(run);
  return run.options["use_karras_sigmas"] === true ? karrasSigmas(schedule, stored.steps) : modelSigmas(schedule, stored.steps);
}

/** Our sampler's latents before the first step and after each, and the timesteps that it asked the model at. */
async function sample(name: string, run: SamplerRun, sigmas: ArrayLike<number>) {
  const latents: Float32Array[] = [];
  const timesteps: number[] = [];
  const denoise = createDenoiser(scheduleOf(run), (x, timestep) => {
    timesteps.push(timestep);
    return Promise.resolve(x.map((value) => stored.a * value + stored.b));
  });
  const watched: Denoiser = (x, sigma) => {
    latents.push(x.slice());
    return denoise(x, sigma);
  };
  const start = initialLatents(Float32Array.from(stored.unitNoise), sigmas[0] ?? 0);
  const noise = (step: number): Float32Array => Float32Array.from(stored.stepNoise[step] ?? []);
  latents.push(await finish(samplers[samplerFor(name)](watched, sigmas, start, noise)));
  return { latents, timesteps };
}

/** Euclidean norm of the difference over that of the expected. */
function relativeDifference(actual: ArrayLike<number>, expected: readonly number[]): number {
  return Math.hypot(...expected.map((x, i) => (actual[i] ?? NaN) - x)) / Math.hypot(...expected);
}

function expectPath(actual: readonly Float32Array[], expected: SamplerRun["latents"], tolerance: number): void {
  expect(actual).toHaveLength(expected.length);
  const worst = Math.max(...expected.map((x, i) => relativeDifference(actual[i] ?? [], x)));
  expect(worst).toBeLessThan(tolerance);
}

function expectEach(actual: readonly number[], expected: readonly number[], tolerance: number): void {
  expect(actual).toHaveLength(expected.length);
  const worst = Math.max(...expected.map((x, i) => (x === actual[i] ? 0 : Math.abs((actual[i] ?? NaN) / x - 1))));
  expect(worst).toBeLessThan(tolerance);
}

describe.each(Object.entries(stored.runs))("%s", (name, run) => {
  test("on diffusers' sigmas, the latents of every step are diffusers'", async () => {
    const { latents } = await sample(name, run, run.sigmas);
    expectPath(latents, run.latents, STEP_TOLERANCE);
  });

  test("our own sigmas are diffusers', and so is where they lead", async () => {
    const sigmas = ownSigmas(run);
    expectEach([...sigmas], run.sigmas, SIGMA_TOLERANCE);
    const { latents } = await sample(name, run, sigmas);
    expectPath(latents, run.latents, OWN_PATH_TOLERANCE);
  });

  test("the model is asked at diffusers' timesteps", async () => {
    const { timesteps } = await sample(name, run, run.sigmas);
    // Its DPM-Solver rounds those of Karras' sigmas to whole ones.
    const allowed = name.startsWith("dpmpp-2m-karras") ? 0.5 : 1e-3;
    const worst = Math.max(...run.timesteps.map((timestep, i) => Math.abs(timestep - (timesteps[i] ?? NaN))));
    expect(worst).toBeLessThanOrEqual(allowed);
  });
});

describe("the DDPM schedule", () => {
  const { ddpm } = stored;
  const schedule = parseSchedule(stored.schedule);
  const at = (predictionType: string): readonly number[] => {
    const weights = lossWeights(parseSchedule({ ...stored.schedule, prediction_type: predictionType }), {
      kind: "minSnr",
      gamma: ddpm.minSnrGamma,
    });
    return ddpm.timesteps.map((timestep) => weights[timestep] ?? NaN);
  };

  test("alpha-bar and signal-to-noise ratios are diffusers'", () => {
    expectEach(ddpm.timesteps.map((timestep) => schedule.alphasCumprod[timestep] ?? NaN), ddpm.alphasCumprod, 1e-6); // prettier-ignore
    expectEach(ddpm.timesteps.map((timestep) => snr(schedule, timestep)), ddpm.snr, SNR_TOLERANCE); // prettier-ignore
  });

  test("min-SNR weights are those of diffusers' ratios, for noise and for velocity", () => {
    expectEach(at("epsilon"), ddpm.minSnrWeightEpsilon, SNR_TOLERANCE);
    expectEach(at("v_prediction"), ddpm.minSnrWeightVPrediction, SNR_TOLERANCE);
  });
});
