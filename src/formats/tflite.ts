/** Reads TensorFlow Lite models (schema version 3): the operators in order, and the weights as float32. */
import { float16ToFloat32 } from "./float16.ts";
import { type FlatTable, readFlatRoot } from "./flatbuffers.ts";

export interface TfliteTensor {
  /** As the file has it: pictures are [batch, height, width, channels]. */
  readonly shape: readonly number[];
  /** Undefined for what operators compute. */
  readonly data: Float32Array | Int32Array | undefined;
}

/** One operator. Tensors by their number; -1 is an input that was left out. */
export interface TfliteOperator {
  readonly kind: TfliteKind;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  readonly padding: "same" | "valid";
  readonly stride: number;
  /** Side of the square that a pooling looks at. */
  readonly filter: number;
  /** Whether corners of the picture fall on corners of the result, in resizing. */
  readonly alignsCorners: boolean;
  readonly halfPixelCenters: boolean;
}

export interface TfliteNetwork {
  readonly tensors: readonly TfliteTensor[];
  readonly operators: readonly TfliteOperator[];
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

/** Operators that are understood, by their number in the schema. */
const kinds = {
  0: "add",
  3: "conv",
  4: "depthwise conv",
  6: "dequantize",
  17: "max pool",
  19: "relu",
  22: "reshape",
  23: "resize bilinear",
  34: "pad",
} as const;
export type TfliteKind = (typeof kinds)[keyof typeof kinds];

/**
 * @throws Error for a file of another kind, an operator that is not understood, or a weight that is not float or int32
 * @example const { operators, tensors } = readTflite(await readFile("face_detection_full_range.tflite"));
 */
export function readTflite(bytes: Uint8Array): TfliteNetwork {
  if (new TextDecoder().decode(bytes.subarray(4, 8)) !== "TFL3") throw new Error("tflite: no TensorFlow Lite file (TFL3)");
  const model = readFlatRoot(bytes);
  const codes = model.tables(1).map((code) => Math.max(code.int8(0, 0), code.int32(3, 0)));
  const buffers = model.tables(4);
  const [graph] = model.tables(2);
  if (!graph) throw new Error("tflite: the file holds no graph");
  return {
    tensors: graph.tables(0).map((tensor) => readTensor(tensor, buffers)),
    operators: graph.tables(3).map((operator) => readOperator(operator, codes)),
    inputs: graph.int32s(1),
    outputs: graph.int32s(2),
  };
}

function readTensor(tensor: FlatTable, buffers: readonly FlatTable[]): TfliteTensor {
  const shape = tensor.int32s(0);
  const type = tensor.int8(1, 0);
  const bytes = buffers[tensor.int32(2, 0)]?.bytes(0) ?? new Uint8Array();
  if (bytes.length === 0) return { shape, data: undefined };
  // A copy starts at a multiple of four bytes, as typed arrays need.
  const { buffer } = bytes.slice();
  if (type === 0) return { shape, data: new Float32Array(buffer) };
  if (type === 1) return { shape, data: float16ToFloat32(new Uint16Array(buffer)) };
  if (type === 2) return { shape, data: new Int32Array(buffer) };
  throw new Error(`tflite: tensor ${tensor.text(3)} has type ${type}; float32 (0), float16 (1) and int32 (2) are read`);
}

function readOperator(operator: FlatTable, codes: readonly number[]): TfliteOperator {
  const code = codes[operator.int32(0, 0)] ?? -1;
  const kind = (kinds as Readonly<Record<number, TfliteKind>>)[code];
  if (kind === undefined) throw new Error(`tflite: operator ${code} is not understood`);
  const options = operator.table(4);
  if (fusedActivation(kind, options) !== 0) throw new Error(`tflite: ${kind} with an activation inside is not understood`);
  const resizes = kind === "resize bilinear";
  return {
    kind,
    inputs: operator.int32s(1),
    outputs: operator.int32s(2),
    padding: options?.int8(0, 0) === 1 ? "valid" : "same",
    stride: options && !resizes && kind !== "add" ? options.int32(1, 1) : 1,
    filter: kind === "max pool" ? (options?.int32(3, 1) ?? 1) : 1,
    alignsCorners: resizes && options?.int8(2, 0) === 1,
    halfPixelCenters: resizes && options?.int8(3, 0) === 1,
  };
}

function fusedActivation(kind: TfliteKind, options: FlatTable | undefined): number {
  const field = { add: 0, conv: 3, "depthwise conv": 4, "max pool": 5 } as const;
  return kind in field ? (options?.int8(field[kind as keyof typeof field], 0) ?? 0) : 0;
}
