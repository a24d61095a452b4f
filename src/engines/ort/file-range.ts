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
 * @throws UserError when the file is not there or too short
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
    if (dtype === "F32" || dtype === "I32") {
      const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
      await readFully(handle, bytes, source, source.offset, name);
      return;
    }
    const piece = new Uint8Array(Math.min(pieceBytes, source.byteLength));
    for (let done = 0, written = 0; done < source.byteLength; done += piece.byteLength) {
      const part = piece.subarray(0, Math.min(piece.byteLength, source.byteLength - done));
      await readFully(handle, part, source, source.offset + done, name);
      const values = decodeToFloat32(part, dtype);
      target.set(values, written);
      written += values.length;
    }
  } finally {
    await handle.close();
  }
}

function storedDtypeOf(source: FileSource, target: TensorData, name: string): SafetensorsDType {
  const dtype = (Object.keys(DTYPE_BYTES) as SafetensorsDType[]).find((known) => known === source.storedDtype);
  if (!dtype) throw new Error(`ort: buffer ${name}: stored dtype ${source.storedDtype} is not known`);
  if (target instanceof Int32Array && dtype !== "I32") throw new Error(`ort: buffer ${name} is int32, the file holds ${dtype}`);
  if (target instanceof Float32Array && dtype === "I32") {
    const fix = "Download the model again, or save it in float16 or float32.";
    throw new UserError(`${source.path}: ${name} is stored as whole numbers (I32), which no weight is.`, { fix });
  }
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
