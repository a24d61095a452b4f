/** How a model asks for its weights: a place in a graph, named exactly as the checkpoint names it. */
import { Graph, type DType, type Shape, type Value } from "../graph/graph.ts";

/**
 * A place in a model. `key` is the component and the path of the checkpoint's keys below it, e.g.
 * "unet.down_blocks.1.attentions.0"; a weight asked for here becomes the graph's buffer `${key}.${name}`.
 */
export interface Params {
  readonly graph: Graph;
  readonly key: string;
  /** What dtype the weights have in the graph, and so the activations too. */
  readonly dtype: DType;
  /** The place `name` below this one. Dots go several levels down. */
  at(name: string | number): Params;
  /** The weight `name` of this place. Asking twice gives the same value. */
  get(name: string, shape: Shape): Value;
  /** Runs `build` with this place as the graph's scope, so that messages say where they come from. */
  scope<T>(build: () => T): T;
  /** Like `scope`, and marks the nodes as one block, which rematerialisation keeps or recomputes as a whole. */
  block<T>(build: () => T): T;
}

/**
 * The root of one component's weights.
 *
 * @example
 * const params = createParams(graph, "unet");
 * params.at("conv_in").get("weight", [320, 4, 3, 3]); // the buffer "unet.conv_in.weight"
 */
export function createParams(graph: Graph, key: string, dtype: DType = "float32"): Params {
  return {
    graph,
    key,
    dtype,
    at: (name) => createParams(graph, `${key}.${name}`, dtype),
    get: (name, shape) => graph.buffer(`${key}.${name}`, shape, dtype),
    scope: (build) => graph.marked({ scope: key }, build),
    block: (build) => graph.marked({ scope: key, block: key }, build),
  };
}

/** A weight that a model needs. */
export interface ParameterSpec {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype: DType;
}

/**
 * Every weight that what `build` builds needs, in the order of use. Nothing is run.
 *
 * @example
 * const specs = listParameters((graph) => {
 *   linear(createParams(graph, "layer"), graph.feed("x", [1, 4]), 8);
 * }); // layer.weight [8, 4], layer.bias [8]
 */
export function listParameters(build: (graph: Graph) => void): readonly ParameterSpec[] {
  const graph = new Graph();
  build(graph);
  return graph.inputs.flatMap(({ attrs: { kind, name, shape, dtype } }) => (kind === "buffer" ? [{ name, shape, dtype }] : []));
}
