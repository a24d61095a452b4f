import { describe, expect, it } from "vitest";
import { UserError } from "../../errors.ts";
import { normal } from "../philox.ts";
import { addNoise, createSchedule, target } from "../schedule.ts";
import { createDenoiser, initialLatents, withGuidance } from "./denoiser.ts";
import { ancestralStep } from "./euler-ancestral.ts";
import type { Denoiser } from "./sampler.ts";
import { finish, parseSamplerName, samplerNames, samplers, type SamplerName } from "./samplers.ts";
import { karrasSigmas, modelSigmas, sigmaToTimestep, spacedTimesteps, timestepToSigma, trainSigmas } from "./sigmas.ts";

const settings = { predictionType: "epsilon", trainTimesteps: 1000, betaStart: 0.00085, betaEnd: 0.012 } as const;
const schedule = createSchedule(settings);

/** Data that is normal with this mean and deviation, for which the best denoiser and the exact solution are known. */
const [mean, deviation] = [0.7, 0.4];
const gaussian: Denoiser = (x, sigma) =>
  Promise.resolve(x.map((value) => (mean * sigma ** 2 + value * deviation ** 2) / (sigma ** 2 + deviation ** 2)));
/** The probability-flow equation keeps (x - mean) / sqrt(sigma^2 + deviation^2). */
const exact = (x: number, from: number, to: number): number =>
  mean + (x - mean) * Math.sqrt((to ** 2 + deviation ** 2) / (from ** 2 + deviation ** 2));

const noNoise = (): Float32Array => {
  throw new Error("a deterministic sampler asked for noise");
};

/** Evenly in log sigma, without the 0 at the end, where every sampler is of first order. */
function geometricSigmas(steps: number, from: number, to: number): number[] {
  return Array.from({ length: steps + 1 }, (_, i) => from * (to / from) ** (i / steps));
}

async function errorOf(name: SamplerName, sigmas: readonly number[]): Promise<number> {
  const [from = 0, to = 0] = [sigmas[0], sigmas.at(-1)];
  const start = Float32Array.of(9, -4, 0.5, 14);
  const result = await finish(samplers[name](gaussian, sigmas, start, noNoise));
  return Math.max(...result.map((x, i) => Math.abs(x - exact(start[i] ?? 0, from, to))));
}

describe("samplers against the exact solution for normally distributed data", () => {
  it("euler is of first order: twice the steps, half the error", async () => {
    const errors = [await errorOf("euler", geometricSigmas(40, 10, 0.1)), await errorOf("euler", geometricSigmas(80, 10, 0.1))];
    expect((errors[0] ?? 0) / (errors[1] ?? 1)).toBeGreaterThan(1.8);
    expect((errors[0] ?? 0) / (errors[1] ?? 1)).toBeLessThan(2.3);
  });

  it("dpmpp_2m is of second order: twice the steps, a quarter of the error", async () => {
    const errors = [
      await errorOf("dpmpp_2m", geometricSigmas(40, 10, 0.1)),
      await errorOf("dpmpp_2m", geometricSigmas(80, 10, 0.1)),
    ];
    expect((errors[0] ?? 0) / (errors[1] ?? 1)).toBeGreaterThan(3.4);
    expect((errors[0] ?? 0) / (errors[1] ?? 1)).toBeLessThan(4.8);
  });

  it.each(["euler", "dpmpp_2m"] as const)("%s with Karras' levels down to 0 lands where the equation does", async (name) => {
    expect(await errorOf(name, [...karrasSigmas(schedule, 200)])).toBeLessThan(0.02);
  });

  it("dpmpp_2m is nearer than euler at 20 steps", async () => {
    const sigmas = [...karrasSigmas(schedule, 20)];
    expect(await errorOf("dpmpp_2m", sigmas)).toBeLessThan((await errorOf("euler", sigmas)) / 2);
  });

  it("euler_a ends with the data's mean and deviation", async () => {
    const count = 20_000;
    const sigmas = karrasSigmas(schedule, 150);
    const start = initialLatents(normal({ seed: 1, purpose: "noise" }, count), sigmas[0] ?? 0);
    const noise = (step: number): Float32Array => normal({ seed: 1, purpose: "sampler", step }, count);
    const result = await finish(samplers.euler_a(gaussian, sigmas, start, noise));
    const average = result.reduce((sum, x) => sum + x, 0) / count;
    const variance = result.reduce((sum, x) => sum + (x - average) ** 2, 0) / count;
    expect(average).toBeCloseTo(mean, 1);
    expect(Math.sqrt(variance)).toBeGreaterThan(deviation * 0.95);
    expect(Math.sqrt(variance)).toBeLessThan(deviation * 1.05);
  });

  it("euler_a's two parts add up to the next level, and it adds nothing at the end", () => {
    const { down, up } = ancestralStep(5, 3);
    expect(down ** 2 + up ** 2).toBeCloseTo(9, 12);
    expect(up).toBeCloseTo(2.4, 12); // 3 / 5 x sqrt(25 - 9)
    expect(ancestralStep(5, 0)).toEqual({ down: 0, up: 0 });
  });
});

describe("every sampler", () => {
  it.each(samplerNames)("%s gives the same numbers for a seed, others for another, and tells each step", async (name) => {
    const sigmas = modelSigmas(schedule, 8);
    const run = async (seed: number): Promise<{ result: Float32Array; indices: number[] }> => {
      const indices: number[] = [];
      const start = initialLatents(normal({ seed, purpose: "noise" }, 16), sigmas[0] ?? 0);
      const noise = (step: number): Float32Array => normal({ seed, purpose: "sampler", step }, 16);
      const result = await finish(samplers[name](gaussian, sigmas, start, noise), ({ index }) => indices.push(index));
      return { result, indices };
    };
    const first = await run(1);
    expect(first.indices).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect((await run(1)).result).toEqual(first.result);
    expect((await run(2)).result).not.toEqual(first.result);
  });

  it.each(samplerNames)("%s leaves the latents that it was given as they were", async (name) => {
    const start = normal({ seed: 1, purpose: "noise" }, 16);
    const copy = start.slice();
    await finish(samplers[name](gaussian, modelSigmas(schedule, 4), start, () => new Float32Array(16)));
    expect(start).toEqual(copy);
  });

  it.each(samplerNames)("%s goes through every timestep of the schedule, the last twice, and stays finite", async (name) => {
    const sigmas = modelSigmas(schedule, 1000);
    expect(sigmas[0]).toBe(sigmas[1]);
    const result = await finish(samplers[name](gaussian, sigmas, Float32Array.of(3, -2), () => new Float32Array(2)));
    expect(result.every(Number.isFinite)).toBe(true);
  });

  it("an unknown name is refused with the nearest that is known", () => {
    const refusal = (name: string): UserError => {
      try {
        parseSamplerName(name);
      } catch (error) {
        if (error instanceof UserError) return error;
      }
      throw new Error("parseSamplerName did not throw a UserError");
    };
    expect(parseSamplerName("dpmpp_2m")).toBe("dpmpp_2m");
    expect(refusal("dpm++_2m")).toMatchObject({
      message: 'There is no sampler "dpm++_2m".',
      fix: "Did you mean dpmpp_2m? Choose one of euler, euler_a, dpmpp_2m.",
      exitCode: 2,
    });
    expect(refusal("unipc").fix).toBe("Choose one of euler, euler_a, dpmpp_2m.");
  });
});

describe("noise levels", () => {
  it("Karras' levels run from the schedule's greatest to its least, evenly in the seventh root, then 0", () => {
    const sigmas = karrasSigmas(schedule, 10);
    const known = trainSigmas(schedule);
    expect(sigmas[0]).toBeCloseTo(known.at(-1) ?? 0, 9);
    expect(sigmas[9]).toBeCloseTo(known[0] ?? 0, 9);
    expect(sigmas[10]).toBe(0);
    const roots = [...sigmas.slice(0, 10)].map((sigma) => sigma ** (1 / 7));
    for (let i = 2; i < 10; i++)
      expect((roots[i] ?? 0) - (roots[i - 1] ?? 0)).toBeCloseTo((roots[1] ?? 0) - (roots[0] ?? 0), 9);
  });

  it("timesteps are spaced as Lin et al. 2023, table 2, and diffusers space them", () => {
    const at = (spacing: "leading" | "trailing" | "linspace", stepsOffset: number, steps: number): number[] => [
      ...spacedTimesteps(createSchedule({ ...settings, timestepSpacing: spacing, stepsOffset }), steps),
    ];
    expect(at("leading", 0, 5)).toEqual([800, 600, 400, 200, 0]);
    expect(at("leading", 1, 5)).toEqual([801, 601, 401, 201, 1]);
    expect(at("trailing", 1, 5)).toEqual([999, 799, 599, 399, 199]);
    expect(at("linspace", 1, 5)).toEqual([999, 749.25, 499.5, 249.75, 0]);
    expect(at("leading", 1, 1000)[0]).toBe(999); // not beyond the last
    expect(at("trailing", 1, 30).slice(0, 3)).toEqual([999, 966, 932]);
  });

  it("the schedule's own levels are those of its timesteps", () => {
    const sigmas = modelSigmas(schedule, 4);
    const known = trainSigmas(schedule);
    expect([...sigmas]).toEqual([known[751], known[501], known[251], known[1], 0]);
  });

  it("timestep to sigma and back is the identity, between whole timesteps too", () => {
    for (const t of [0, 1, 17.25, 500, 749.25, 998.9, 999])
      expect(sigmaToTimestep(schedule, timestepToSigma(schedule, t))).toBeCloseTo(t, 7);
    expect(sigmaToTimestep(schedule, 100)).toBe(999);
    expect(sigmaToTimestep(schedule, 0.001)).toBe(0);
  });

  it("with zero terminal SNR the first level is 4096, not infinite", () => {
    const zero = createSchedule({
      ...settings,
      predictionType: "v_prediction",
      zeroTerminalSnr: true,
      timestepSpacing: "trailing",
    });
    expect(modelSigmas(zero, 4)[0]).toBeCloseTo(4096, 0);
  });

  it.each([0, 1.5, 1001, NaN])("%s steps are refused", (steps) => {
    expect(() => karrasSigmas(schedule, steps)).toThrow(UserError);
    expect(() => modelSigmas(schedule, steps)).toThrow(UserError);
  });
});

describe("createDenoiser", () => {
  it.each(["epsilon", "v_prediction"] as const)(
    "turns a perfect %s prediction into the clean latents",
    async (predictionType) => {
      const own = createSchedule({ ...settings, predictionType });
      const clean = normal({ seed: 3, purpose: "noise", sample: 0 }, 32);
      const noise = normal({ seed: 3, purpose: "noise", sample: 1 }, 32);
      for (const timestep of [3, 400, 999]) {
        const sigma = timestepToSigma(own, timestep);
        const denoise = createDenoiser(own, (scaled, t) => {
          expect(t).toBeCloseTo(timestep, 6);
          const trained = addNoise(own, clean, noise, [timestep]);
          scaled.forEach((x, i) => expect(x).toBeCloseTo(trained[i] ?? 0, 5)); // what the network saw in training
          return Promise.resolve(target(own, clean, noise, [timestep]));
        });
        const denoised = await denoise(clean.map((x, i) => x + sigma * (noise[i] ?? 0)), sigma); // prettier-ignore
        denoised.forEach((x, i) => expect(x).toBeCloseTo(clean[i] ?? 0, 4));
      }
    },
  );

  it("refuses a prediction of another size", async () => {
    const denoise = createDenoiser(schedule, () => Promise.resolve(new Float32Array(3)));
    await expect(denoise(new Float32Array(4), 1)).rejects.toThrow("a prediction of 4 numbers needed, got 3");
  });
});

describe("withGuidance", () => {
  const predict = (scale: number) =>
    withGuidance(() => Promise.resolve({ conditional: Float32Array.of(3, 1), unconditional: Float32Array.of(1, 1) }), scale);

  it.each([
    [1, [3, 1]],
    [0, [1, 1]],
    [7, [15, 1]],
  ])("scale %s goes from the unconditional prediction through the conditional to %j", async (scale, expected) => {
    expect([...(await predict(scale)(new Float32Array(2), 10))]).toEqual(expected);
  });
});
