import { describe, expect, it } from "vitest";
import { lossWeights, trainingNoise } from "./loss.ts";
import { normal } from "./philox.ts";
import { createSchedule, snr } from "./schedule.ts";

const settings = { predictionType: "epsilon", trainTimesteps: 1000, betaStart: 0.00085, betaEnd: 0.012 } as const;
const epsilon = createSchedule(settings);
const velocity = createSchedule({ ...settings, predictionType: "v_prediction" });

describe("lossWeights", () => {
  it("uniform weights are all 1", () => {
    expect(lossWeights(epsilon, { kind: "uniform" })).toEqual(new Float32Array(1000).fill(1));
  });

  it("min-SNR 5 for epsilon is 5 / SNR while SNR is above 5, and 1 below", () => {
    const weights = lossWeights(epsilon, { kind: "minSnr", gamma: 5 });
    // SNR of timestep 0 is 0.99915 / 0.00085 = 1175.47.
    expect(weights[0]).toBeCloseTo(5 / 1175.470588, 7);
    const crossing = weights.findIndex((weight) => weight === 1);
    expect(snr(epsilon, crossing - 1)).toBeGreaterThan(5);
    expect(snr(epsilon, crossing)).toBeLessThanOrEqual(5);
    expect(weights.slice(crossing).every((weight) => weight === 1)).toBe(true);
  });

  it("min-SNR 5 for velocity is min(SNR, 5) / (SNR + 1), and 0 where there is no signal", () => {
    const weights = lossWeights(velocity, { kind: "minSnr", gamma: 5 });
    expect(weights[0]).toBeCloseTo(5 / 1176.470588, 7);
    expect(weights[999]).toBeCloseTo(velocity.alphasCumprod[999] ?? 0, 7); // SNR / (SNR + 1) is alpha-bar
    const zeroTerminal = createSchedule({ ...settings, predictionType: "v_prediction", zeroTerminalSnr: true });
    expect(lossWeights(zeroTerminal, { kind: "minSnr", gamma: 5 })[999]).toBe(0);
  });

  it("a gamma that is not above 0 is refused", () => {
    expect(() => lossWeights(epsilon, { kind: "minSnr", gamma: 0 })).toThrow("gamma above 0 needed, got 0");
  });
});

describe("trainingNoise", () => {
  const key = { seed: 4, step: 10, sample: 2 };

  it("without an offset is the plain noise of its key", () => {
    expect(trainingNoise(key, [4, 8, 8], 0)).toEqual(normal({ ...key, purpose: "noise" }, 256));
  });

  it("an offset shifts each channel by a number of its own", () => {
    const plain = trainingNoise(key, [4, 8, 8], 0);
    const shifted = trainingNoise(key, [4, 8, 8], 0.1);
    const shifts = normal({ ...key, purpose: "noiseOffset" }, 4);
    shifted.forEach((x, i) => expect(x - (plain[i] ?? 0)).toBeCloseTo(0.1 * (shifts[Math.floor(i / 64)] ?? 0), 5));
    expect(new Set(shifts).size).toBe(4);
  });
});
