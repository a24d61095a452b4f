/** Copies a safetensors file with some of its numbers changed: the same keys, order and metadata, a piece at a time. */
import { open, type FileHandle } from "node:fs/promises";
import { UserError } from "../errors.ts";
import { writeFileAtomically, type WriteBytes } from "./atomic.ts";
import { damagedFile, DTYPE_BYTES, type SafetensorsDType, type TensorEntry } from "./safetensors-header.ts";
import { decodeToFloat32, encodeFloat32, type SafetensorsFile } from "./safetensors.ts";

/** Numbers of one tensor, or of a part of it, that are to be other ones. */
export interface RangeChange {
  /** In the file that is copied, as `TensorEntry` has them. */
  readonly offset: number;
  readonly byteLength: number;
  /** Changes the numbers in place. */
  readonly change: (values: Float32Array) => Promise<void>;
}

export type FloatDType = "F32" | "F16" | "BF16";

/** What is not changed is moved in pieces of this many bytes: a whole number of elements of every type. */
const PIECE_BYTES = 2 ** 24;

/**
 * Writes a copy, completely or not at all. No more than one changed range is in memory at a time, and with no `dtype` every byte that is
 * not in one stays what it was, the header's included.
 *
 * @param changes must not overlap
 * @param dtype of every float tensor in the copy; each keeps its own when not given
 * @returns the size of the copy in bytes
 * @throws UserError when a number does not fit the type, the file has shrunk, or the disk refuses
 */
export async function copySafetensors(
  file: SafetensorsFile,
  to: string,
  changes: readonly RangeChange[],
  dtype?: FloatDType,
): Promise<number> {
  const handle = await open(file.path, "r");
  try {
    const typeOf = (entry: TensorEntry): SafetensorsDType =>
      dtype !== undefined && isFloat(entry.dtype) ? dtype : entry.dtype;
    const header = await makeHeader(handle, file, typeOf);
    const inOrder = [...changes].sort((a, b) => a.offset - b.offset);
    let written = header.byteLength;
    let next = 0;
    await writeFileAtomically(to, async (write) => {
      const count: WriteBytes = async (bytes) => {
        written += bytes.byteLength;
        await write(bytes);
      };
      await write(header);
      for (const entry of file.tensors.values()) {
        const own: RangeChange[] = [];
        for (let change = inOrder[next]; change && change.offset < entry.offset + entry.byteLength; change = inOrder[++next]) {
          own.push(change);
        }
        await copyTensor({ handle, file, to, write: count }, entry, typeOf(entry), own);
      }
    });
    if (next < inOrder.length) throw new Error(`copySafetensors: a change at byte ${inOrder[next]?.offset} is in no tensor`);
    return written;
  } finally {
    await handle.close();
  }
}

function isFloat(dtype: SafetensorsDType): boolean {
  return /^(BF|F)\d/.test(dtype);
}

interface Copy {
  readonly handle: FileHandle;
  readonly file: SafetensorsFile;
  readonly to: string;
  readonly write: WriteBytes;
}

async function copyTensor(
  copy: Copy,
  entry: TensorEntry,
  dtype: SafetensorsDType,
  changes: readonly RangeChange[],
): Promise<void> {
  const end = entry.offset + entry.byteLength;
  let position = entry.offset;
  for (const { offset, byteLength, change } of changes) {
    if (offset < position || offset + byteLength > end) {
      throw new Error(`copySafetensors: changes overlap, or reach beyond ${entry.name}`);
    }
    await copyPlain(copy, entry, dtype, position, offset);
    const values = decodeToFloat32(await readRange(copy, offset, byteLength), entry.dtype);
    await change(values);
    await copy.write(encode(copy, entry, dtype, values));
    position = offset + byteLength;
  }
  await copyPlain(copy, entry, dtype, position, end);
}

async function copyPlain(copy: Copy, entry: TensorEntry, dtype: SafetensorsDType, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += PIECE_BYTES) {
    const bytes = await readRange(copy, at, Math.min(PIECE_BYTES, to - at));
    await copy.write(dtype === entry.dtype ? bytes : encode(copy, entry, dtype, decodeToFloat32(bytes, entry.dtype)));
  }
}

function encode({ to, file }: Copy, { name }: TensorEntry, dtype: SafetensorsDType, values: Float32Array): Uint8Array {
  if (dtype === "F32" || dtype === "F16" || dtype === "BF16" || dtype === "F64") return encodeFloat32(to, name, values, dtype);
  throw new UserError(`${file.path}: ${name} is stored as ${dtype}, in which Gesso writes no weights.`, {
    fix: "Choose the type of the copy: --dtype float16.",
  });
}

async function readRange({ handle, file }: Copy, offset: number, byteLength: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(byteLength);
  for (let done = 0; done < byteLength;) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(byteLength - done, 2 ** 30), offset + done);
    if (bytesRead === 0) {
      throw new UserError(`${file.path} became shorter while it was read.`, {
        fix: "Let nothing else write to it, and start again.",
      });
    }
    done += bytesRead;
  }
  return bytes;
}

/** The header as it is, byte by byte; with types and places changed in it, where types change. */
async function makeHeader(
  handle: FileHandle,
  file: SafetensorsFile,
  typeOf: (entry: TensorEntry) => SafetensorsDType,
): Promise<Uint8Array> {
  const copy = { handle, file, to: file.path, write: () => Promise.resolve() };
  const head = Buffer.from(await readRange(copy, 0, 8));
  const length = Number(head.readBigUInt64LE(0));
  const json = Buffer.from(await readRange(copy, 8, length));
  const entries = [...file.tensors.values()];
  if (entries.every((entry) => typeOf(entry) === entry.dtype)) return Buffer.concat([head, json]);
  const places = new Map<string, [number, number]>();
  let end = 0;
  for (const entry of entries) {
    const begin = end;
    end += (entry.byteLength / DTYPE_BYTES[entry.dtype]) * DTYPE_BYTES[typeOf(entry)];
    places.set(entry.name, [begin, end]);
  }
  // In the order of the header, which need not be that of the data.
  const members = Object.entries(JSON.parse(json.toString("utf8")) as Record<string, unknown>).map(([name, value]) => {
    const entry = file.tensors.get(name);
    if (name === "__metadata__") return `${JSON.stringify(name)}:${JSON.stringify(value)}`;
    if (!entry) throw damagedFile(file.path, "its header changed while it was read");
    const described = { dtype: typeOf(entry), shape: entry.shape, data_offsets: places.get(name) };
    return `${JSON.stringify(name)}:${JSON.stringify(described)}`;
  });
  const text = Buffer.from(`{${members.join(",")}}`, "utf8");
  const padded = Math.ceil(text.length / 8) * 8;
  const header = Buffer.alloc(8 + padded, " ");
  header.writeBigUInt64LE(BigInt(padded), 0);
  text.copy(header, 8);
  return header;
}
