/**
 * Takes composites apart into simpler operators, for engines that cannot run them whole. Each rule is the definition of
 * its composite, written with the operators below it.
 */
import {
  add,
  attention,
  div,
  matmul,
  mul,
  normalize,
  normalizeGrad,
  reduceSum,
  quickGelu,
  reshape,
  sigmoid,
  silu,
  softmax,
  sqrt,
  square,
  sub,
  erf,
  exp, // prettier-ignore
} from "./build.ts";
import type { Graph, Value } from "./graph.ts";
import { sizeOf } from "./graph.ts";
import type { OpName, Ops } from "./ops.ts";
import { rewrite } from "./rewrite.ts";

type DecomposeRule<K extends OpName> = (inputs: Ops[K]["inputs"], attrs: Ops[K]["attrs"]) => Ops[K]["outputs"];

/** The operators that can be taken apart. */
export type Composite =
  | "Silu" | "SiluGrad" | "Gelu" | "GeluGrad" | "QuickGelu" | "QuickGeluGrad" | "SoftmaxGrad" // prettier-ignore
  | "NormalizeGrad" | "LayerNorm" | "LayerNormGrad" | "GroupNorm" | "GroupNormGrad" // prettier-ignore
  | "Attention" | "AttentionGrad" | "AdamW"; // prettier-ignore

const quickGeluSlope = 1.702;

/** [B, C, ..] -> [B * groups, elements of a group]; a row is what one group norm normalises. */
function groupRows(x: Value, groups: number): Value {
  const rows = (x.shape[0] ?? 1) * groups;
  return reshape(x, [rows, sizeOf(x.shape) / rows]);
}

/** [C] -> [C, 1, ..] so that it broadcasts over the axes behind the channels of x. */
function perChannel(scale: Value, x: Value): Value {
  return reshape(scale, [scale.shape[0] ?? 1, ...x.shape.slice(2).map(() => 1)]);
}

function mean(x: Value): Value {
  const last = x.shape.length - 1;
  return mul(reduceSum(x, [last], true), 1 / (x.shape[last] ?? 1));
}

// The gradients are written with the primal's own subexpressions, so that merging common ones computes them once, and with as few
// passes over memory as the formula allows: on large tensors every elementwise operator costs one.
export const decomposeRules: { readonly [K in Composite]: DecomposeRule<K> } = {
  Silu: ([x]) => [mul(x, sigmoid(x))],
  // With s = σ(x) and y = x s: s + x s (1 - s) = y + s (1 - y).
  SiluGrad: ([x, ct]) => {
    const y = silu(x);
    return [mul(ct, add(y, mul(sigmoid(x), sub(1, y))))];
  },
  Gelu: ([x]) => [mul(mul(x, 0.5), onePlusErf(x))],
  // Φ(x) + x φ(x), with t = x / √2: (1 + erf t + t exp(-t²) 2 / √π) / 2; the factor 2 / √π goes into the exponent.
  GeluGrad: ([x, ct]) => {
    const t = mul(x, Math.SQRT1_2);
    const slope = mul(t, exp(sub(Math.log(2 / Math.sqrt(Math.PI)), square(t))));
    return [mul(ct, mul(add(onePlusErf(x), slope), 0.5))];
  },
  QuickGelu: ([x]) => [mul(x, quickGeluGate(x))],
  // With s = σ(k x) and y = x s: s + k x s (1 - s) = k y + s (1 - k y).
  QuickGeluGrad: ([x, ct]) => {
    const ky = mul(quickGelu(x), quickGeluSlope);
    return [mul(ct, add(ky, mul(quickGeluGate(x), sub(1, ky))))];
  },
  // y (ct - Σ ct y)
  SoftmaxGrad: ([y, ct]) => [mul(y, sub(ct, reduceSum(mul(ct, y), [y.shape.length - 1], true)))],

  // invStd (ct - mean(ct) - normalized mean(ct normalized))
  NormalizeGrad: ([ct, normalized, invStd]) => {
    const along = mul(normalized, mean(mul(ct, normalized)));
    return [mul(invStd, sub(sub(ct, mean(ct)), along))];
  },
  LayerNorm: ([x, scale, bias], { eps }) => [add(mul(normalize(x, eps)[0], scale), bias)],
  LayerNormGrad: ([ct, x, scale], { eps }) => {
    const [normalized, invStd] = normalize(x, eps);
    return [normalizeGrad(mul(ct, scale), normalized, invStd)];
  },
  GroupNorm: ([x, scale, bias], { groups, eps }) => {
    const normalized = reshape(normalize(groupRows(x, groups), eps)[0], x.shape);
    return [add(mul(normalized, perChannel(scale, x)), perChannel(bias, x))];
  },
  GroupNormGrad: ([ct, x, scale], { groups, eps }) => [groupNormGradient(ct, x, scale, groups, eps)],

  Attention: ([q, k, v, mask], { scale }) => [matmul(attentionWeights(q, k, scale, mask), v)],
  // Σ over keys of dP P = Σ over channels of dO O (Dao 2023, FlashAttention-2, algorithm 2): D numbers a row to sum, not S.
  AttentionGrad: ([ct, q, k, v, mask], { scale }) => {
    const weights = attentionWeights(q, k, scale, mask);
    const alongOutput = reduceSum(mul(ct, attention(q, k, v, scale, mask)), [3], true);
    const dScores = mul(weights, sub(matmul(ct, v, { transB: true }), alongOutput));
    return [
      mul(matmul(dScores, k), scale), // [.., L, S] x [.., S, D]
      matmul(dScores, mul(q, scale), { transA: true }), // [.., S, L] x [.., L, D]
      matmul(weights, ct, { transA: true }), // [.., S, L] x [.., L, D]
    ];
  },

  AdamW: ([weight, m, v, grad, rate, correction1, correction2], { beta1, beta2, eps, weightDecay }) => {
    const m1 = add(mul(m, beta1), mul(grad, 1 - beta1));
    const v1 = add(mul(v, beta2), mul(square(grad), 1 - beta2));
    const denominator = add(div(sqrt(v1), sqrt(correction2)), eps);
    const decayed = weightDecay === 0 ? weight : mul(weight, sub(1, mul(rate, weightDecay)));
    return [sub(decayed, mul(div(rate, correction1), div(m1, denominator))), m1, v1];
  },
};

function onePlusErf(x: Value): Value {
  return add(erf(mul(x, Math.SQRT1_2)), 1);
}

function quickGeluGate(x: Value): Value {
  return sigmoid(mul(x, quickGeluSlope));
}

/** softmax(scale q kᵀ + mask), [B, H, L, S]. Scaling q is L x D work, scaling the scores would be L x S. */
function attentionWeights(q: Value, k: Value, scale: number, mask: Value | undefined): Value {
  const scores = matmul(mul(q, scale), k, { transB: true });
  return softmax(mask ? add(scores, mask) : scores);
}

/**
 * invStd (g - mean(g) - n mean(g n)) with g = scale ct, over groups [B, G, C / G, pixels]. The sums run over the pixels of a channel
 * first, so that `scale` meets small tensors only.
 */
function groupNormGradient(ct: Value, x: Value, scale: Value, groups: number, eps: number): Value {
  const [batch = 1, channels = 1] = x.shape;
  const inGroup = channels / groups;
  const pixels = sizeOf(x.shape) / (batch * channels);
  const grouped = [batch, groups, inGroup, pixels];
  const [rows, rowInvStd] = normalize(groupRows(x, groups), eps);
  const normalized = reshape(rows, grouped);
  const invStd = reshape(rowInvStd, [batch, groups, 1, 1]);
  const gain = reshape(scale, [groups, inGroup, 1]);
  const dy = reshape(ct, grouped);
  // invStd times the mean over a group of `gain` x.
  const scaledMean = (y: Value): Value =>
    mul(mul(reduceSum(mul(reduceSum(y, [3], true), gain), [2], true), 1 / (inGroup * pixels)), invStd);
  const along = mul(normalized, scaledMean(mul(dy, normalized)));
  return reshape(sub(sub(mul(dy, mul(invStd, gain)), scaledMean(dy)), along), x.shape);
}

function isComposite(op: OpName): op is Composite {
  return op in decomposeRules;
}

/** Replaces every composite that `keep` does not list, until none is left. */
export function decompose(graph: Graph, keep: ReadonlySet<Composite>): Graph {
  const applies = (op: OpName): op is Composite => isComposite(op) && !keep.has(op);
  let current = graph;
  while (current.nodes.some((node) => applies(node.op))) {
    current = rewrite(current, ({ op, attrs }, inputs) => {
      if (!applies(op)) return undefined;
      const rule = decomposeRules[op] as unknown as (inputs: readonly Value[], attrs: unknown) => readonly Value[];
      return rule(inputs, attrs);
    }).graph;
  }
  return current;
}
