/** Reads a range of a file straight into a buffer's array, converting pieces of it on the way. */
import { open, type FileHandle } from "node:fs/promises";
import { UserError } from "../../errors.ts";
import { decodeToFloat32, type SafetensorsDType } from "../../formats/safetensors.ts";
import { DTYPE_BYTES } from "../../formats/safetensors-header.ts";
import type { TensorData, TensorSource } from "../engine.ts";

type FileSource = Extract<TensorSource, { kind: "file" }>;

/** Bytes converted at a time: a whole number of elements of every dtype, and small beside the tensor it becomes. */
const pieceBytes = 2 ** 24;

/**
 * @param name the buffer, for messages
 * @throws UserError when the file is not there or too short, or holds a number that is not finite
 */
export async function readFileRange(source: FileSource, target: TensorData, name: string): Promise<void> {
  const dtype = storedDtypeOf(source, target, name);
  const handle = await open(source.path).catch((error: unknown) => {
    throw new UserError(`Cannot read the weights of ${name} from ${source.path}: ${(error as Error).message}`, {
      fix: "Put the file back, or choose the base model anew.",
      cause: error,
    });
  });
  try {
    // Files are little-endian, and so is every machine that ONNX Runtime runs on: the bytes are the numbers.
    if ((dtype === "F32" && !source.transposedFrom) || dtype === "I32") {
      const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
      await readFully(handle, bytes, source, source.offset, name);
      if (target instanceof Float32Array) refuseNotFinite(target, source, name, 0);
      return;
    }
    const place = source.transposedFrom ? transposer(target, source.transposedFrom) : placer(target);
    const piece = new Uint8Array(Math.min(pieceBytes, source.byteLength));
    for (let done = 0, written = 0; done < source.byteLength; done += piece.byteLength) {
      const part = piece.subarray(0, Math.min(piece.byteLength, source.byteLength - done));
      await readFully(handle, part, source, source.offset + done, name);
      const values = decodeToFloat32(part, dtype);
      refuseNotFinite(values, source, name, written);
      place(values, written);
      written += values.length;
    }
  } finally {
    await handle.close();
  }
}

/** Puts values, the first of which is number `start` of the range, where they belong in the buffer. */
type Place = (values: Float32Array, start: number) => void;

function placer(target: TensorData): Place {
  return (values, start) => target.set(values, start);
}

function transposer(target: TensorData, [rows, columns]: readonly [number, number]): Place {
  return (values, start) => {
    for (let i = 0; i < values.length; i++) {
      const at = start + i;
      target[(at % columns) * rows + Math.floor(at / columns)] = values[i] ?? 0;
    }
  };
}

/** Here, because here each number passes through once anyway: a single NaN makes every picture of a base black. */
function refuseNotFinite(values: Float32Array, { path, key }: FileSource, name: string, start: number): void {
  // Only NaN and the infinities give anything but 0, and a sum is faster than a test for each number.
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] ?? 0) * 0;
  if (sum === 0) return;
  const index = values.findIndex((value) => !Number.isFinite(value));
  throw new UserError(`${path}: ${key ?? name} holds ${values[index]} at position ${start + index}, which is no weight.`, {
    fix: "The file is damaged, or was merged or converted badly: download it again, or use another.",
  });
}

function storedDtypeOf(source: FileSource, target: TensorData, name: string): SafetensorsDType {
  const dtype = (Object.keys(DTYPE_BYTES) as SafetensorsDType[]).find((known) => known === source.storedDtype);
  if (!dtype) throw new Error(`ort: buffer ${name}: stored dtype ${source.storedDtype} is not known`);
  if (target instanceof Int32Array && dtype !== "I32") throw new Error(`ort: buffer ${name} is int32, the file holds ${dtype}`);
  if (target instanceof Float32Array && dtype === "I32") throw new Error(`ort: buffer ${name} is float32, the file holds I32`);
  const needed = target.length * DTYPE_BYTES[dtype];
  if (source.byteLength !== needed) {
    throw new Error(`ort: buffer ${name}: ${target.length} ${dtype} take ${needed} bytes, the range has ${source.byteLength}`);
  }
  return dtype;
}

async function readFully(handle: FileHandle, into: Uint8Array, { path }: FileSource, at: number, name: string): Promise<void> {
  for (let done = 0; done < into.byteLength;) {
    const length = Math.min(2 ** 30, into.byteLength - done);
    const { bytesRead } = await handle.read(into, done, length, at + done);
    if (bytesRead === 0) {
      throw new UserError(`${path} ends before the weights of ${name} (byte ${at + into.byteLength} needed).`, {
        fix: "Download the file again: it is cut short.",
      });
    }
    done += bytesRead;
  }
}
