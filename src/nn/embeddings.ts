/** Embeddings of numbers: sinusoids of a timestep or a size, and the two-layer network that follows them. */
import { concat, constant, cos, mul, reshape, silu, sin } from "../graph/build.ts";
import type { Value } from "../graph/graph.ts";
import { axisSize, linear } from "./layers.ts";
import type { Params } from "./params.ts";

/** The longest wavelength over 2π, as in Vaswani et al. (2017). */
const MAX_PERIOD = 10_000;

export interface SinusoidOptions {
  /** Width of the embedding; even. */
  readonly width: number;
  /** Cosines first. */
  readonly flipSinToCos: boolean;
  /** What is taken from the number of frequencies when they are spaced: 1 makes the last one exactly 1 / MAX_PERIOD. */
  readonly downscaleFreqShift: number;
}

/**
 * Sinusoidal embedding (Vaswani et al. 2017, section 3.5; diffusers' `get_timestep_embedding`): float32 x [N] -> float32 [N, width].
 */
export function sinusoidalEmbedding(x: Value, { width, flipSinToCos, downscaleFreqShift }: SinusoidOptions): Value {
  const half = width / 2;
  if (!Number.isInteger(half)) throw new Error(`sinusoidalEmbedding: an even width needed, got ${width}`);
  // Rounded where the reference rounds: a frequency off by one float32 step turns a timestep of 1000 by 6e-5 radians.
  const frequencies = Array.from({ length: half }, (_, i) => {
    const exponent = Math.fround(Math.fround(Math.fround(-Math.log(MAX_PERIOD)) * i) / (half - downscaleFreqShift));
    return Math.fround(Math.exp(exponent));
  });
  const angles = mul(reshape(x, [axisSize(x, 0), 1]), constant(x.graph, frequencies, [1, half])); // [N, half]
  return concat(flipSinToCos ? [cos(angles), sin(angles)] : [sin(angles), cos(angles)], 1);
}

/** diffusers' `TimestepEmbedding`: `linear_1`, SiLU, `linear_2`: [N, in] -> [N, width]. */
export function timestepEmbedding(params: Params, x: Value, width: number): Value {
  return params.scope(() => linear(params.at("linear_2"), silu(linear(params.at("linear_1"), x, width)), width));
}
