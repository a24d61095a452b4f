/** The hashes by which A1111, Forge and Civitai know an adapter, worked out before the file is written because they are in it. */
import { createHash } from "node:crypto";

/** A tensor as it will lie in the file. */
export interface EncodedTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export interface AdapterHashes {
  /** SHA-256 over the tensors' bytes, in the order of the file (`sshs_model_hash`, `modelspec.hash_sha256`). */
  readonly model: string;
  /** The first 8 digits of the SHA-256 over 64 KiB from 1 MiB on (`sshs_legacy_hash`). */
  readonly legacy: string;
}

const LEGACY_START = 0x100000;
const LEGACY_BYTES = 0x10000;

/**
 * As sd-scripts has them: of the file with no metadata but the `ss_` fields, so that a changed title does not change them.
 *
 * @param tensors in the order of the file
 */
export function hashAdapter(
  tensors: readonly EncodedTensor[],
  trainingFields: Readonly<Record<string, string>>,
): AdapterHashes {
  const model = createHash("sha256");
  const legacy = createHash("sha256");
  let position = 0;
  const addToLegacy = (bytes: Uint8Array): void => {
    const [from, to] = [LEGACY_START - position, LEGACY_START + LEGACY_BYTES - position];
    if (to > 0 && from < bytes.length) legacy.update(bytes.subarray(Math.max(from, 0), to));
    position += bytes.length;
  };
  addToLegacy(makeHeader(tensors, trainingFields));
  for (const { bytes } of tensors) {
    model.update(bytes);
    addToLegacy(bytes);
  }
  return { model: model.digest("hex"), legacy: legacy.digest("hex").slice(0, 8) };
}

/** The head of a safetensors file as the reference library writes it. */
function makeHeader(tensors: readonly EncodedTensor[], metadata: Readonly<Record<string, string>>): Uint8Array {
  let end = 0;
  const members = tensors.map(({ name, dtype, shape, bytes }): [string, object] => {
    const begin = end;
    end += bytes.length;
    return [name, { dtype, shape, data_offsets: [begin, end] }];
  });
  const json = Buffer.from(JSON.stringify(Object.fromEntries([["__metadata__", metadata], ...members])), "utf8");
  const padded = Math.ceil(json.length / 8) * 8;
  const header = Buffer.alloc(8 + padded, " ");
  header.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(header, 8);
  return header;
}
