import { describe, expect, it } from "vitest";
import { UserError } from "../errors.ts";
import { normal } from "./philox.ts";
import { addNoise, createSchedule, parseSchedule, snr, target } from "./schedule.ts";

const stableDiffusion = { predictionType: "epsilon", trainTimesteps: 1000, betaStart: 0.00085, betaEnd: 0.012 } as const;
const velocity = { ...stableDiffusion, predictionType: "v_prediction" } as const;

/** scheduler_config.json of SDXL 1.0. */
const sdxlConfig = {
  _class_name: "EulerDiscreteScheduler",
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  num_train_timesteps: 1000,
  prediction_type: "epsilon",
  steps_offset: 1,
  timestep_spacing: "leading",
  trained_betas: null,
};

describe("createSchedule", () => {
  it("has Stable Diffusion's known ends: alpha-bar 0.99915 to 0.0046601, sigma 0.02917 to 14.6146", () => {
    const { alphasCumprod } = createSchedule(stableDiffusion);
    const sigma = (t: number): number => Math.sqrt((1 - (alphasCumprod[t] ?? 0)) / (alphasCumprod[t] ?? 0));
    expect(alphasCumprod[0]).toBeCloseTo(1 - 0.00085, 12);
    expect(alphasCumprod[999]).toBeCloseTo(0.0046601, 6);
    // k-diffusion's and A1111's constants for SD 1.5, from float32 products.
    expect(sigma(0)).toBeCloseTo(0.029167532920837402, 5);
    expect(sigma(999)).toBeCloseTo(14.614642143249512, 3);
  });

  it("a linear schedule is the plain product of 1 - beta (Ho et al. 2020: about 4e-5 of the signal is left)", () => {
    const { alphasCumprod } = createSchedule({ ...stableDiffusion, betaSchedule: "linear", betaStart: 1e-4, betaEnd: 0.02 });
    let logProduct = 0;
    for (let t = 0; t < 1000; t++) logProduct += Math.log1p(-(1e-4 + (t * (0.02 - 1e-4)) / 999));
    expect(Math.log(alphasCumprod[999] ?? 0)).toBeCloseTo(logProduct, 9);
    expect(alphasCumprod[999]).toBeCloseTo(4.04e-5, 7);
  });

  it("with zero terminal SNR the first timestep stays and the last is pure noise", () => {
    const plain = createSchedule(stableDiffusion);
    const rescaled = createSchedule({ ...stableDiffusion, zeroTerminalSnr: true });
    expect(rescaled.alphasCumprod[0]).toBeCloseTo(plain.alphasCumprod[0] ?? 0, 12);
    expect(rescaled.alphasCumprod[999]).toBe(0);
    expect(snr(rescaled, 999)).toBe(0);
    for (let t = 1; t < 999; t++) expect(snr(rescaled, t)).toBeLessThan(snr(plain, t));
  });

  it("refuses betas that cannot be", () => {
    expect(() => createSchedule({ ...stableDiffusion, betaStart: 0 })).toThrow(
      "0 < beta_start <= beta_end < 1; they are 0 and 0.012",
    );
    expect(() => createSchedule({ ...stableDiffusion, trainTimesteps: 1 })).toThrow("at least 2 timesteps");
  });
});

describe("addNoise and target", () => {
  const latents = normal({ seed: 1, purpose: "noise", sample: 0 }, 12);
  const noise = normal({ seed: 1, purpose: "noise", sample: 1 }, 12);
  const timesteps = [0, 500, 999];

  it("noisy latents keep unit variance shares: sqrt(a) x + sqrt(1 - a) n, each picture at its own timestep", () => {
    const schedule = createSchedule(stableDiffusion);
    const noisy = addNoise(schedule, latents, noise, timesteps);
    timesteps.forEach((t, i) => {
      const alpha = schedule.alphasCumprod[t] ?? 0;
      for (let j = 4 * i; j < 4 * i + 4; j++) {
        expect(noisy[j]).toBeCloseTo(Math.sqrt(alpha) * (latents[j] ?? 0) + Math.sqrt(1 - alpha) * (noise[j] ?? 0), 6);
      }
    });
  });

  it("the epsilon target is the noise itself", () => {
    expect(target(createSchedule(stableDiffusion), latents, noise, timesteps)).toEqual(noise);
  });

  it("velocity and noisy latents give back latents and noise (Salimans and Ho 2022)", () => {
    const schedule = createSchedule(velocity);
    const noisy = addNoise(schedule, latents, noise, timesteps);
    const v = target(schedule, latents, noise, timesteps);
    noisy.forEach((x, j) => {
      const alpha = schedule.alphasCumprod[timesteps[Math.floor(j / 4)] ?? 0] ?? 0;
      expect(Math.sqrt(alpha) * x - Math.sqrt(1 - alpha) * (v[j] ?? 0)).toBeCloseTo(latents[j] ?? 0, 5);
      expect(Math.sqrt(1 - alpha) * x + Math.sqrt(alpha) * (v[j] ?? 0)).toBeCloseTo(noise[j] ?? 0, 5);
    });
  });

  it("a timestep outside the schedule or a batch that does not divide is refused", () => {
    const schedule = createSchedule(stableDiffusion);
    expect(() => addNoise(schedule, latents, noise, [1000])).toThrow("a timestep from 0 to 999 needed, got 1000");
    expect(() => addNoise(schedule, latents, noise, [1, 2, 3, 4, 5])).toThrow("for 5 pictures needed, got 12 and 12");
  });
});

describe("parseSchedule", () => {
  it("reads SDXL's file", () => {
    const { alphasCumprod, ...settings } = parseSchedule(sdxlConfig);
    expect(settings).toEqual({ ...stableDiffusion, betaSchedule: "scaled_linear", zeroTerminalSnr: false, timestepSpacing: "leading", stepsOffset: 1 }); // prettier-ignore
    expect(alphasCumprod).toEqual(createSchedule(stableDiffusion).alphasCumprod);
  });

  it("fills in what diffusers fills in, which depends on the class", () => {
    const euler = parseSchedule({ _class_name: "EulerDiscreteScheduler" });
    expect([euler.betaStart, euler.betaEnd, euler.betaSchedule, euler.timestepSpacing]).toEqual([
      0.0001,
      0.02,
      "linear",
      "linspace",
    ]);
    expect(parseSchedule({ _class_name: "PNDMScheduler" }).timestepSpacing).toBe("leading");
  });

  it("refuses by field, value and file what it does not know, and names the nearest", () => {
    const attempt = (change: object) => () => parseSchedule({ ...sdxlConfig, ...change }, "base/scheduler_config.json");
    expect(attempt({ prediction_type: "v-prediction" })).toThrow(
      'base/scheduler_config.json: prediction_type is "v-prediction"; supported: epsilon, v_prediction; did it mean v_prediction?',
    );
    expect(attempt({ prediction_type: "sample" })).toThrow(UserError);
    expect(attempt({ beta_schedule: "squaredcos_cap_v2" })).toThrow(
      'beta_schedule is "squaredcos_cap_v2"; supported: linear, scaled_linear',
    );
    expect(attempt({ trained_betas: [0.1] })).toThrow("trained_betas is [0.1]; only null is supported");
    expect(attempt({ _class_name: "FlowMatchEulerDiscreteScheduler" })).toThrow(
      '_class_name is "FlowMatchEulerDiscreteScheduler"',
    );
    expect(attempt({ beta_start: "0.1" })).toThrow('beta_start is "0.1"; a number is needed');
    expect(() => parseSchedule([])).toThrow("does not hold a JSON object");
  });
});
