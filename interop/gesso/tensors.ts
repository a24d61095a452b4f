/** Files that the two halves of a comparison exchange. */
import { openSafetensors, readTensor, writeSafetensors } from "../../src/formats/safetensors.ts";
import type { TensorData } from "../../src/engines/engine.ts";

export interface NamedTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Every tensor of a file, as float32. */
export async function readAll(path: string): Promise<ReadonlyMap<string, NamedTensor>> {
  const file = await openSafetensors(path);
  const entries = [...file.tensors.values()].map(
    async ({ name, shape }) => [name, { shape, data: await readTensor(file, name) }] as const,
  );
  return new Map(await Promise.all(entries));
}

export async function writeAll(path: string, tensors: Readonly<Record<string, NamedTensor>>): Promise<void> {
  await writeSafetensors(path, Object.entries(tensors).map(([name, tensor]) => ({ name, dtype: "F32", ...tensor }) as const)); // prettier-ignore
}

/** The tensor `name`; its absence is a mistake of the other half. */
export function need(tensors: ReadonlyMap<string, NamedTensor>, name: string): NamedTensor {
  const found = tensors.get(name);
  if (!found) throw new Error(`no tensor ${name} among ${[...tensors.keys()].join(", ")}`);
  return found;
}

/** What a fetch holds. */
export function floats(data: TensorData | undefined, name: string): Float32Array {
  if (data instanceof Float32Array) return data;
  throw new Error(`fetch ${name}: float32 needed`);
}
