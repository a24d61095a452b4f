/** What a sampler is: steps down a list of noise levels, in the variables of Karras et al. (2022). */

/**
 * The best guess of the clean latents.
 *
 * @param latents clean latents + sigma x unit noise
 * @param sigma the noise's standard deviation
 */
export type Denoiser = (latents: Float32Array, sigma: number) => Promise<Float32Array>;

/** What a step looked at. */
export interface SamplerStep {
  /** From 0. */
  readonly index: number;
  readonly total: number;
  readonly sigma: number;
  /** The guess of the clean latents at this step: what a preview shows. */
  readonly denoised: Float32Array;
}

/**
 * @param denoise called once a step
 * @param sigmas noise levels from high to low; 0 at the end for finished latents
 * @param latents at the first noise level; not changed
 * @param noise unit noise for a step; deterministic samplers do not ask for it
 * @returns yields each step, and returns the latents at the last noise level
 */
export type Sampler = (
  denoise: Denoiser,
  sigmas: ArrayLike<number>,
  latents: Float32Array,
  noise: (step: number) => Float32Array,
) => AsyncGenerator<SamplerStep, Float32Array, undefined>;

/** a x + b y, for each element. */
export function combine(a: number, x: Float32Array, b: number, y: Float32Array): Float32Array {
  return x.map((value, i) => a * value + b * (y[i] ?? 0));
}
