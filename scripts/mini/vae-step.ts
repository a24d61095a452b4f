/** The training step of mini's autoencoder: reconstruction, and a little of the prior (Kingma and Welling 2014). */
import { add, exp, mean, mul, sqrt, square, sub } from "../../src/graph/build.ts";
import { Graph, type Value } from "../../src/graph/graph.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { listVaeParameters, vaeDecode, vaeEncode } from "../../src/models/vae/model.ts";
import { createParams } from "../../src/nn/params.ts";
import { appendStep, type Parameter } from "../../src/trainer/optimize.ts";
import { optimizerSettings, vaeConfig } from "./configs.ts";

export const config = parseVaeConfig(vaeConfig);
export const vaeParameters: readonly Parameter[] = listVaeParameters(config);

/** How much a unit of divergence counts against a unit of squared error: enough to keep latents smooth, too little to blur. */
const divergenceWeight = 3e-5;

/** Feeds: `pictures` [batch, 3, size, size] in -1..1, `noise` [batch, C, size / 8, size / 8]. */
export function buildVaeStep(batch: number, size: number): Graph {
  const graph = new Graph();
  const { mu, logvar, difference } = reconstruct(graph, batch, size);
  const loss = add(reconstructionLoss(difference), mul(divergence(mu, logvar), divergenceWeight));
  graph.fetches.set("loss", loss).set("squaredError", mean(square(difference)));
  appendStep(loss, [{ name: "all", parameters: vaeParameters }], optimizerSettings);
  return graph;
}

/** Encodes, draws from the posterior, decodes; `difference` is what came back less what went in. */
function reconstruct(graph: Graph, batch: number, size: number): { mu: Value; logvar: Value; difference: Value } {
  const params = createParams(graph, "vae");
  const pictures = graph.feed("pictures", [batch, 3, size, size]);
  const { mean: mu, logvar } = vaeEncode(params, pictures, config);
  const latents = add(mu, mul(exp(mul(logvar, 0.5)), graph.feed("noise", mu.shape)));
  return { mu, logvar, difference: sub(vaeDecode(params, latents, config), pictures) };
}

/** What the decoder stage trains: the encoder, and so the latents that the denoiser knows, stays as it is. */
export const decoderParameters = vaeParameters.filter(({ name }) => /^vae\.(decoder|post_quant_conv)\./.test(name));

/** Feeds as `buildVaeStep`. */
export function buildDecoderStep(batch: number, size: number): Graph {
  const graph = new Graph();
  const { difference } = reconstruct(graph, batch, size);
  const loss = reconstructionLoss(difference);
  graph.fetches.set("loss", loss).set("squaredError", mean(square(difference)));
  appendStep(loss, [{ name: "all", parameters: decoderParameters }], optimizerSettings);
  return graph;
}

/** Squared error, with a tenth of absolute error (as Charbonnier's smooth form) so that edges of flat colour come out sharp. */
function reconstructionLoss(difference: Value): Value {
  const squared = square(difference);
  return add(mean(squared), mul(mean(sqrt(add(squared, 1e-4))), 0.1));
}

/** KL(N(mu, e^logvar) || N(0, 1)), mean over latent elements. */
function divergence(mu: Value, logvar: Value): Value {
  return mul(mean(sub(add(square(mu), exp(logvar)), add(logvar, 1))), 0.5);
}
