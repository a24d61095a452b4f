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
  /** Those that hang on the sizes of inputs among them: see `ModelBuilder`. */
  readonly constants: readonly TensorProto[];
  readonly inputs: ReadonlyMap<OnnxName, TensorType>;
  readonly outputs: ReadonlySet<OnnxName>;
}

/**
 * A model under construction. Nodes are added in topological order. In one that is `sized`, each shape and each constant is a name of its own even
 * where several are equal: models of graphs that differ in the sizes of their inputs alone then differ in those constants alone.
 */
export class ModelBuilder {
  readonly #isSized: boolean;
  /** Of a sized model, the constants that another size may make different. */
  readonly #sizes = new Map<OnnxName, ConstantTensor>();
  readonly #sizeTensors = new Map<string, ConstantTensor>();
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

  constructor({ isSized = false }: { readonly isSized?: boolean } = {}) {
    this.#isSized = isSized;
  }

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
    return this.#constant(int64Tensor(values));
  }

  /** As `int64s`, for places that may hang on the sizes of the model's inputs. */
  places(values: readonly number[]): OnnxName {
    return this.#isSized ? this.#size(int64Tensor(values)) : this.int64s(values);
  }

  /**
   * The shape that a Reshape or Expand is to make, hidden from ONNX Runtime's shape inference behind an Identity: see `valueInfo`.
   */
  shape(values: readonly number[]): OnnxName {
    if (this.#isSized) return this.node("Identity", [this.#size(int64Tensor(values))]);
    const constant = this.int64s(values);
    const known = this.#shapes.get(constant);
    if (known !== undefined) return known;
    const hidden = this.node("Identity", [constant]);
    this.#shapes.set(constant, hidden);
    return hidden;
  }

  /** A constant in row-major order. */
  constant(values: readonly number[] | Float32Array, shape: Shape, dtype: "float32" | "int32" = "float32"): OnnxName {
    const data = dtype === "int32" ? Int32Array.from(values) : Float32Array.from(values);
    const tensor = { dims: shape, data };
    return this.#isSized ? this.#size(tensor) : this.#constant(tensor);
  }

  #constant(tensor: ConstantTensor): OnnxName {
    const key = keyOf(tensor);
    const known = this.#initializers.get(key);
    if (known) return known.name;
    const name = this.newName();
    this.#initializers.set(key, protoOf(name, tensor));
    return name;
  }

  #size(tensor: ConstantTensor): OnnxName {
    const key = keyOf(tensor);
    const known = this.#sizeTensors.get(key) ?? tensor;
    this.#sizeTensors.set(key, known);
    const name = `size:${this.#sizes.size}`;
    this.#sizes.set(name, known);
    return name;
  }

  /** Of a sized model, its shapes and constants; equal ones are one object. */
  get sizes(): ReadonlyMap<OnnxName, ConstantTensor> {
    return this.#sizes;
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
    const constants = [...this.#initializers.values(), ...[...this.#sizes].map(([name, tensor]) => protoOf(name, tensor))];
    return { nodes: withPins(this.#nodes), constants, inputs: this.#inputTypes, outputs };
  }

  /**
   * The model's bytes; ONNX Runtime will run the nodes in the order in which they were added.
   *
   * @param fed of a sized model: by the name of each shape or constant that differs between sizes, the input that it comes from
   */
  toBytes(fed: ReadonlyMap<OnnxName, OnnxName> = new Map()): Uint8Array<ArrayBuffer> {
    const { sources, initializers, inputs } = this.#placeSizes(fed);
    const placed = (node: NodeProto): NodeProto =>
      node.input.some((name) => sources.has(name))
        ? create(NodeProtoSchema, { ...node, input: node.input.map((name) => sources.get(name) ?? name) })
        : node;
    // ONNX Runtime comes to the last one first: see order.ts.
    const nodes = this.contents().nodes.map(placed).reverse();
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
        initializer: [...this.#initializers.values(), ...initializers],
        input: [...this.#inputs, ...inputs],
        output: this.#outputs,
      }),
    });
    return toBinary(ModelProtoSchema, model);
  }

  /** What each shape or constant of a sized model is read from: an input where it is fed, else one initializer for all that are equal. */
  #placeSizes(fed: ReadonlyMap<OnnxName, OnnxName>): PlacedSizes {
    const sources = new Map(fed);
    const inputs = new Map<OnnxName, ValueInfoProto>();
    const initializers = new Map<ConstantTensor, TensorProto>();
    for (const [name, tensor] of this.#sizes) {
      const input = fed.get(name);
      if (input !== undefined) inputs.set(input, describeValue(input, dataTypeOf(tensor), tensor.dims, "rank"));
      else {
        const initializer = initializers.get(tensor) ?? protoOf(name, tensor);
        initializers.set(tensor, initializer);
        sources.set(name, initializer.name);
      }
    }
    return { sources, initializers: [...initializers.values()], inputs: [...inputs.values()] };
  }
}

interface PlacedSizes {
  readonly sources: ReadonlyMap<OnnxName, OnnxName>;
  readonly initializers: readonly TensorProto[];
  readonly inputs: readonly ValueInfoProto[];
}

/** A constant in row-major order. */
export interface ConstantTensor {
  readonly dims: Shape;
  readonly data: BigInt64Array<ArrayBuffer> | Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;
}

function int64Tensor(values: readonly number[]): ConstantTensor {
  return { dims: [values.length], data: BigInt64Array.from(values, BigInt) };
}

function dataTypeOf({ data }: ConstantTensor): DataType {
  if (data instanceof BigInt64Array) return DataType.INT64;
  return data instanceof Float32Array ? DataType.FLOAT : DataType.INT32;
}

/** Equal for equal constants alone. */
export function keyOf(tensor: ConstantTensor): string {
  return `${dataTypeOf(tensor)}[${tensor.dims.join()}]${Buffer.from(tensor.data.buffer).toString("latin1")}`;
}

function protoOf(name: OnnxName, tensor: ConstantTensor): TensorProto {
  const rawData = new Uint8Array(tensor.data.buffer);
  return create(TensorProtoSchema, { name, dataType: dataTypeOf(tensor), dims: tensor.dims.map(BigInt), rawData });
}

/**
 * Inputs are declared by their rank alone. Where ONNX Runtime knows two values to have one shape, its planner hands the memory of the first,
 * once it is dead, to the second, and holds it from the one to the other, which may be from the forward pass to the backward.
 */
function valueInfo(name: OnnxName, { shape, dtype }: TensorType, known: "shape" | "rank"): ValueInfoProto {
  if (dtype !== "float32" && dtype !== "int32")
    throw new Error(`ort: ${name} is ${dtype}, which the CPU engine does not compute in`);
  return describeValue(name, dataTypes[dtype], shape, known);
}

function describeValue(name: OnnxName, elemType: DataType, shape: Shape, known: "shape" | "rank"): ValueInfoProto {
  const dim = shape.map((size) =>
    create(TensorShapeProto_DimensionSchema, known === "shape" ? { value: { case: "dimValue", value: BigInt(size) } } : {}),
  );
  const tensor = create(TypeProto_TensorSchema, {
    elemType,
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
