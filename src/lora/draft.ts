/** An adapter file in the making: modules are checked and encoded as they come, so that no more than the file's own bytes are kept. */
import { stat } from "node:fs/promises";
import { UserError } from "../errors.ts";
import { BFLOAT16_MAX, FLOAT16_MAX, float32ToBfloat16, float32ToFloat16 } from "../formats/float16.ts";
import { writeSafetensors } from "../formats/safetensors.ts";
import { hashAdapter, type EncodedTensor } from "./file-hashes.ts";
import type { NetworkSize } from "./metadata.ts";

export const adapterDTypes = ["float16", "bfloat16", "float32"] as const;
export type AdapterDType = (typeof adapterDTypes)[number];

export interface AdapterMatrix {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** One layer's change, (alpha / rank) up down, under its name in the file. */
export interface NamedModule {
  /** Without the ending: "lora_unet_input_blocks_4_1_proj_in". */
  readonly name: string;
  /** What messages call the layer. */
  readonly layer: string;
  readonly rank: number;
  readonly alpha: number;
  /** [rank, in] or [rank, in, kh, kw] */
  readonly down: AdapterMatrix;
  /** [out, rank] or [out, rank, 1, 1] */
  readonly up: AdapterMatrix;
}

/** How matrices are called: Kohya's "lora_down" and "lora_up" with an alpha, or PEFT's "lora_A" and "lora_B", whose scale is 1. */
export type EndingStyle = "kohya" | "peft";

export interface AdapterFields {
  /** The `ss_` fields, over which hashes go. */
  readonly training: Readonly<Record<string, string>>;
  /** Every other field. @param tensorsSha256 in hexadecimal */
  readonly others: (tensorsSha256: string) => Readonly<Record<string, string>>;
}

export interface AdapterDraft {
  /** @throws UserError when a number is not finite or does not fit the type; Error for matrices that do not hang together */
  add(module: NamedModule): void;
  /** Rank and alpha of what was added. */
  size(): NetworkSize;
  /**
   * Writes the file, completely or not at all.
   *
   * @returns its size in bytes
   * @throws UserError when nothing in it changes the base, or the disk refuses
   */
  write(fields: AdapterFields): Promise<number>;
}

interface DTypeRow {
  /** Its name in the file. */
  readonly tag: "F16" | "BF16" | "F32";
  readonly encode: (data: Float32Array) => ArrayBufferView;
  readonly max: number;
  /** The size up to which a number becomes 0 in it: half of its least number, as the tie goes to even. */
  readonly zeroUpTo: number;
}

const dtypes: { readonly [K in AdapterDType]: DTypeRow } = {
  float16: { tag: "F16", encode: float32ToFloat16, max: FLOAT16_MAX, zeroUpTo: 2 ** -25 },
  bfloat16: { tag: "BF16", encode: float32ToBfloat16, max: BFLOAT16_MAX, zeroUpTo: 2 ** -134 },
  float32: { tag: "F32", encode: (data) => data, max: Number.MAX_VALUE, zeroUpTo: 0 },
};

export interface DraftOptions {
  readonly path: string;
  readonly dtype: AdapterDType;
  /** Kohya's when not given. */
  readonly style?: EndingStyle;
  /** What to do about a number that cannot be written, and about a file that would change nothing. */
  readonly fixes: { readonly number: string; readonly nothing: string };
}

/**
 * Begins an adapter file.
 *
 * @example const draft = createDraft({ path, dtype: "float16", fixes }); draft.add(module); await draft.write(fields);
 */
export function createDraft({ path, dtype, style = "kohya", fixes }: DraftOptions): AdapterDraft {
  const { tag, encode } = dtypes[dtype];
  const tensors: EncodedTensor[] = [];
  const modules: Pick<NamedModule, "rank" | "alpha" | "down">[] = [];
  let changesSomething = false;
  const addTensor = (name: string, shape: readonly number[], data: Float32Array): void => {
    tensors.push({ name, dtype: tag, shape, bytes: bytesOf(encode(data)) });
  };
  return {
    add(module) {
      const { name, rank, alpha, down, up } = module;
      checkShapes(module);
      checkNumbers(path, module, dtype, fixes.number);
      changesSomething ||= isNotZero(up.data, dtype) && isNotZero(down.data, dtype);
      const [downName, upName] = style === "kohya" ? ["lora_down", "lora_up"] : ["lora_A", "lora_B"];
      if (style === "peft" && alpha !== rank) throw new Error(`draft: PEFT's files have a scale of 1, got ${alpha / rank}`);
      addTensor(`${name}.${downName}.weight`, down.shape, down.data);
      addTensor(`${name}.${upName}.weight`, up.shape, up.data);
      if (style === "kohya") addTensor(`${name}.alpha`, [], Float32Array.of(alpha));
      modules.push({ rank, alpha, down: { shape: down.shape, data: new Float32Array() } });
    },
    size: () => measure(modules),
    async write({ training, others }) {
      if (!changesSomething) throw changesNothing(path, modules.length, dtype, fixes.nothing);
      // One type throughout, so that the order by name is the file's order.
      const inOrder = [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1));
      const { model, legacy } = hashAdapter(inOrder, training);
      const metadata = { ...training, ...others(model), sshs_model_hash: model, sshs_legacy_hash: legacy };
      const encoded = inOrder.map(({ name, shape, bytes }) => ({ name, shape, dtype: tag, data: bytes }));
      await writeSafetensors(path, encoded, metadata);
      return (await stat(path)).size;
    },
  };
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function checkShapes({ layer, rank, alpha, down, up }: NamedModule): void {
  for (const [name, { shape, data }, axis] of [
    ["down", down, 0],
    ["up", up, 1],
  ] as const) {
    // prettier-ignore
    const size = shape.reduce((product, length) => product * length, 1);
    if (shape[axis] === rank && shape.length === down.shape.length && size === data.length) continue;
    const got = `[${shape.join(", ")}] with ${data.length} numbers`;
    throw new Error(`writeAdapter: a ${name} of rank ${rank} on axis ${axis} needed, got ${got}\n  at ${layer}`);
  }
  if (!(alpha > 0 && Number.isFinite(alpha)))
    throw new Error(`writeAdapter: alpha above 0 needed, got ${alpha}\n  at ${layer}`);
}

function checkNumbers(path: string, { layer, alpha, down, up }: NamedModule, dtype: AdapterDType, fix: string): void {
  const { max } = dtypes[dtype];
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
      throw new UserError(`${path} was not written: ${name} of ${layer} holds ${value} at position ${i}, which ${why}.`, { fix });
    }
  }
}

function isNotZero(data: Float32Array, dtype: AdapterDType): boolean {
  const { zeroUpTo } = dtypes[dtype];
  return data.some((value) => Math.abs(value) > zeroUpTo);
}

function changesNothing(path: string, modules: number, dtype: AdapterDType, fix: string): UserError {
  const why = modules === 0 ? "no layer is changed" : `one matrix of every layer is zero in ${dtype}`;
  return new UserError(`${path} was not written: it would change nothing, as ${why}.`, { fix });
}

/** Rank and alpha where all modules of a kind agree, as sd-scripts tells them. */
function measure(modules: readonly Pick<NamedModule, "rank" | "alpha" | "down">[]): NetworkSize {
  const isConv = ({ down }: Pick<NamedModule, "down">): boolean => down.shape.slice(2).some((length) => length > 1);
  const sizeOf = (some: typeof modules): NetworkSize["linear"] => {
    const [first] = some;
    if (!first) return undefined;
    const rank = some.every((module) => module.rank === first.rank) ? first.rank : "Dynamic";
    return { rank, alpha: some.every((module) => module.alpha === first.alpha) ? first.alpha : "Dynamic" };
  };
  return { linear: sizeOf(modules.filter((module) => !isConv(module))), conv: sizeOf(modules.filter(isConv)) };
}
