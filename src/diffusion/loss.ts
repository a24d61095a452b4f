/** What a timestep's squared error counts for, and the noise that training adds. */
import { normal, type RandomKey } from "./philox.ts";
import { snr, type NoiseSchedule, type PredictionType } from "./schedule.ts";

/** How much the timesteps count in the loss. */
export type LossWeighting =
  | { readonly kind: "uniform" }
  /** Min-SNR (Hang et al. 2023); the paper's gamma is 5. */
  | { readonly kind: "minSnr"; readonly gamma: number };

/**
 * The weight of each timestep's mean squared error.
 *
 * @returns [trainTimesteps]
 * @throws Error when gamma is not above 0
 * @example const weights = lossWeights(schedule, { kind: "minSnr", gamma: 5 }); weights[timestep];
 */
export function lossWeights(schedule: NoiseSchedule, weighting: LossWeighting): Float32Array {
  switch (weighting.kind) {
    case "uniform":
      return new Float32Array(schedule.trainTimesteps).fill(1);
    case "minSnr": {
      const { gamma } = weighting;
      if (!(gamma > 0)) throw new Error(`lossWeights: gamma above 0 needed, got ${gamma}`);
      const weigh = minSnrWeight[schedule.predictionType];
      return Float32Array.from({ length: schedule.trainTimesteps }, (_, t) => weigh(snr(schedule, t), gamma));
    }
  }
}

/**
 * Hang et al. 2023, section 3.4: min(SNR, gamma) on the error of the predicted latents, said in terms of what is predicted: the error
 * of the latents is that of the noise / SNR, and that of the velocity / (SNR + 1).
 */
const minSnrWeight: { readonly [K in PredictionType]: (snr: number, gamma: number) => number } = {
  epsilon: (ratio, gamma) => (ratio === 0 ? 1 : Math.min(ratio, gamma) / ratio),
  v_prediction: (ratio, gamma) => Math.min(ratio, gamma) / (ratio + 1),
};

/**
 * The noise of one picture in training. An offset adds one normal number, times the offset, to all of a channel, so that the
 * model learns to change the overall brightness (Guttenberg 2023, "Diffusion with offset noise").
 *
 * @param key seed, step and sample
 * @param shape [channels, height, width] of the latents
 * @param offset 0 for none; SDXL itself was trained with 0.0357
 */
export function trainingNoise(
  key: Omit<RandomKey, "purpose">,
  shape: readonly [channels: number, height: number, width: number],
  offset: number,
): Float32Array {
  const [channels, height, width] = shape;
  const noise = normal({ ...key, purpose: "noise" }, channels * height * width);
  if (offset === 0) return noise;
  const shifts = normal({ ...key, purpose: "noiseOffset" }, channels);
  return noise.map((x, i) => x + offset * (shifts[Math.floor(i / (height * width))] ?? 0));
}
