/** What every engine checks of what it is given. Each message begins with the engine's name: what fails here is a bug of ours. */
import { formatType, type Graph, shapesEqual, sizeOf, type TensorType } from "../graph/graph.ts";
import type { BufferSpec, DeviceProfile, TensorData } from "./engine.ts";

type EngineName = DeviceProfile["engine"];

/** Every buffer that a graph reads or updates has been allocated with the same type. */
export function needBuffers(who: EngineName, graph: Graph, name: string, specs: ReadonlyMap<string, BufferSpec>): void {
  for (const { attrs } of graph.inputs) {
    if (attrs.kind !== "buffer") continue;
    const spec = specs.get(attrs.name);
    if (!spec) throw new Error(`${who}: ${name} reads buffer ${attrs.name}, which was not allocated`);
    if (!sameType(spec, attrs)) {
      throw new Error(`${who}: ${name} needs buffer ${attrs.name} as ${formatType(attrs)}, it is ${formatType(spec)}`);
    }
  }
  for (const [buffer, value] of graph.updates) {
    const spec = specs.get(buffer);
    if (!spec) throw new Error(`${who}: ${name} updates buffer ${buffer}, which was not allocated`);
    if (!sameType(spec, value)) {
      throw new Error(`${who}: ${name} updates buffer ${buffer} with ${formatType(value)}, it is ${formatType(spec)}`);
    }
  }
}

function sameType(a: TensorType, b: TensorType): boolean {
  return a.dtype === b.dtype && shapesEqual(a.shape, b.shape);
}

/** As many numbers as the type has elements: integers for int32, float32 for every float. */
export function needData(who: EngineName, what: string, type: TensorType, data: TensorData): void {
  const wanted = type.dtype === "int32" ? "Int32Array" : "Float32Array";
  if (data.constructor.name !== wanted || data.length !== sizeOf(type.shape)) {
    throw new Error(`${who}: ${what} is ${formatType(type)}, got ${data.constructor.name}(${data.length})`);
  }
}

/** Exactly the feeds that a graph has. */
export function needFeeds(
  who: EngineName,
  name: string,
  types: ReadonlyMap<string, TensorType>,
  feeds: Readonly<Record<string, TensorData>>,
): void {
  for (const [feed, type] of types) {
    const data = feeds[feed];
    if (!data) throw new Error(`${who}: ${name} was run without feed ${feed} (${formatType(type)})`);
    needData(who, `feed ${feed} of ${name}`, type, data);
  }
  const extra = Object.keys(feeds).find((feed) => !types.has(feed));
  if (extra !== undefined)
    throw new Error(`${who}: ${name} has no feed ${extra}; it has ${[...types.keys()].join(", ") || "none"}`);
}
