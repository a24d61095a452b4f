import { expect, test } from "vitest";
import { encodeFrame, type Frame, FrameReader } from "./protocol.ts";

const tensors = [
  { name: "x", shape: [2, 3], data: Float32Array.of(1, -2, 0.5, NaN, Infinity, 1e-40) },
  { name: "ids", shape: [2], data: Int32Array.of(-1, 2 ** 31 - 1) },
  { name: "scalar", shape: [], data: Float32Array.of(7) },
];

function bytesOf(header: object, list: typeof tensors = []): Buffer {
  return Buffer.concat(encodeFrame(header, list));
}

function readAll(bytes: Buffer, pieceBytes: number): Frame[] {
  const frames: Frame[] = [];
  const reader = new FrameReader((frame) => frames.push(frame));
  for (let at = 0; at < bytes.length; at += pieceBytes) reader.push(bytes.subarray(at, at + pieceBytes));
  return frames;
}

test.each([1, 7, 16, 1 << 20])(
  "frames come out as they went in, whatever pieces of %i bytes the stream gives",
  (pieceBytes) => {
    const stream = Buffer.concat([
      bytesOf({ ticket: 1, call: "é" }, tensors),
      bytesOf({ ticket: 2 }),
      bytesOf({ ticket: 3 }, tensors),
    ]);
    const frames = readAll(stream, pieceBytes);
    expect(frames.map(({ header }) => header.ticket)).toEqual([1, 2, 3]);
    expect(frames[0]?.header.call).toBe("é");
    expect(frames[0]?.tensors).toEqual(tensors);
    expect(frames[1]?.tensors).toEqual([]);
    expect(frames[2]?.tensors).toEqual(tensors);
  },
);

test("what is no frame is refused: another beginning, a length out of reason, a body of another length", () => {
  expect(() => readAll(Buffer.from("hello, this is a stray print"), 100)).toThrow("no frame begins with");
  const long = bytesOf({});
  long.writeUInt32LE(2 ** 31, 4);
  expect(() => readAll(long, 100)).toThrow("no frame begins with");
  const shortened = bytesOf({ tensors: [] }, tensors);
  const text = shortened.toString("latin1").replace('"shape":[2,3]', '"shape":[2,9]');
  expect(() => readAll(Buffer.from(text, "latin1"), 1000)).toThrow(/takes \d+ bytes, the body has/);
  const fewer = shortened.toString("latin1").replace('"shape":[2,3]', '"shape":[2,1]');
  expect(() => readAll(Buffer.from(fewer, "latin1"), 1000)).toThrow(/the tensors take \d+ bytes, the body has/);
});
