/** Writes and reads adapter files: safetensors with Kohya's names, the form that the most programs load. */
import { UserError } from "../errors.ts";
import { BFLOAT16_MAX, FLOAT16_MAX, float32ToBfloat16, float32ToFloat16 } from "../formats/float16.ts";
import { writeSafetensors, type TensorToWrite } from "../formats/safetensors.ts";
import { hashAdapter, type EncodedTensor } from "./file-hashes.ts";
import { modelSpecFields, trainingFields, type AdapterMetadata, type NetworkSize } from "./metadata.ts";
import { kohyaName, type NamingBase } from "./names.ts";

/** One layer's adapter: the layer's change is (alpha / rank) up down. */
export interface AdapterModule {
  /** Of the base's weight without ".weight": "unet.down_blocks.1.attentions.0.proj_in". */
  readonly path: string;
  readonly rank: number;
  readonly alpha: number;
  /** [rank, in] or [rank, in, kh, kw] */
  readonly down: AdapterMatrix;
  /** [out, rank] or [out, rank, 1, 1] */
  readonly up: AdapterMatrix;
}

export interface AdapterMatrix {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export type AdapterDType = "float16" | "bfloat16" | "float32";

export interface AdapterToWrite {
  readonly modules: readonly AdapterModule[];
  readonly base: NamingBase;
  readonly metadata: AdapterMetadata;
  readonly dtype: AdapterDType;
}

/**
 * For each type: its name in the file, its bytes, its greatest number, and the size up to which a number becomes 0 in it (half of its
 * least number: the tie goes to even).
 */
const dtypes: {
  readonly [K in AdapterDType]: {
    readonly tag: TensorToWrite["dtype"];
    readonly encode: (data: Float32Array) => ArrayBufferView;
    readonly max: number;
    readonly zeroUpTo: number;
  };
} = {
  float16: { tag: "F16", encode: float32ToFloat16, max: FLOAT16_MAX, zeroUpTo: 2 ** -25 },
  bfloat16: { tag: "BF16", encode: float32ToBfloat16, max: BFLOAT16_MAX, zeroUpTo: 2 ** -134 },
  float32: { tag: "F32", encode: (data) => data, max: Number.MAX_VALUE, zeroUpTo: 0 },
};

/**
 * Writes an adapter, completely or not at all: two matrices and an alpha for each module, and the metadata.
 *
 * @throws UserError when a number is not finite or does not fit the type, when nothing in it changes the base, or the disk refuses
 * @throws Error for modules that do not hang together
 * @example await writeAdapter("mystyle.safetensors", { modules, base, metadata, dtype: "float16" });
 */
export async function writeAdapter(path: string, { modules, base, metadata, dtype }: AdapterToWrite): Promise<void> {
  if (modules.length === 0) throw new Error("writeAdapter: at least one module needed, got none");
  modules.forEach(checkShapes);
  checkNumbers(path, modules, dtype);
  const { tag, encode } = dtypes[dtype];
  // One type throughout, so that the order by name is the file's order.
  const tensors = modules.flatMap((module) => toTensors(module, base, tag)).sort((a, b) => (a.name < b.name ? -1 : 1));
  const encoded = tensors.map(({ data, ...tensor }): EncodedTensor => ({ ...tensor, bytes: bytesOf(encode(data)) }));

  const training = trainingFields(metadata, base.family, measure(modules));
  const hashes = hashAdapter(encoded, training);
  await writeSafetensors(path, tensors, {
    ...training,
    ...modelSpecFields(metadata, base.family, hashes.model),
    sshs_model_hash: hashes.model,
    sshs_legacy_hash: hashes.legacy,
  });
}

function toTensors(
  module: AdapterModule,
  base: NamingBase,
  dtype: TensorToWrite["dtype"],
): (TensorToWrite & { readonly data: Float32Array })[] {
  const name = kohyaName(module.path, base);
  return [
    { name: `${name}.lora_down.weight`, dtype, ...module.down },
    { name: `${name}.lora_up.weight`, dtype, ...module.up },
    { name: `${name}.alpha`, dtype, shape: [], data: Float32Array.of(module.alpha) },
  ];
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function checkShapes({ path, rank, alpha, down, up }: AdapterModule): void {
  for (const [name, { shape, data }, axis] of [
    ["down", down, 0],
    ["up", up, 1],
  ] as const) {
    // prettier-ignore
    const size = shape.reduce((product, length) => product * length, 1);
    if (shape[axis] === rank && shape.length === down.shape.length && size === data.length) continue;
    const got = `[${shape.join(", ")}] with ${data.length} numbers`;
    throw new Error(`writeAdapter: a ${name} of rank ${rank} on axis ${axis} needed, got ${got}\n  at ${path}`);
  }
  if (!(alpha > 0 && Number.isFinite(alpha))) throw new Error(`writeAdapter: alpha above 0 needed, got ${alpha}\n  at ${path}`);
}

function checkNumbers(path: string, modules: readonly AdapterModule[], dtype: AdapterDType): void {
  const { max, zeroUpTo } = dtypes[dtype];
  const hint = { fix: "Go back to an earlier checkpoint, and train with a lower learning rate." };
  let changesSomething = false;
  for (const { path: layer, alpha, down, up } of modules) {
    for (const [name, data] of [
      ["down", down.data],
      ["up", up.data],
      ["alpha", [alpha]],
    ] as const) {
      // prettier-ignore
      for (let i = 0; i < data.length; i++) {
        const value = data[i] ?? NaN;
        if (Math.abs(value) <= max && Number.isFinite(value)) continue;
        const why = Number.isFinite(value) ? `is beyond ${dtype}, which ends at ${max}` : "is not finite";
        throw new UserError(`${path} was not written: ${name} of ${layer} holds ${value} at position ${i}, which ${why}.`, hint);
      }
    }
    changesSomething ||=
      up.data.some((value) => Math.abs(value) > zeroUpTo) && down.data.some((value) => Math.abs(value) > zeroUpTo);
  }
  if (changesSomething) return;
  throw new UserError(`${path} was not written: it would change nothing, as one matrix of every layer is zero in ${dtype}.`, {
    fix: "Train for more steps, or with a higher learning rate.",
  });
}

/** Rank and alpha where all modules of a kind agree, as sd-scripts tells them. */
function measure(modules: readonly AdapterModule[]): NetworkSize {
  const isConv = ({ down }: AdapterModule): boolean => down.shape.slice(2).some((length) => length > 1);
  const sizeOf = (some: readonly AdapterModule[]): NetworkSize["linear"] => {
    const [first] = some;
    if (!first) return undefined;
    const rank = some.every((module) => module.rank === first.rank) ? first.rank : "Dynamic";
    return { rank, alpha: some.every((module) => module.alpha === first.alpha) ? first.alpha : "Dynamic" };
  };
  return { linear: sizeOf(modules.filter((module) => !isConv(module))), conv: sizeOf(modules.filter(isConv)) };
}
