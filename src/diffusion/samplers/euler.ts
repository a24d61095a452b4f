/** Euler's method on the probability-flow equation: Karras et al. (2022), algorithm 2 without churn or correction. */
import { combine, type Sampler } from "./sampler.ts";

/** dx/dsigma = (x - denoised) / sigma (Karras et al. 2022, eq. 3), followed to the next sigma. */
export const euler: Sampler = async function* (denoise, sigmas, latents) {
  const total = sigmas.length - 1;
  let x = latents;
  for (let index = 0; index < total; index++) {
    const [sigma = 0, next = 0] = [sigmas[index], sigmas[index + 1]];
    const denoised = await denoise(x, sigma);
    x = combine(next / sigma, x, 1 - next / sigma, denoised);
    yield { index, total, sigma, denoised };
  }
  return x;
};
