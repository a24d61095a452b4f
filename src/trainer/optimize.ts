/** The second half of a training step as graph: gradients, norm clipping, accumulation and AdamW. */
import { grad } from "../autodiff/grad.ts";
import { add, div, min, mul, reduceSum, sqrt, square, zerosLike } from "../graph/build.ts";
import { Graph, type Shape, type Value } from "../graph/graph.ts";

/** Parameters that share a learning rate; the feed `learningRate.<name>` holds it. */
export interface ParameterGroup {
  readonly name: string;
  readonly parameters: readonly Parameter[];
}

/** A trained buffer. */
export interface Parameter {
  readonly name: string;
  readonly shape: Shape;
}

export interface OptimizerSettings {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** Gradients are scaled down to this norm, over all groups together. Infinity switches it off. */
  readonly maxGradNorm: number;
}

/** How losses and gradients are calculated, besides what the graph says. */
export interface GradientOptions {
  /** The loss is multiplied by this before the backward, and gradients are divided by it: float16 loses what is below 6e-8. */
  readonly lossScale?: number;
}

/** With it the gradients of a mean over some 10,000 numbers are in the middle of float16's range. */
export const float16LossScale = 2 ** 10;

/** The buffers that AdamW keeps for a parameter, and the one that gradients are summed in. */
export function stateNames(parameter: string): { m: string; v: string; grad: string } {
  return { m: `${parameter}.m`, v: `${parameter}.v`, grad: `${parameter}.grad` };
}

/** Appends gradients, clipping and AdamW to a graph with a loss: a whole step in one run. */
export function appendStep(
  loss: Value,
  groups: readonly ParameterGroup[],
  settings: OptimizerSettings,
  { lossScale = 1 }: GradientOptions = {},
): void {
  appendUpdate(loss.graph, groups, gradients(loss, groups, lossScale), settings);
}

/** Appends gradients, each times `share`, to the accumulators: one microstep of several. */
export function appendAccumulation(
  loss: Value,
  groups: readonly ParameterGroup[],
  share: number,
  { lossScale = 1 }: GradientOptions = {},
): void {
  const { graph } = loss;
  const found = gradients(mulScalar(loss, share), groups, lossScale);
  for (const { name, shape } of allParameters(groups)) {
    const sum = graph.buffer(stateNames(name).grad, shape);
    const update = graph.marked({ phase: "update" }, () => add(sum, gradientOf(found, name)));
    graph.updates.set(stateNames(name).grad, update);
  }
}

/** The step that follows the last microstep: AdamW from the accumulators, which are then zero again. */
export function buildApplyStep(groups: readonly ParameterGroup[], settings: OptimizerSettings): Graph {
  const graph = new Graph();
  const sums = new Map(allParameters(groups).map(({ name, shape }) => [name, graph.buffer(stateNames(name).grad, shape)]));
  appendUpdate(graph, groups, sums, settings);
  for (const [name, sum] of sums) graph.updates.set(stateNames(name).grad, zerosLike(sum));
  return graph;
}

function mulScalar(x: Value, factor: number): Value {
  return factor === 1 ? x : mul(x, factor);
}

function allParameters(groups: readonly ParameterGroup[]): readonly Parameter[] {
  return groups.flatMap((group) => group.parameters);
}

/** Several processes that train together would add theirs up here, before the norm is taken and anything is updated. */
function gradients(loss: Value, groups: readonly ParameterGroup[], lossScale: number): ReadonlyMap<string, Value> {
  const parameters = allParameters(groups);
  const scaled = grad(
    mulScalar(loss, lossScale),
    parameters.map(({ name, shape }) => loss.graph.buffer(name, shape)),
  );
  const found = loss.graph.marked({ phase: "update" }, () => scaled.map((gradient) => mulScalar(gradient, 1 / lossScale)));
  return new Map(parameters.flatMap(({ name }, i) => (found[i] ? [[name, found[i]] as const] : [])));
}

function gradientOf(found: ReadonlyMap<string, Value>, name: string): Value {
  const value = found.get(name);
  if (!value) throw new Error(`internal: optimize: no gradient for ${name}`);
  return value;
}

function appendUpdate(
  graph: Graph,
  groups: readonly ParameterGroup[],
  found: ReadonlyMap<string, Value>,
  settings: OptimizerSettings,
): void {
  graph.marked({ scope: "optimizer", block: undefined, phase: "update" }, () => {
    const norm = globalNorm([...found.values()]);
    graph.fetches.set("gradNorm", norm);
    const { maxGradNorm, ...adamw } = settings;
    // As torch.nn.utils.clip_grad_norm_: the small number keeps a zero gradient from dividing by zero.
    const clip = Number.isFinite(maxGradNorm) ? min(div(maxGradNorm, add(norm, 1e-6)), 1) : undefined;
    const corrections = [graph.feed("correction1", []), graph.feed("correction2", [])] as const;
    for (const group of groups) {
      const rate = graph.feed(`learningRate.${group.name}`, []);
      for (const { name, shape } of group.parameters) {
        const names = stateNames(name);
        const state = [graph.buffer(name, shape), graph.buffer(names.m, shape), graph.buffer(names.v, shape)] as const;
        const gradient = gradientOf(found, name);
        const clipped = clip ? mul(gradient, clip) : gradient;
        const [weight, m, v] = graph.emit("AdamW", [...state, clipped, rate, ...corrections], adamw);
        graph.updates.set(name, weight).set(names.m, m).set(names.v, v);
      }
    }
  });
}

/** The Euclidean norm of all gradients as one vector. */
function globalNorm(values: readonly Value[]): Value {
  const [first, ...others] = values.map((value) => reduceSum(square(value)));
  if (!first) throw new Error("internal: optimize: nothing to train");
  return sqrt(others.reduce((sum, value) => add(sum, value), first));
}
