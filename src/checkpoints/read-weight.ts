/** Reads one of a base model's weights whole, for what is worked out on it before it goes to an engine. */
import { readFileRange } from "../engines/ort/file-range.ts";
import type { BaseModel } from "./base.ts";

/**
 * @param name "unet.conv_in.weight"
 * @returns row-major float32, in the shape that `base.weights` has for it
 * @throws UserError when the file has gone; Error for a name that the base does not have
 */
export async function readBaseWeight(base: Pick<BaseModel, "weights">, name: string): Promise<Float32Array> {
  const weight = base.weights.get(name);
  if (!weight) throw new Error(`readBaseWeight: this base has no weight ${name}`);
  const data = new Float32Array(weight.shape.reduce((product, size) => product * size, 1));
  await readFileRange(weight.source, data, name);
  return data;
}
