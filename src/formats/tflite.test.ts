import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { expect, test } from "vitest";
import { readTflite } from "./tflite.ts";

const path = createRequire(import.meta.url).resolve("@mediapipe/face_detection/face_detection_full_range.tflite");
const bytes = readFileSync(path);

test("the operators and shapes of MediaPipe's face network", () => {
  const { operators, tensors, inputs, outputs } = readTflite(bytes);
  const counts = new Map<string, number>();
  for (const { kind } of operators) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  // As the `tflite` package of PyPI lists them.
  expect(Object.fromEntries(counts)).toEqual({
    dequantize: 178,
    conv: 49,
    relu: 47,
    "depthwise conv": 40,
    add: 23,
    pad: 8,
    "max pool": 4,
    "resize bilinear": 3,
    reshape: 2,
  });
  expect(inputs.map((id) => tensors[id]?.shape)).toEqual([[1, 192, 192, 3]]);
  expect(outputs.map((id) => tensors[id]?.shape)).toEqual([
    [1, 2304, 16],
    [1, 2304, 1],
  ]);
});

test("strides and paddings are those of the first operators", () => {
  const convolutions = readTflite(bytes).operators.filter(({ kind }) => kind === "conv" || kind === "depthwise conv");
  expect(convolutions.slice(0, 3).map(({ kind, stride, padding }) => [kind, stride, padding])).toEqual([
    ["conv", 2, "same"],
    ["depthwise conv", 1, "same"],
    ["conv", 1, "valid"],
  ]);
});

test("a file of another kind, or one that breaks off, is refused", () => {
  expect(() => readTflite(new Uint8Array(64))).toThrow("no TensorFlow Lite file");
  expect(() => readTflite(bytes.subarray(0, 200_000))).toThrow(RangeError);
});
