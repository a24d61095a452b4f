/** Checks everything that a pass must keep; run between passes in tests. */
import { formatType, type Graph, inputsOf, type Node, type NodeOf, shapesEqual, type TensorType, type Value } from "./graph.ts";
import { inferRules } from "./infer.ts";
import type { OpName } from "./ops.ts";

/**
 * @throws Error naming the node and its place in the model: when an input belongs to another graph or is made later, an output's type
 *   is not what the operator infers, a mark is wrong, or a fetch or update is not a value of the graph or does not fit its buffer
 */
export function verify(graph: Graph): void {
  const made = new Set<Value>();
  const names = new Set<string>();
  for (const node of graph.nodes) {
    for (const input of inputsOf(node)) {
      if (input.graph !== graph) fail(node, `its input %${input.id} belongs to another graph`);
      if (!made.has(input)) fail(node, `its input %${input.id} (${input.node.op}) is not made before it`);
    }
    checkTypes(node);
    checkMarks(node);
    if (node.op === "Input") {
      if (names.has(node.attrs.name)) fail(node, `the name ${node.attrs.name} is taken`);
      names.add(node.attrs.name);
    }
    for (const output of node.outputs) {
      if (output.graph !== graph || output.node !== node || made.has(output))
        fail(node, `its output %${output.id} is not its own`);
      made.add(output);
    }
  }
  checkResults(graph, made);
}

function checkTypes(node: Node): void {
  const rule = inferRules[node.op] as (inputs: readonly Value[], attrs: unknown) => readonly TensorType[];
  let types: readonly TensorType[];
  try {
    types = rule(inputsOf(node), node.attrs);
  } catch (error) {
    return fail(node, (error as Error).message);
  }
  if (types.length !== node.outputs.length) fail(node, `it has ${node.outputs.length} outputs, needed ${types.length}`);
  node.outputs.forEach((output, i) => {
    const type = types[i];
    if (!type || !sameType(output, type)) {
      fail(node, `output ${i} is ${formatType(output)}, needed ${type ? formatType(type) : "nothing"}`);
    }
    if (output.index !== i) fail(node, `output ${i} says it is output ${output.index}`);
  });
}

function checkMarks(node: Node): void {
  const { scope, block, phase, recompute } = node;
  if (!["forward", "backward", "update"].includes(phase)) fail(node, `there is no phase ${phase}`);
  if (block !== undefined && scope !== block && !scope.startsWith(`${block}.`))
    fail(node, `its block ${block} is not around it`);
  if (recompute && phase !== "backward") fail(node, `a recomputed node belongs to the backward, not to ${phase}`);
}

function checkResults(graph: Graph, made: ReadonlySet<Value>): void {
  for (const [name, value] of graph.fetches) {
    if (!made.has(value)) throw new Error(`verify: fetch ${name} is no value of this graph`);
  }
  const buffers = new Map(graph.inputs.flatMap(({ attrs }) => (attrs.kind === "buffer" ? [[attrs.name, attrs] as const] : [])));
  for (const [name, value] of graph.updates) {
    if (!made.has(value)) throw new Error(`verify: update ${name} is no value of this graph`);
    const buffer = buffers.get(name);
    if (!buffer) throw new Error(`verify: update ${name}: the graph has no buffer of this name`);
    if (!sameType(value, buffer))
      fail(value.node, `update ${name} is ${formatType(value)}, its buffer is ${formatType(buffer)}`);
  }
}

function sameType(a: TensorType, b: TensorType): boolean {
  return a.dtype === b.dtype && shapesEqual(a.shape, b.shape);
}

function fail(node: NodeOf<OpName> | Node, message: string): never {
  const place = node.scope ? `\n  at ${node.scope}` : "";
  throw new Error(`verify: %${node.outputs[0].id} = ${node.op}: ${message}${place}`);
}
