/**
 * Frames between Gesso and its worker, with checked lengths: the magic "GSO1", the length of the header (uint32) and of the body
 * (uint64), both little-endian, the header as JSON, and the bytes of the tensors that it lists. worker/protocol.py is the other end.
 */
import { sizeOf } from "../../graph/graph.ts";
import type { TensorData } from "../engine.ts";
import type { WireTensor } from "./messages.ts";

const magic = Buffer.from("GSO1");
const prefixBytes = 16;
/** A graph of some ten thousand nodes is a few MB of JSON; a body is what a step fetches, or one buffer. */
const mostHeaderBytes = 2 ** 28;
const mostBodyBytes = 2 ** 40;

type WireDtype = "float32" | "int32";

export interface Frame {
  readonly header: Readonly<Record<string, unknown>>;
  readonly tensors: readonly WireTensor[];
}

/** The frame in pieces, to be written one behind the other; the tensors are not copied. */
export function encodeFrame(header: object, tensors: readonly WireTensor[]): readonly Uint8Array[] {
  const listed = tensors.map(({ name, shape, data }) => ({ name, shape, dtype: wireDtypeOf(data) }));
  const text = Buffer.from(JSON.stringify({ ...header, tensors: listed }));
  const prefix = Buffer.alloc(prefixBytes);
  magic.copy(prefix);
  prefix.writeUInt32LE(text.byteLength, 4);
  prefix.writeBigUInt64LE(BigInt(tensors.reduce((sum, { data }) => sum + data.byteLength, 0)), 8);
  const bodies = tensors.map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return [Buffer.concat([prefix, text]), ...bodies];
}

function wireDtypeOf(data: TensorData): WireDtype {
  return data instanceof Int32Array ? "int32" : "float32";
}

/** Puts frames together from whatever pieces a stream gives. */
export class FrameReader {
  readonly #onFrame: (frame: Frame) => void;
  #stage: "prefix" | "header" | "body" = "prefix";
  #target = new Uint8Array(prefixBytes);
  #filled = 0;
  #bodyBytes = 0;
  #header: Readonly<Record<string, unknown>> = {};

  constructor(onFrame: (frame: Frame) => void) {
    this.#onFrame = onFrame;
  }

  /** @throws Error when the bytes are no frame */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.byteLength;) {
      const count = Math.min(chunk.byteLength - at, this.#target.byteLength - this.#filled);
      this.#target.set(chunk.subarray(at, at + count), this.#filled);
      this.#filled += count;
      at += count;
      // A body of no bytes is complete at once.
      while (this.#filled === this.#target.byteLength) this.#complete();
    }
  }

  #complete(): void {
    const bytes = Buffer.from(this.#target.buffer);
    if (this.#stage === "prefix") {
      const [headerBytes, bodyBytes] = [bytes.readUInt32LE(4), Number(bytes.readBigUInt64LE(8))];
      if (!bytes.subarray(0, 4).equals(magic) || headerBytes > mostHeaderBytes || bodyBytes > mostBodyBytes) {
        throw new Error(`torch: no frame begins with ${bytes.toString("hex")}`);
      }
      this.#bodyBytes = bodyBytes;
      this.#await("header", headerBytes);
    } else if (this.#stage === "header") {
      this.#header = JSON.parse(bytes.toString("utf8")) as Readonly<Record<string, unknown>>;
      this.#await("body", this.#bodyBytes);
    } else {
      const frame = { header: this.#header, tensors: splitBody(this.#header.tensors, this.#target) };
      this.#await("prefix", prefixBytes);
      this.#onFrame(frame);
    }
  }

  #await(stage: "prefix" | "header" | "body", size: number): void {
    this.#stage = stage;
    this.#target = new Uint8Array(size);
    this.#filled = 0;
  }
}

interface ListedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: WireDtype;
}

/** The tensors where they lie in the body. */
function splitBody(listed: unknown, body: Uint8Array<ArrayBuffer>): readonly WireTensor[] {
  if (!Array.isArray(listed)) throw new Error("torch: a frame lists its tensors");
  let position = 0;
  const tensors = (listed as readonly ListedTensor[]).map(({ name, shape, dtype }) => {
    const count = sizeOf(shape);
    if (position + 4 * count > body.byteLength)
      throw new Error(`torch: tensor ${name} takes ${4 * count} bytes, the body has ${body.byteLength - position} left`);
    const data =
      dtype === "int32" ? new Int32Array(body.buffer, position, count) : new Float32Array(body.buffer, position, count);
    position += 4 * count;
    return { name, shape, data };
  });
  if (position !== body.byteLength)
    throw new Error(`torch: the tensors take ${position} bytes, the body has ${body.byteLength}`);
  return tensors;
}
