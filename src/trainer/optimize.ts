/** The second half of a training step as graph: gradients, norm clipping, accumulation and AdamW. */
import { grad } from "../autodiff/grad.ts";
import { add, allReduceMean, div, min, mul, reduceSum, sqrt, square, zerosLike } from "../graph/build.ts";
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
  /** Several workers run the step, each on its own pictures: loss and gradients are their mean, taken before the norm is. */
  readonly isShared?: boolean;
}

/** With it the gradients of a mean over some 10,000 numbers are in the middle of float16's range. */
export const float16LossScale = 2 ** 10;

/** The buffers that AdamW keeps for a parameter, and the one that gradients are summed in. */
export function stateNames(parameter: string): { m: string; v: string; grad: string } {
  return { m: `${parameter}.m`, v: `${parameter}.v`, grad: `${parameter}.grad` };
}

/**
 * Appends gradients, clipping and AdamW to a graph with a loss: a whole step in one run.
 *
 * @returns the loss over all pictures of the step, for the caller to fetch
 */
export function appendStep(
  loss: Value,
  groups: readonly ParameterGroup[],
  settings: OptimizerSettings,
  { lossScale = 1, isShared = false }: GradientOptions = {},
): Value {
  const own = gradients(loss, groups, lossScale);
  const [mean, found] = isShared ? averageOverWorkers(loss, own) : [loss, own];
  appendUpdate(loss.graph, groups, found, settings);
  return mean;
}

/**
 * Appends gradients, each times `share`, to the accumulators: one microstep of several. Every worker has accumulators of its own.
 *
 * @returns the loss over all pictures of the microstep
 */
export function appendAccumulation(
  loss: Value,
  groups: readonly ParameterGroup[],
  share: number,
  { lossScale = 1, isShared = false }: GradientOptions = {},
): Value {
  const { graph } = loss;
  const found = gradients(mulScalar(loss, share), groups, lossScale);
  for (const { name, shape } of allParameters(groups)) {
    const sum = graph.buffer(stateNames(name).grad, shape);
    const update = graph.marked({ phase: "update" }, () => add(sum, gradientOf(found, name)));
    graph.updates.set(stateNames(name).grad, update);
  }
  return isShared ? averageOverWorkers(loss, new Map())[0] : loss;
}

/** The step that follows the last microstep: AdamW from the accumulators, which are then zero again. */
export function buildApplyStep(
  groups: readonly ParameterGroup[],
  settings: OptimizerSettings,
  { isShared = false }: Pick<GradientOptions, "isShared"> = {},
): Graph {
  const graph = new Graph();
  const sums = new Map(allParameters(groups).map(({ name, shape }) => [name, graph.buffer(stateNames(name).grad, shape)]));
  appendUpdate(graph, groups, isShared ? averageAll(sums) : sums, settings);
  for (const [name, sum] of sums) graph.updates.set(stateNames(name).grad, zerosLike(sum));
  return graph;
}

function mulScalar(x: Value, factor: number): Value {
  return factor === 1 ? x : mul(x, factor);
}

function allParameters(groups: readonly ParameterGroup[]): readonly Parameter[] {
  return groups.flatMap((group) => group.parameters);
}

/** A loss and gradients as all workers together have them. */
function averageOverWorkers(loss: Value, found: ReadonlyMap<string, Value>): readonly [Value, ReadonlyMap<string, Value>] {
  const key = "";
  const averaged = averageAll(new Map([[key, loss], ...found]));
  const mean = averaged.get(key);
  if (!mean) throw new Error("internal: optimize: the loss was not averaged");
  return [mean, new Map([...averaged].filter(([name]) => name !== key))];
}

/** In one exchange, before the norm is taken and anything is updated. */
function averageAll(values: ReadonlyMap<string, Value>): ReadonlyMap<string, Value> {
  const [first, ...others] = values.values();
  if (!first) throw new Error("internal: optimize: nothing to train");
  const means = first.graph.marked({ scope: "optimizer", block: undefined, phase: "update" }, () =>
    allReduceMean([first, ...others]),
  );
  return new Map([...values.keys()].flatMap((name, i) => (means[i] ? [[name, means[i]] as const] : [])));
}

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
