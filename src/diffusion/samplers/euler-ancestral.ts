/** Euler's method to a lower noise level than the next, and fresh noise back up to it: the ancestral sampling of Ho et al. (2020). */
import { combine, type Sampler } from "./sampler.ts";

/**
 * The level to step down to, and the noise to add there. The sum of variances is that of the next level, and `up` is the deviation of
 * the posterior q(x_next | x, x0): Song et al. (2021, DDIM), eq. 16 with eta = 1, in sigma.
 */
export function ancestralStep(sigma: number, next: number): { down: number; up: number } {
  const up = (next / sigma) * Math.sqrt(sigma ** 2 - next ** 2);
  return { down: Math.sqrt(next ** 2 - up ** 2), up };
}

export const eulerAncestral: Sampler = async function* (denoise, sigmas, latents, noise) {
  const total = sigmas.length - 1;
  let x = latents;
  for (let index = 0; index < total; index++) {
    const [sigma = 0, next = 0] = [sigmas[index], sigmas[index + 1]];
    const { down, up } = ancestralStep(sigma, next);
    const denoised = await denoise(x, sigma);
    x = combine(down / sigma, x, 1 - down / sigma, denoised);
    if (up > 0) x = combine(1, x, up, noise(index));
    yield { index, total, sigma, denoised };
  }
  return x;
};
