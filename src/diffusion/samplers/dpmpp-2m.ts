/** DPM-Solver++(2M): Lu et al. (2022, "DPM-Solver++"), algorithm 2. */
import { combine, type Sampler } from "./sampler.ts";

/**
 * The exact solution for the linear part, in lambda = -log sigma, with the denoised latents carried on in a straight line through the
 * last two. The first step, having no step before it (or one of no length), and a step to sigma = 0, where lambda is infinite, are of first order.
 */
export const dpmpp2m: Sampler = async function* (denoise, sigmas, latents) {
  const total = sigmas.length - 1;
  let x = latents;
  let before: { denoised: Float32Array; sigma: number } | undefined;
  for (let index = 0; index < total; index++) {
    const [sigma = 0, next = 0] = [sigmas[index], sigmas[index + 1]];
    const denoised = await denoise(x, sigma);
    let direction = denoised;
    if (before && before.sigma > sigma && next > 0) {
      const ratio = Math.log(before.sigma / sigma) / Math.log(sigma / next); // r of the paper: the last step over this one
      direction = combine(1 + 1 / (2 * ratio), denoised, -1 / (2 * ratio), before.denoised);
    }
    x = combine(next / sigma, x, 1 - next / sigma, direction); // e^-h = next / sigma
    before = { denoised, sigma };
    yield { index, total, sigma, denoised };
  }
  return x;
};
