/** Which noise levels a sampler visits. A level is sigma: the noise's deviation over the signal's, sqrt((1 - alpha-bar) / alpha-bar). */
import { UserError } from "../../errors.ts";
import type { NoiseSchedule, TimestepSpacing } from "../schedule.ts";

/**
 * Alpha-bar is taken for at least this: with zero terminal SNR the last sigma would be infinite. diffusers' value, a sigma of 4096.
 */
const LEAST_ALPHA = 2 ** -24;

/** The sigma of each timestep of the schedule, from low to high. [trainTimesteps] */
export function trainSigmas({ alphasCumprod }: NoiseSchedule): Float64Array {
  return alphasCumprod.map((alpha) => Math.sqrt((1 - alpha) / Math.max(alpha, LEAST_ALPHA)));
}

/**
 * The noise levels of Karras et al. (2022), eq. 5, between the least and the greatest of the schedule, and 0.
 *
 * @param rho the paper's 7: how much closer the low levels lie than the high
 * @returns [steps + 1], from high to low
 */
export function karrasSigmas(schedule: NoiseSchedule, steps: number, rho = 7): Float64Array {
  checkSteps(schedule, steps);
  const known = trainSigmas(schedule);
  const [low, high] = [(known[0] ?? 0) ** (1 / rho), (known.at(-1) ?? 0) ** (1 / rho)];
  const sigmas = new Float64Array(steps + 1);
  for (let i = 0; i < steps; i++) sigmas[i] = (high + (steps === 1 ? 0 : i / (steps - 1)) * (low - high)) ** rho;
  return sigmas;
}

/**
 * The schedule's own noise levels at the timesteps that its spacing picks, and 0.
 *
 * @returns [steps + 1], from high to low
 */
export function modelSigmas(schedule: NoiseSchedule, steps: number): Float64Array {
  const sigmas = new Float64Array(steps + 1);
  spacedTimesteps(schedule, steps).forEach((timestep, i) => (sigmas[i] = timestepToSigma(schedule, timestep)));
  return sigmas;
}

/** The timesteps that a sampler of so many steps visits, from high to low (Lin et al. 2023, table 2, as diffusers rounds them). */
export function spacedTimesteps(schedule: NoiseSchedule, steps: number): Float64Array {
  checkSteps(schedule, steps);
  const { trainTimesteps: total, stepsOffset, timestepSpacing } = schedule;
  const at = timestepAt[timestepSpacing];
  return Float64Array.from({ length: steps }, (_, i) => Math.min(at(steps - 1 - i, steps, total, stepsOffset), total - 1));
}

/** The timestep of step i of n, counted from the low end, of a schedule of `total`. */
const timestepAt: { readonly [K in TimestepSpacing]: (i: number, n: number, total: number, offset: number) => number } = {
  leading: (i, n, total, offset) => i * Math.floor(total / n) + offset,
  trailing: (i, n, total) => roundHalfToEven(total - (n - 1 - i) * (total / n)) - 1,
  linspace: (i, n, total) => (n === 1 ? 0 : (i * (total - 1)) / (n - 1)),
};

/** As NumPy rounds. */
function roundHalfToEven(x: number): number {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + (floor % 2) : Math.round(x);
}

/**
 * The timestep at which the schedule has this sigma, between two by the logarithm, as k-diffusion has it; the nearest end outside.
 * Networks take timesteps between whole ones.
 */
export function sigmaToTimestep(schedule: NoiseSchedule, sigma: number): number {
  const known = trainSigmas(schedule);
  const above = known.findIndex((value) => value >= sigma);
  if (above === 0) return 0;
  if (above < 0) return known.length - 1;
  const [low = 0, high = 0] = [known[above - 1], known[above]];
  return above - 1 + Math.log(sigma / low) / Math.log(high / low);
}

/** The inverse of `sigmaToTimestep`. */
export function timestepToSigma(schedule: NoiseSchedule, timestep: number): number {
  const known = trainSigmas(schedule);
  const below = Math.floor(timestep);
  const [low = 0, high = low] = [known[below], known[below + 1]];
  return low * (high / low) ** (timestep - below);
}

/** @throws UserError for a number of steps that cannot be made */
function checkSteps({ trainTimesteps }: NoiseSchedule, steps: number): void {
  if (Number.isInteger(steps) && steps >= 1 && steps <= trainTimesteps) return;
  throw new UserError(`${steps} sampling steps are not possible with a schedule of ${trainTimesteps} timesteps.`, {
    fix: `Give --steps a whole number from 1 to ${trainTimesteps}; 20 to 30 are usual.`,
    exitCode: 2,
  });
}
