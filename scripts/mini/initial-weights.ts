/** What mini's weights are before training, by the kind of layer that a name and a shape give away. */
import { normal, uniform } from "../../src/diffusion/philox.ts";
import { sizeOf } from "../../src/graph/graph.ts";
import type { Parameter } from "../../src/trainer/optimize.ts";

/**
 * Layers that end a residual branch start at zero, so that every block starts as the identity (Dhariwal and Nichol 2021 do so for
 * the second convolution and the attention's output).
 */
const endsBranch = /(conv2|proj_out|net\.2|to_out\.0|unet\.conv_out)\.weight$/;

/** The initial values of one parameter: a function of the seed and its place in the list. */
export function initialWeight({ name, shape }: Parameter, seed: number, index: number): Float32Array {
  const size = sizeOf(shape);
  if (name.endsWith("logit_scale")) return new Float32Array(size);
  if (shape.length === 1) return initialVector(name, size);
  if (name.startsWith("unet.") && endsBranch.test(name)) return new Float32Array(size);
  if (/embedding\.weight$/.test(name)) return normal({ seed, purpose: "init", sample: index }, size).map((x) => 0.02 * x);
  const fanIn = size / (shape[0] ?? 1);
  const bound = Math.sqrt(3 / fanIn); // variance 1 / fanIn
  return uniform({ seed, purpose: "init", sample: index }, size).map((u) => (2 * u - 1) * bound);
}

function initialVector(name: string, size: number): Float32Array {
  const values = new Float32Array(size);
  if (/norm[^.]*\.weight$|group_norm\.weight$/.test(name)) values.fill(1);
  // The second half of the moments is the log variance: start with little noise, or the decoder learns nothing from the first steps.
  if (name === "vae.quant_conv.bias") values.fill(-4, size / 2);
  return values;
}
