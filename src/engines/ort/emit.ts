/** Writes ONNX models: collects nodes, constants, inputs and outputs, and turns them into the bytes that a session loads. */
import { create, toBinary } from "@bufbuild/protobuf";
import {
  AttributeProto_AttributeType as AttributeType,
  AttributeProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  TensorProto_DataType as DataType,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  ValueInfoProtoSchema,
  type AttributeProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from "onnx-buf";
import type { Shape, TensorType } from "../../graph/graph.ts";
import { withPins } from "./order.ts";

/** ONNX's names are int, float, string and lists of them; a number is written as float only where the caller says so. */
export type OnnxAttribute = number | string | readonly number[] | { readonly float: number };
export type OnnxAttributes = Readonly<Record<string, OnnxAttribute>>;

/** Name of a value in the model; "" leaves an optional input or output out. */
export type OnnxName = string;

/** Operators of ONNX Runtime itself, beside ONNX's own. */
const CONTRIB_DOMAIN = "com.microsoft";
/** The newest operator set that brings something we use (Gelu, 20; shapes of int4 and such since then are of no use here). */
const OPSET = 21n;
const IR_VERSION = 10n;

const dataTypes = { float32: DataType.FLOAT, int32: DataType.INT32 } as const;

/** What is in a model. */
export interface ModelContents {
  readonly nodes: readonly NodeProto[];
  readonly constants: readonly TensorProto[];
  readonly inputs: ReadonlyMap<OnnxName, TensorType>;
  readonly outputs: ReadonlySet<OnnxName>;
}

/** A model under construction. Nodes are added in topological order. */
export class ModelBuilder {
  readonly #nodes: NodeProto[] = [];
  readonly #initializers = new Map<string, TensorProto>();
  readonly #inputs: ValueInfoProto[] = [];
  readonly #outputs: ValueInfoProto[] = [];
  readonly #inputTypes = new Map<OnnxName, TensorType>();
  /** Names that nodes write. */
  readonly #made = new Set<OnnxName>();
  /** Values that are outputs of the model, which fixes their names. */
  readonly #renamed = new Map<OnnxName, OnnxName>();
  /** Identities of constant shapes. */
  readonly #shapes = new Map<OnnxName, OnnxName>();
  #names = 0;
  #contents: ModelContents | undefined;

  input(name: OnnxName, type: TensorType): void {
    this.#inputs.push(valueInfo(name, type, "rank"));
    this.#inputTypes.set(name, type);
  }

  /** Declares a value as an output of the model. The node that makes it writes there at once; where none does, it is copied there. */
  output(name: OnnxName, type: TensorType, value: OnnxName): void {
    this.#outputs.push(valueInfo(name, type, "shape"));
    if (this.#made.has(value) && !this.#renamed.has(value)) this.#renamed.set(value, name);
    else this.node("Identity", [value], {}, name);
  }

  /** Adds a node with one output and returns that output's name: a new one, unless one is given. */
  node(op: string, inputs: readonly OnnxName[], attributes: OnnxAttributes = {}, output: OnnxName = this.newName()): OnnxName {
    this.nodeWithOutputs(op, inputs, attributes, [output]);
    return output;
  }

  /** Adds a node; an operator written as "com.microsoft:Name" belongs to ONNX Runtime's own domain. */
  nodeWithOutputs(op: string, inputs: readonly OnnxName[], attributes: OnnxAttributes, outputs: readonly OnnxName[]): void {
    for (const name of outputs) this.#made.add(name);
    const contrib = op.startsWith(`${CONTRIB_DOMAIN}:`);
    this.#nodes.push(
      create(NodeProtoSchema, {
        opType: contrib ? op.slice(CONTRIB_DOMAIN.length + 1) : op,
        domain: contrib ? CONTRIB_DOMAIN : "",
        name: outputs[0] ?? "",
        input: [...inputs],
        output: [...outputs],
        attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
      }),
    );
  }

  newName(): OnnxName {
    return `t${this.#names++}`;
  }

  /** A constant list of int64, as ONNX wants shapes, axes and paddings. */
  int64s(values: readonly number[]): OnnxName {
    return this.#constant(DataType.INT64, [values.length], BigInt64Array.from(values, BigInt));
  }

  /**
   * The shape that a Reshape or Expand is to make, hidden from ONNX Runtime's shape inference behind an Identity: see `valueInfo`.
   */
  shape(values: readonly number[]): OnnxName {
    const constant = this.int64s(values);
    const known = this.#shapes.get(constant);
    if (known !== undefined) return known;
    const hidden = this.node("Identity", [constant]);
    this.#shapes.set(constant, hidden);
    return hidden;
  }

  /** A constant in row-major order. */
  constant(values: readonly number[] | Float32Array, shape: Shape, dtype: "float32" | "int32" = "float32"): OnnxName {
    return this.#constant(dataTypes[dtype], shape, dtype === "int32" ? Int32Array.from(values) : Float32Array.from(values));
  }

  #constant(dataType: DataType, shape: Shape, values: BigInt64Array | Float32Array | Int32Array): OnnxName {
    const bytes = new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);
    const key = `${dataType}[${shape.join()}]${Buffer.from(bytes).toString("latin1")}`;
    const known = this.#initializers.get(key);
    if (known) return known.name;
    const name = this.newName();
    this.#initializers.set(key, create(TensorProtoSchema, { name, dataType, dims: shape.map(BigInt), rawData: bytes }));
    return name;
  }

  /** What the model holds, its nodes in the order in which ONNX Runtime will run them. Nothing can be added afterwards. */
  contents(): ModelContents {
    this.#contents ??= this.#finish();
    return this.#contents;
  }

  #finish(): ModelContents {
    const rename = (name: OnnxName): OnnxName => this.#renamed.get(name) ?? name;
    for (const node of this.#nodes) {
      node.input = node.input.map(rename);
      node.output = node.output.map(rename);
    }
    const outputs = new Set(this.#outputs.map(({ name }) => name));
    // ONNX Runtime holds what nothing reads to the end of the run.
    const read = new Set([...outputs, ...this.#nodes.flatMap(({ input }) => input)]);
    for (const node of this.#nodes) node.output = node.output.map((name, i) => (i === 0 || read.has(name) ? name : ""));
    return { nodes: withPins(this.#nodes), constants: [...this.#initializers.values()], inputs: this.#inputTypes, outputs };
  }

  /** The model's bytes; ONNX Runtime will run the nodes in the order in which they were added. */
  toBytes(): Uint8Array<ArrayBuffer> {
    // ONNX Runtime comes to the last one first: see order.ts.
    const nodes = this.contents().nodes.toReversed();
    const model = create(ModelProtoSchema, {
      irVersion: IR_VERSION,
      producerName: "gesso",
      opsetImport: [
        create(OperatorSetIdProtoSchema, { domain: "", version: OPSET }),
        create(OperatorSetIdProtoSchema, { domain: CONTRIB_DOMAIN, version: 1n }),
      ],
      graph: create(GraphProtoSchema, {
        name: "step",
        node: nodes,
        initializer: [...this.#initializers.values()],
        input: this.#inputs,
        output: this.#outputs,
      }),
    });
    return toBinary(ModelProtoSchema, model);
  }
}

/**
 * Inputs are declared by their rank alone. Where ONNX Runtime knows two values to have one shape, its planner hands the memory of the first,
 * once it is dead, to the second, and holds it from the one to the other, which may be from the forward pass to the backward.
 */
function valueInfo(name: OnnxName, { shape, dtype }: TensorType, known: "shape" | "rank"): ValueInfoProto {
  if (dtype !== "float32" && dtype !== "int32")
    throw new Error(`ort: ${name} is ${dtype}, which the CPU engine does not compute in`);
  const dim = shape.map((size) =>
    create(TensorShapeProto_DimensionSchema, known === "shape" ? { value: { case: "dimValue", value: BigInt(size) } } : {}),
  );
  const tensor = create(TypeProto_TensorSchema, {
    elemType: dataTypes[dtype],
    shape: create(TensorShapeProtoSchema, { dim }),
  });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value: tensor } }),
  });
}

function attribute(name: string, value: OnnxAttribute): AttributeProto {
  if (typeof value === "number") {
    return create(AttributeProtoSchema, { name, type: AttributeType.INT, i: BigInt(value) });
  }
  if (typeof value === "string") {
    return create(AttributeProtoSchema, { name, type: AttributeType.STRING, s: new TextEncoder().encode(value) });
  }
  if ("float" in value) return create(AttributeProtoSchema, { name, type: AttributeType.FLOAT, f: value.float });
  return create(AttributeProtoSchema, { name, type: AttributeType.INTS, ints: value.map(BigInt) });
}
