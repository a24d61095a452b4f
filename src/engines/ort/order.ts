/**
 * Makes ONNX Runtime run a model's nodes in the order in which they were written, which is the order that memory was predicted for.
 *
 * It runs nodes in post-order of a depth-first walk that starts at the nodes whose outputs nothing reads, and goes from a node to those
 * that made its inputs; among several it takes the one with the highest number first (`Graph::ReverseDFSFrom` and the
 * constructor of `GraphViewer` in its sources). So nodes are numbered backwards, and wherever the walk would still
 * leave our order, a tiny node that nothing reads pins it: the walk comes to the pins in the order of their numbers.
 */
import { create } from "@bufbuild/protobuf";
import { NodeProtoSchema, type NodeProto } from "onnx-buf";

/** A run of nodes that a walk from its last one visits in order: all that the last one needs and that is not in an earlier run. */
interface Run {
  readonly first: number;
  readonly last: number;
}

/**
 * The nodes in the order in which they run, pins among them: to be written to the model backwards.
 *
 * @param nodes in topological order
 */
export function withPins(nodes: readonly NodeProto[]): readonly NodeProto[] {
  const isRead = new Set(nodes.flatMap((node) => node.input));
  const pinned = new Set(findRuns(nodes).map((run) => run.last));
  return nodes.flatMap((node, i) => {
    const isLeaf = !node.output.some((name) => isRead.has(name));
    return pinned.has(i) && !isLeaf ? [node, pinOf(node)] : [node];
  });
}

/** Identity is a view: it takes no memory, and is done in a microsecond or less. */
function pinOf(node: NodeProto): NodeProto {
  const value = node.output.find((name) => name !== "") ?? "";
  return create(NodeProtoSchema, { opType: "Identity", name: `pin:${value}`, input: [value], output: [`pin:${value}`] });
}

/**
 * Cuts the order into few runs: a node swallows, from the latest back, the runs whose last node it reads, as long as they lie one behind
 * the other. What else it reads inside such a run must end a part of it that starts where the run starts, because the walk goes there
 * first and does that part in order; otherwise the run stays on its own, and its pin has it done before.
 */
function findRuns(nodes: readonly NodeProto[]): readonly Run[] {
  const makerOf = new Map<string, number>();
  /** Where the run began that each node ended when it was added. */
  const starts: number[] = [];
  const runs: Run[] = [];
  nodes.forEach((node, i) => {
    const makers = new Set(node.input.flatMap((name) => makerOf.get(name) ?? []));
    let first = i;
    for (let run = runs.at(-1); run && makers.has(run.last); run = runs.at(-1)) {
      const start = run.first;
      const last = run.last;
      if ([...makers].some((maker) => maker >= start && maker < last && starts[maker] !== start)) break;
      first = start;
      runs.pop();
    }
    starts.push(first);
    runs.push({ first, last: i });
    for (const name of node.output) makerOf.set(name, i);
  });
  return runs;
}
