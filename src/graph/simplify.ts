/**
 * Rewrites that save whole passes over memory and change no result but by rounding: broadcasts that the next operator does anyway, gradients of slices
 * that tile their source, chains of reshapes and transposes, and arithmetic with 0, 1 and constants.
 */
import { add, concat, constant, div, expand, matmul, mul, pad, reshape, sub, transpose } from "./build.ts";
import { type Graph, type NodeOf, type Shape, shapesEqual, type Value } from "./graph.ts";
import { broadcastShapes } from "./infer.ts";
import type { OpName, Ops } from "./ops.ts";
import { rewrite } from "./rewrite.ts";

type SimplifyRule<K extends OpName> = (inputs: Ops[K]["inputs"], attrs: Ops[K]["attrs"]) => Value | undefined;

type BinaryRule = (inputs: Ops["Add"]["inputs"]) => Value | undefined;

/**
 * What a rule made superfluous is left behind for `removeDeadCode`; what it made may be simplified further by another pass.
 *
 * @returns the graph itself where no rule applies
 */
export function simplify(graph: Graph): Graph {
  let isSimpler = false;
  const simplified = rewrite(graph, (node, inputs) => {
    const [output] = node.outputs;
    for (const rule of (rules[node.op] ?? []) as readonly ((inputs: readonly Value[], attrs: unknown) => Value | undefined)[]) {
      const simpler = rule(inputs, node.attrs);
      // A rule that would change the type does not apply.
      if (!simpler || !shapesEqual(simpler.shape, output.shape) || simpler.dtype !== output.dtype) continue;
      isSimpler = true;
      return [simpler];
    }
    return undefined;
  }).graph;
  return isSimpler ? simplified : graph;
}

/** The producer of a value, if it is this operator. */
function from<K extends OpName>(value: Value, op: K): NodeOf<K> | undefined {
  return value.node.op === op ? (value.node as unknown as NodeOf<K>) : undefined;
}

/** The number that every element of a constant, broadcast or not, is. */
function numberOf(value: Value): number | undefined {
  const data = from(from(value, "Expand")?.inputs[0] ?? value, "Constant")?.attrs.data;
  return data?.length === 1 ? data[0] : undefined;
}

/** One number, broadcast. */
function filled({ graph, dtype }: Value, number: number, shape: Shape): Value {
  const ones = shape.map(() => 1);
  return expand(constant(graph, [number], ones, dtype), shape);
}

/** Both the same number everywhere: one number everywhere. */
function fold(calculate: (a: number, b: number) => number) {
  return ([a, b]: Ops["Add"]["inputs"]): Value | undefined => {
    const [x, y] = [numberOf(a), numberOf(b)];
    const shape = broadcastShapes(a.shape, b.shape);
    if (x === undefined || y === undefined) return undefined;
    return filled(a, calculate(x, y), shape);
  };
}

/** The other operand, where one is this number. */
function withoutLeft(neutral: number): BinaryRule {
  return ([a, b]) => (numberOf(a) === neutral ? b : undefined);
}
function withoutRight(neutral: number): BinaryRule {
  return ([a, b]) => (numberOf(b) === neutral ? a : undefined);
}

/** The operands without the broadcasts that the operator does itself; undefined when there are none. */
function unexpanded([a, b]: Ops["Add"]["inputs"]): readonly [Value, Value] | undefined {
  const shape = broadcastShapes(a.shape, b.shape);
  const narrowA = from(a, "Expand")?.inputs[0] ?? a;
  const narrowB = from(b, "Expand")?.inputs[0] ?? b;
  const fits = (x: Value, y: Value): boolean => shapesEqual(broadcastShapes(x.shape, y.shape), shape);
  if (narrowA !== a && fits(narrowA, b)) return [narrowA, b];
  if (narrowB !== b && fits(a, narrowB)) return [a, narrowB];
  return undefined;
}

function broadcast(build: (a: Value, b: Value) => Value): BinaryRule {
  return (inputs) => {
    const pair = unexpanded(inputs);
    return pair && build(...pair);
  };
}

/** x c1 c2 -> x (c1 c2) */
const mulConstants: BinaryRule = ([a, b]) => {
  const [left, right] = [numberOf(a), numberOf(b)];
  const factor = right ?? left;
  const inner = from(right === undefined ? b : a, "Mul");
  if (factor === undefined || !inner) return undefined;
  const [x, y] = inner.inputs;
  const [innerLeft, innerRight] = [numberOf(x), numberOf(y)];
  if (innerRight !== undefined) return mul(x, innerRight * factor);
  return innerLeft === undefined ? undefined : mul(y, innerLeft * factor);
};

const subNegated: BinaryRule = ([a, b]) => {
  const negated = from(b, "Neg");
  return negated && sub(a, negated.inputs[0]);
};

/**
 * The gradients of two neighbouring slices, each padded with zeros to the size of their source, then added: one concatenation, padded
 * where the two leave room for more.
 */
const joinPads: BinaryRule = ([a, b]) => {
  const [padA, padB] = [padded(a), padded(b)];
  if (!padA || !padB) return undefined;
  const differing = a.shape.flatMap((_, i) =>
    padA.before[i] === padB.before[i] && padA.after[i] === padB.after[i] ? [] : [i],
  );
  const [axis] = differing;
  if (axis === undefined || differing.length > 1) return undefined;
  const [first, second] = (padA.before[axis] ?? 0) < (padB.before[axis] ?? 0) ? [padA, padB] : [padB, padA];
  if ((first.before[axis] ?? 0) + (first.x.shape[axis] ?? 0) !== second.before[axis]) return undefined;
  const joined = concat([...parts(first.x, axis), ...parts(second.x, axis)] as [Value, ...Value[]], axis);
  const after = first.after.map((amount, i) => (i === axis ? (second.after[i] ?? 0) : amount));
  return pad(joined, first.before, after);
};

function padded(value: Value): { x: Value; before: Shape; after: Shape } | undefined {
  const node = from(value, "Pad");
  return node && { x: node.inputs[0], ...node.attrs };
}

function parts(x: Value, axis: number): readonly Value[] {
  const joined = from(x, "Concat");
  return joined?.attrs.axis === axis ? joined.inputs : [x];
}

/** A transpose of the last two axes, which a matrix product does by itself. */
function untransposed(x: Value): Value | undefined {
  const node = from(x, "Transpose");
  const rank = x.shape.length;
  if (!node || rank < 2) return undefined;
  const { perm } = node.attrs;
  const swapsLastTwo = perm.every((axis, i) => axis === (i === rank - 1 ? rank - 2 : i === rank - 2 ? rank - 1 : i));
  return swapsLastTwo ? node.inputs[0] : undefined;
}

const rules: { readonly [K in OpName]?: readonly SimplifyRule<K>[] } = {
  Add: [fold((a, b) => a + b), withoutLeft(0), withoutRight(0), subNegated, joinPads, broadcast(add)],
  Sub: [fold((a, b) => a - b), withoutRight(0), broadcast(sub)],
  Mul: [fold((a, b) => a * b), withoutLeft(1), withoutRight(1), mulConstants, broadcast(mul)],
  Div: [fold((a, b) => a / b), withoutRight(1), broadcast(div)],

  MatMul: [
    ([a, b], { transA, transB }) => {
      const [plainA, plainB] = [untransposed(a), untransposed(b)];
      if (!plainA && !plainB) return undefined;
      return matmul(plainA ?? a, plainB ?? b, { transA: transA !== Boolean(plainA), transB: transB !== Boolean(plainB) });
    },
  ],
  Reshape: [
    ([x], { shape }) => {
      const number = numberOf(x);
      return number === undefined ? undefined : filled(x, number, shape);
    },
    ([x], { shape }) => (shapesEqual(x.shape, shape) ? x : undefined),
    ([x], { shape }) => {
      const inner = from(x, "Reshape");
      return inner && reshape(inner.inputs[0], shape);
    },
  ],
  Transpose: [
    ([x], { perm }) => {
      const inner = from(x, "Transpose");
      if (!inner) return undefined;
      const whole = perm.map((axis) => inner.attrs.perm[axis] ?? axis);
      return transpose(inner.inputs[0], whole);
    },
  ],
  Expand: [
    ([x], { shape }) => {
      const inner = from(x, "Expand");
      return inner && expand(inner.inputs[0], shape);
    },
  ],
};
