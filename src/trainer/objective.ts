/** The loss of a denoising step: weighted mean squared error between prediction and target (Ho et al. 2020, eq. 14). */
import { div, mean, mul, reduceSum, reshape, square, sub } from "../graph/build.ts";
import type { Value } from "../graph/graph.ts";

export interface DenoisingLoss {
  /** Mean over the batch of weight x squared error. */
  readonly loss: Value;
  /** Unweighted mean squared error of each sample, [B]. */
  readonly perSample: Value;
}

/**
 * Feeds made here: `target` [B, C, h, w], `lossWeights` [B], and with `masked` a `mask` [B, 1, h, w] in 0..1.
 *
 * @param prediction [B, C, h, w]
 */
export function denoisingLoss(prediction: Value, { masked }: { masked: boolean }): DenoisingLoss {
  const { graph, shape } = prediction;
  const [batch = 1, , height = 1, width = 1] = shape;
  const squaredError = square(sub(prediction, graph.feed("target", shape)));
  const perSample = masked
    ? maskedMean(squaredError, graph.feed("mask", [batch, 1, height, width]))
    : mean(squaredError, [1, 2, 3]);
  return { loss: mean(mul(perSample, graph.feed("lossWeights", [batch]))), perSample };
}

/** Mean of each sample over the unmasked elements. */
function maskedMean(x: Value, mask: Value): Value {
  const channels = x.shape[1] ?? 1;
  const total = mul(reduceSum(mask, [1, 2, 3]), channels);
  return reshape(div(reduceSum(mul(x, mask), [1, 2, 3]), total), [x.shape[0] ?? 1]);
}
