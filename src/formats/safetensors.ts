/** Reads and writes safetensors files: named tensors behind a JSON header, read by range, written completely or not at all. */
import { closeSync, openSync, readSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { UserError } from "../errors.ts";
import { systemCode, writeFileAtomically } from "./atomic.ts";
import {
  BFLOAT16_MAX,
  bfloat16ToFloat32,
  FLOAT16_MAX,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
  float8ToFloat32,
} from "./float16.ts";
import { damagedFile, DTYPE_BYTES, HEADER_START, MAX_HEADER_BYTES, parseHeader } from "./safetensors-header.ts";
import type { SafetensorsDType, TensorEntry } from "./safetensors-header.ts";

export type { SafetensorsDType, TensorEntry } from "./safetensors-header.ts";

/** An opened file: what its header says, with no handle kept. */
export interface SafetensorsFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A tensor to be written, row-major. Int32Array belongs to I32 and I64, Float32Array to the floats; Uint8Array is the bytes themselves. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: "F32" | "F16" | "BF16" | "I32" | "I64";
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}

/**
 * Reads and checks the header only, so that a file of many gigabytes opens in milliseconds.
 *
 * @throws UserError when the file is missing, or its header lies in any way about what follows it
 * @example const file = await openSafetensors("model.safetensors"); file.tensors.get("conv_in.weight")?.shape;
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const handle = await open(path, "r").catch((error: unknown) => {
    throw explainReadError(error, path);
  });
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new UserError(`${path} is not a file.`, { fix: "Give the path of a .safetensors file." });
    const first = await readRange(handle, path, 0, Math.min(stat.size, 16));
    const headerBytes = checkHeaderLength(path, first, stat.size);
    const header = await readRange(handle, path, 8, headerBytes);
    return { path, ...parseHeader(path, header, 8 + headerBytes, stat.size) };
  } catch (error) {
    throw explainReadError(error, path);
  } finally {
    await handle.close();
  }
}

/** The header's length in bytes, from the first 8 bytes (unsigned, little-endian), if it can be true. */
function checkHeaderLength(path: string, first: Uint8Array, fileBytes: number): number {
  if (fileBytes < 8) throw damagedFile(path, `it has ${fileBytes} bytes, and the length of the header alone takes 8`);
  const view = new DataView(first.buffer, first.byteOffset, first.byteLength);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES) || length > BigInt(fileBytes - 8)) {
    const other = otherFormat(Buffer.from(first).toString("latin1"));
    if (other) throw new UserError(`${path} is ${other}, not a safetensors file.`, { fix: "Give a .safetensors file." });
    if (length > BigInt(MAX_HEADER_BYTES)) {
      throw damagedFile(path, `its header would be ${length.toString()} bytes long; the format allows ${MAX_HEADER_BYTES}`);
    }
    throw damagedFile(path, `its header would be ${length.toString()} bytes long, but the file has ${fileBytes} in all`);
  }
  if (length < 2n) throw damagedFile(path, `its header is ${length.toString()} bytes long, too short for any JSON object`);
  // Seen here already, so that the wrong kind of file is not read up to a length that means nothing.
  if (first[8] !== 0x7b) throw damagedFile(path, HEADER_START);
  return Number(length);
}

/** Files that people take for safetensors, by their first bytes. */
function otherFormat(start: string): string | undefined {
  if (start.startsWith("version https://")) return "a Git LFS pointer (run `git lfs pull` to get the real file)";
  if (start.startsWith("PK")) return "a zip file or a PyTorch .ckpt/.pt";
  if (start.startsWith("\x80\x02")) return "a pickle (PyTorch .ckpt/.pt)";
  if (start.startsWith("GGUF")) return "a GGUF file";
  if (/^\s*<(!doctype|html)/i.test(start)) return "a web page (a failed download)";
  return undefined;
}

/**
 * Reads one tensor as float32, whatever float or integer type the file holds. Only its own bytes are read.
 *
 * @returns row-major values; the shape is in `file.tensors`
 * @throws UserError when the file has gone or shrunk since it was opened; Error for a name that is not in it
 */
export async function readTensor(file: SafetensorsFile, name: string): Promise<Float32Array> {
  const entry = findEntry(file, name);
  const handle = await open(file.path, "r").catch((error: unknown) => {
    throw explainReadError(error, file.path);
  });
  try {
    return decodeToFloat32(await readRange(handle, file.path, entry.offset, entry.byteLength), entry.dtype);
  } catch (error) {
    throw explainReadError(error, file.path);
  } finally {
    await handle.close();
  }
}

/** `readTensor` for places that cannot wait, such as a worker that feeds an engine. */
export function readTensorSync(file: SafetensorsFile, name: string): Float32Array {
  const entry = findEntry(file, name);
  const bytes = new Uint8Array(entry.byteLength);
  try {
    const descriptor = openSync(file.path, "r");
    try {
      for (let done = 0; done < bytes.length;) {
        const got = readSync(descriptor, bytes, done, Math.min(bytes.length - done, READ_PIECE), entry.offset + done);
        if (got === 0) throw shrunkFile(file.path);
        done += got;
      }
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw explainReadError(error, file.path);
  }
  return decodeToFloat32(bytes, entry.dtype);
}

function findEntry(file: SafetensorsFile, name: string): TensorEntry {
  const entry = file.tensors.get(name);
  if (!entry) throw new Error(`readTensor: no tensor ${JSON.stringify(name)} in ${file.path}`);
  return entry;
}

/** One read call moves less than 2 GiB. */
const READ_PIECE = 2 ** 30;

async function readRange(handle: FileHandle, path: string, offset: number, byteLength: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(byteLength);
  for (let done = 0; done < byteLength;) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(byteLength - done, READ_PIECE), offset + done);
    if (bytesRead === 0) throw shrunkFile(path);
    done += bytesRead;
  }
  return bytes;
}

function shrunkFile(path: string): UserError {
  return new UserError(`${path} became shorter while it was read.`, { fix: "Let nothing else write to it, and start again." });
}

function explainReadError(error: unknown, path: string): unknown {
  const code = systemCode(error);
  if (code === undefined || error instanceof UserError) return error;
  if (code === "ENOENT") return new UserError(`There is no file ${path}.`, { fix: "Correct the path.", cause: error });
  const reason = code === "EACCES" ? "permission denied" : error instanceof Error ? error.message : code;
  return new UserError(`Cannot read ${path}: ${reason}.`, { fix: "Check the file and its permissions.", cause: error });
}

/**
 * Little-endian bytes of a file as float32. F64 and wide integers are rounded to nearest; BOOL becomes 0 or 1.
 *
 * @param bytes may share their memory with the result when they are F32 already
 */
export function decodeToFloat32(bytes: Uint8Array, dtype: SafetensorsDType): Float32Array {
  const size = DTYPE_BYTES[dtype];
  if (bytes.byteLength % size !== 0)
    throw new Error(`decodeToFloat32: ${bytes.byteLength} bytes are no whole number of ${dtype}`);
  // A typed array must begin at a multiple of its element size; copy where it would not.
  const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  const { buffer, byteOffset } = aligned;
  const length = bytes.byteLength / size;
  switch (dtype) {
    case "F32":
      return new Float32Array(buffer, byteOffset, length);
    case "F64":
      return Float32Array.from(new Float64Array(buffer, byteOffset, length));
    case "F16":
      return float16ToFloat32(new Uint16Array(buffer, byteOffset, length));
    case "BF16":
      return bfloat16ToFloat32(new Uint16Array(buffer, byteOffset, length));
    case "F8_E4M3":
      return float8ToFloat32(aligned, "E4M3");
    case "F8_E5M2":
      return float8ToFloat32(aligned, "E5M2");
    case "I64":
      return fromBigInts(new BigInt64Array(buffer, byteOffset, length));
    case "U64":
      return fromBigInts(new BigUint64Array(buffer, byteOffset, length));
    case "I32":
      return Float32Array.from(new Int32Array(buffer, byteOffset, length));
    case "I16":
      return Float32Array.from(new Int16Array(buffer, byteOffset, length));
    case "I8":
      return Float32Array.from(new Int8Array(buffer, byteOffset, length));
    case "U32":
      return Float32Array.from(new Uint32Array(buffer, byteOffset, length));
    case "U16":
      return Float32Array.from(new Uint16Array(buffer, byteOffset, length));
    case "U8":
      return Float32Array.from(aligned);
    case "BOOL":
      return Float32Array.from(aligned, (value) => (value === 0 ? 0 : 1));
  }
}

function fromBigInts(values: BigInt64Array | BigUint64Array): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = Number(values[i]);
  return out;
}

/**
 * Writes a file that is complete or absent. The same tensors give the same bytes in whatever order they come: wide dtypes
 * first, so that each tensor is aligned to its element (the reference writer's order), then by name; metadata by key.
 *
 * @throws UserError when the disk refuses, or a value does not fit float16 or bfloat16 (named); the temporary file is removed
 * @example await writeSafetensors("a.safetensors", [{ name: "w", dtype: "F16", shape: [2], data: new Float32Array([1, 2]) }]);
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const inOrder = [...tensors].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype] || compare(a.name, b.name));
  const header = makeHeader(inOrder, metadata);
  await writeFileAtomically(path, async (write) => {
    await write(header);
    for (const tensor of inOrder) await write(encodeTensor(path, tensor));
  });
}

/** By UTF-16 code unit: the same in every locale. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The 8-byte length and the JSON, padded with spaces so that the data begins at a multiple of 8. */
function makeHeader(tensors: readonly TensorToWrite[], metadata: Readonly<Record<string, string>>): Uint8Array {
  // Put together by hand: an object would move keys that look like numbers ("0", "1") to the front.
  const members: string[] = [];
  const metadataEntries = Object.entries(metadata).sort(([a], [b]) => compare(a, b));
  for (const [key, value] of metadataEntries) {
    if (typeof value !== "string") throw new Error(`writeSafetensors: metadata ${JSON.stringify(key)} is not a string`);
  }
  const metadataText = metadataEntries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",");
  if (metadataText) members.push(`"__metadata__":{${metadataText}}`);
  const names = new Set(["__metadata__"]);
  let end = 0;
  for (const { name, dtype, shape, data } of tensors) {
    const count = shape.reduce((product, size) => product * size, 1);
    if (names.has(name)) throw new Error(`writeSafetensors: ${JSON.stringify(name)} is reserved or given twice`);
    const length = data instanceof Uint8Array ? data.length / DTYPE_BYTES[dtype] : data.length;
    if (count !== length) {
      throw new Error(`writeSafetensors: ${JSON.stringify(name)} [${shape.join(", ")}] needs ${count} values, got ${length}`);
    }
    names.add(name);
    const begin = end;
    end += count * DTYPE_BYTES[dtype];
    members.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`);
  }
  const json = Buffer.from(`{${members.join(",")}}`, "utf8");
  const padded = Math.ceil(json.length / 8) * 8;
  if (padded > MAX_HEADER_BYTES)
    throw new Error(`writeSafetensors: the header needs ${padded} bytes; the format allows 100 MB`);
  const header = Buffer.alloc(8 + padded, " ");
  header.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(header, 8);
  return header;
}

function encodeTensor(path: string, { name, dtype, data }: TensorToWrite): Uint8Array {
  if (data instanceof Uint8Array) return data;
  const isInteger = dtype === "I32" || dtype === "I64";
  if (isInteger !== data instanceof Int32Array) {
    throw new Error(`writeSafetensors: ${JSON.stringify(name)} is ${dtype} but holds a ${data.constructor.name}`);
  }
  if (data instanceof Int32Array) return bytesOf(dtype === "I64" ? BigInt64Array.from(data, BigInt) : data);
  return encodeFloat32(path, name, data, dtype === "F16" || dtype === "BF16" ? dtype : "F32");
}

/**
 * float32 as the bytes of a wider or narrower float, rounded to nearest.
 *
 * @param path of the file and `name` of the tensor, for messages
 * @throws UserError when a value does not fit
 */
export function encodeFloat32(
  path: string,
  name: string,
  data: Float32Array,
  dtype: "F64" | "F32" | "F16" | "BF16",
): Uint8Array {
  switch (dtype) {
    case "F64":
      return bytesOf(Float64Array.from(data));
    case "F32":
      return bytesOf(data);
    case "F16":
      refuseBeyond(path, name, data, FLOAT16_MAX, "float16");
      return bytesOf(float32ToFloat16(data));
    case "BF16":
      refuseBeyond(path, name, data, BFLOAT16_MAX, "bfloat16");
      return bytesOf(float32ToBfloat16(data));
  }
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** A value that the narrow type would turn into infinity makes the file useless, so it is never written. */
function refuseBeyond(path: string, name: string, data: Float32Array, max: number, type: string): void {
  const index = data.findIndex((value) => Math.abs(value) > max);
  if (index < 0) return;
  throw new UserError(
    `Cannot write ${path}: ${JSON.stringify(name)} holds ${data[index]} at position ${index}; ${type} ends at ${max}.`,
    { fix: "Write it in float32, or train with a lower learning rate: weights this large usually mean a run that diverged." },
  );
}
