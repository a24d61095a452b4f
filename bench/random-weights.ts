/** Writes random float16 weights of any size, a piece at a time, so that a file of gigabytes takes a few megabytes of memory. */
import { normal } from "../src/diffusion/philox.ts";
import { writeFileAtomically } from "../src/formats/atomic.ts";
import { float32ToFloat16 } from "../src/formats/float16.ts";
import { sizeOf, type Shape } from "../src/graph/graph.ts";

export interface RandomTensor {
  /** Its key in the file. */
  readonly name: string;
  readonly shape: Shape;
  /** Its numbers are mean + deviation x normal. */
  readonly mean: number;
  readonly deviation: number;
}

/** A prime number, so that no two rows of a matrix begin at the same place in the pool. */
const poolSize = 1_048_573;
const bytesPerNumber = 2;

/**
 * The numbers are taken from one pool of normal ones, each tensor beginning at a place of its own.
 *
 * @throws UserError when the disk refuses; nothing is left behind then
 */
export async function writeRandomTensors(path: string, tensors: readonly RandomTensor[]): Promise<void> {
  const pool = normal({ seed: 1, purpose: "init" }, poolSize);
  const scaled = new Map<string, Uint8Array>();
  const inOrder = tensors.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  await writeFileAtomically(path, async (write) => {
    await write(makeHeader(inOrder));
    for (const [index, { shape, mean, deviation }] of inOrder.entries()) {
      const key = `${mean} ${deviation}`;
      const bytes = scaled.get(key) ?? toBytes(pool.map((x) => mean + deviation * x));
      scaled.set(key, bytes);
      let at = ((index * 7919) % poolSize) * bytesPerNumber;
      for (let left = sizeOf(shape) * bytesPerNumber; left > 0;) {
        const piece = bytes.subarray(at, Math.min(bytes.byteLength, at + left));
        await write(piece);
        left -= piece.byteLength;
        at = 0;
      }
    }
  });
}

function toBytes(values: Float32Array): Uint8Array {
  const halves = float32ToFloat16(values);
  return new Uint8Array(halves.buffer, halves.byteOffset, halves.byteLength);
}

function makeHeader(tensors: readonly RandomTensor[]): Uint8Array {
  let end = 0;
  const members = tensors.map(({ name, shape }) => {
    const begin = end;
    end += sizeOf(shape) * bytesPerNumber;
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype: "F16", shape, data_offsets: [begin, end] })}`;
  });
  const json = Buffer.from(`{${members.join(",")}}`, "utf8");
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, " ");
  header.writeBigUInt64LE(BigInt(header.length - 8), 0);
  json.copy(header, 8);
  return header;
}
