/** One layer's change from the changes of several adapters: joined exactly where all are of low rank, approximated otherwise. */
import { UserError } from "../errors.ts";
import { readDelta, readLowRank, type LowRank, type ReadBaseWeight } from "./delta.ts";
import type { AdapterMatrix } from "./draft.ts";
import type { Dense } from "./matrix.ts";
import type { OpenedAdapter, OpenedModule } from "./open.ts";
import { reduceDense, reduceProduct, type Approximation, type RankChoice } from "./svd.ts";

/** What one adapter adds to a layer. */
export interface Contribution {
  readonly adapter: OpenedAdapter;
  readonly module: OpenedModule;
  /** How strongly; 1 is as it is. */
  readonly weight: number;
}

export interface CombinedLayer {
  readonly rank: number;
  readonly alpha: number;
  readonly down: AdapterMatrix;
  readonly up: AdapterMatrix;
  /** Undefined where nothing was approximated. */
  readonly loss: { readonly keptEnergy: number; readonly energy: number } | undefined;
}

/**
 * The sum of the contributions, as one module.
 *
 * @param shape of the layer's weight: [out, in] or [out, in, kh, kw]
 * @param choice how far to reduce it; undefined joins the matrices, so that the ranks add up, to at most what the layer is wide
 * @returns undefined where the sum is zero
 * @throws UserError for kinds that cannot be joined exactly, where no choice is given
 */
export async function combineLayer(
  contributions: readonly Contribution[],
  shape: readonly number[],
  choice: RankChoice | undefined,
  readBaseWeight: ReadBaseWeight | undefined,
): Promise<CombinedLayer | undefined> {
  const lowRanks: (LowRank & { readonly weight: number; readonly alpha: number | undefined })[] = [];
  for (const { adapter, module, weight } of contributions) {
    const lowRank = await readLowRank(adapter, module);
    if (!lowRank) return combineDense(contributions, shape, choice, readBaseWeight);
    lowRanks.push({ ...lowRank, weight, alpha: module.alpha });
  }
  const [only] = lowRanks;
  if (!only) return undefined;
  if (lowRanks.length === 1 && only.weight === 1 && keepsAll(only, choice)) return asItIs(only, shape);
  const joined = join(lowRanks, shape);
  const width = Math.min(joined.up.rows, joined.down.columns);
  if (!choice && joined.up.columns <= width) return toLayer(joined, shape, undefined);
  const reduced = reduceProduct(joined.up, joined.down, choice ?? { energy: 1 });
  return reduced.rank === 0 ? undefined : toLayer(reduced, shape, reduced);
}

/** Whether a matrix of this rank need not be touched. */
function keepsAll({ down }: LowRank, choice: RankChoice | undefined): boolean {
  return !choice || (choice.energy === undefined && (choice.rank ?? 0) >= (down.shape[0] ?? 0));
}

/** The module with the very numbers it had. Undefined where one of its matrices is zero. */
function asItIs(
  { up, down, scale, alpha }: LowRank & { readonly alpha: number | undefined },
  shape: readonly number[],
): CombinedLayer | undefined {
  const rank = down.shape[0] ?? 0;
  if (scale === 0 || !up.data.some(Boolean) || !down.data.some(Boolean)) return undefined;
  // A negative scale is no alpha that files have.
  const data = scale < 0 ? up.data.map((x) => x * scale) : up.data;
  const [outputs = 0, inputs = 0, ...kernel] = shape;
  return {
    rank,
    alpha: scale < 0 ? rank : (alpha ?? rank),
    down: { shape: [rank, inputs, ...kernel], data: down.data },
    up: { shape: [outputs, rank, ...kernel.map(() => 1)], data },
    loss: undefined,
  };
}

/** Side by side: [up1, up2] times [down1; down2] is the sum of both products. Scales go into both matrices evenly. */
function join(
  lowRanks: readonly (LowRank & { readonly weight: number })[],
  shape: readonly number[],
): { readonly up: Dense; readonly down: Dense } {
  const rank = lowRanks.reduce((sum, { down }) => sum + (down.shape[0] ?? 0), 0);
  const rows = shape[0] ?? 0;
  const columns = widthOf(shape);
  const up = new Float32Array(rows * rank);
  const down = new Float32Array(rank * columns);
  let start = 0;
  for (const part of lowRanks) {
    const scale = part.scale * part.weight;
    const root = Math.sqrt(Math.abs(scale));
    const own = part.down.shape[0] ?? 0;
    for (let row = 0; row < rows; row++) {
      for (let k = 0; k < own; k++) up[row * rank + start + k] = (part.up.data[row * own + k] ?? 0) * root * Math.sign(scale);
    }
    for (let i = 0; i < own * columns; i++) down[start * columns + i] = (part.down.data[i] ?? 0) * root;
    start += own;
  }
  return { up: { rows, columns: rank, data: up }, down: { rows: rank, columns, data: down } };
}

async function combineDense(
  contributions: readonly Contribution[],
  shape: readonly number[],
  choice: RankChoice | undefined,
  readBaseWeight: ReadBaseWeight | undefined,
): Promise<CombinedLayer | undefined> {
  const sum = new Float32Array((shape[0] ?? 0) * widthOf(shape));
  for (const { adapter, module, weight } of contributions) {
    refuseInexact(adapter, module, choice);
    const change = await readDelta(adapter, module, readBaseWeight);
    for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + weight * (change[i] ?? 0);
  }
  const reduced = reduceDense({ rows: shape[0] ?? 0, columns: widthOf(shape), data: sum }, choice ?? {});
  return reduced.rank === 0 ? undefined : toLayer(reduced, shape, reduced);
}

const kindNames: { readonly [K in OpenedModule["kind"]]: string } = {
  lora: "a LoRA",
  locon: "a LoCon",
  loha: "a LoHa",
  lokr: "a LoKr",
  dora: "a DoRA",
  full: "a full difference",
};

function refuseInexact(
  { path, layout }: OpenedAdapter,
  { name, kind, form, shape }: OpenedModule,
  choice: RankChoice | undefined,
): void {
  const isPlain = form === "lora" && kind !== "dora";
  if (!choice && !isPlain) {
    throw new UserError(`${path}: ${name} is ${kindNames[kind]}, which is no product of two thin matrices.`, {
      fix: "Say how closely to approximate it: --energy 0.99, or --rank N.",
    });
  }
  // Its factors hide whether the layer is a convolution, and so how the result must be shaped.
  if (layout || isPlain || (form === "full" && shape.length > 1)) return;
  throw new UserError(`${path}: ${name} is ${kindNames[kind]} of a model that is not known, so its shape is not either.`, {
    fix: "Name the base model: --base.",
  });
}

/**
 * The alpha of every module that is made anew. diffusers goes wrong where modules of one file have different alphas (its `alpha_pattern`), which
 * alpha = rank would give wherever ranks differ; so the scale goes into the matrices, evenly.
 */
export const NEW_ALPHA = 1;

/** Both matrices times sqrt(rank / alpha), so that (alpha / rank) up down is what up down was. */
export function scaleForAlpha(data: Float32Array, rank: number): Float32Array {
  const factor = Math.sqrt(rank / NEW_ALPHA);
  return data.map((value) => value * factor);
}

function toLayer(
  { up, down }: { readonly up: Dense; readonly down: Dense },
  [outputs = 0, inputs = 0, ...kernel]: readonly number[],
  loss: Approximation | undefined,
): CombinedLayer {
  const rank = up.columns;
  return {
    rank,
    alpha: NEW_ALPHA,
    down: { shape: [rank, inputs, ...kernel], data: scaleForAlpha(down.data, rank) },
    up: { shape: [outputs, rank, ...kernel.map(() => 1)], data: scaleForAlpha(up.data, rank) },
    loss: loss && { keptEnergy: loss.keptEnergy, energy: loss.energy },
  };
}

function widthOf(shape: readonly number[]): number {
  return shape.slice(1).reduce((product, size) => product * size, 1);
}
