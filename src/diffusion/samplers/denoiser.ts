/** From a network that predicts noise or velocity at a timestep to the denoiser that samplers ask. */
import type { NoiseSchedule, PredictionType } from "../schedule.ts";
import { combine, type Denoiser } from "./sampler.ts";
import { sigmaToTimestep } from "./sigmas.ts";

/**
 * The network: what it predicts of latents with unit variance at a timestep (which may lie between two).
 *
 * @param scaledLatents sqrt(alpha-bar) clean latents + sqrt(1 - alpha-bar) noise, as in training
 */
export type Predictor = (scaledLatents: Float32Array, timestep: number) => Promise<Float32Array>;

/**
 * A denoiser over a network (Karras et al. 2022, table 1, "VP"): scales the latents to what the network was trained on, and turns
 * its prediction into clean latents.
 */
export function createDenoiser(schedule: NoiseSchedule, predict: Predictor): Denoiser {
  const factors = denoisedFactors[schedule.predictionType];
  return async (latents, sigma) => {
    const scale = 1 / Math.sqrt(sigma ** 2 + 1); // sqrt(alpha-bar)
    const prediction = await predict(
      latents.map((x) => x * scale),
      sigmaToTimestep(schedule, sigma),
    );
    if (prediction.length !== latents.length) {
      throw new Error(`createDenoiser: a prediction of ${latents.length} numbers needed, got ${prediction.length}`);
    }
    const [a, b] = factors(sigma);
    return combine(a, latents, b, prediction);
  };
}

/** Clean latents are a x latents + b x prediction. */
const denoisedFactors: { readonly [K in PredictionType]: (sigma: number) => readonly [number, number] } = {
  epsilon: (sigma) => [1, -sigma],
  v_prediction: (sigma) => [1 / (sigma ** 2 + 1), -sigma / Math.sqrt(sigma ** 2 + 1)],
};

/**
 * Classifier-free guidance (Ho and Salimans 2022, eq. 6, with their w = scale - 1): away from what the network says without the
 * prompt. It is linear, so it may be applied to predictions as to denoised latents.
 *
 * @param predictBoth both predictions of the same latents; one run of the network with a batch of two
 * @param scale 1 is the conditional prediction alone
 */
export function withGuidance(
  predictBoth: (
    scaledLatents: Float32Array,
    timestep: number,
  ) => Promise<{ readonly conditional: Float32Array; readonly unconditional: Float32Array }>,
  scale: number,
): Predictor {
  return async (scaledLatents, timestep) => {
    const { conditional, unconditional } = await predictBoth(scaledLatents, timestep);
    return combine(scale, conditional, 1 - scale, unconditional);
  };
}

/**
 * Where sampling begins: noise with the variance that noisy latents of unit variance have at this sigma.
 */
export function initialLatents(unitNoise: Float32Array, sigma: number): Float32Array {
  const scale = Math.sqrt(sigma ** 2 + 1);
  return unitNoise.map((x) => x * scale);
}
