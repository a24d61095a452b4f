/** What a run that goes on from an adapter file begins with: any kind of adapter, brought to the plan's rank and alpha. */
import { basename } from "node:path";
import type { BaseModel } from "../checkpoints/base.ts";
import { readBaseWeight } from "../checkpoints/read-weight.ts";
import { UserError } from "../errors.ts";
import { sizeOf } from "../graph/graph.ts";
import type { AdapterModule } from "../lora/file.ts";
import { readAdapter, type WeightChange } from "../lora/read.ts";
import { type Approximation, reduceDense, reduceProduct } from "../lora/svd.ts";
import type { AdapterTarget } from "../lora/targets.ts";
import type { TrainSettings } from "../planner/plan.ts";
import { type AdapterWeights, freshAdapter } from "./network.ts";

export interface InitialAdapter {
  readonly weights: ReadonlyMap<string, AdapterWeights>;
  /** What was lost, if anything. */
  readonly notes: readonly string[];
}

/** Of a layer: up [out, rank] and down [rank, in * kh * kw], with the scale 1. */
interface Start {
  readonly target: AdapterTarget;
  readonly index: number;
  readonly rank: number;
  readonly up: Float32Array;
  readonly down: Float32Array;
}

interface Loss {
  readonly path: string;
  readonly what: string;
  readonly keptEnergy: number;
  readonly energy: number;
}

/**
 * What a run begins with: exactly the file's adapter where its ranks are the plan's or smaller; else the nearest LoRA of the plan's rank
 * (truncated SVD), and a note of how much of it that keeps. What a smaller rank leaves free begins as a fresh adapter does.
 *
 * @throws UserError when the adapter is of another base, or changes what the run does not train
 */
export async function readInitialAdapter(
  path: string,
  base: BaseModel,
  targets: readonly AdapterTarget[],
  settings: TrainSettings,
): Promise<InitialAdapter> {
  const { modules, changes } = await readAdapter(path, base);
  const byPath = new Map(targets.map((target, index) => [target.path, { target, index }]));
  const weights = new Map<string, AdapterWeights>();
  const losses: Loss[] = [];
  for (const module of modules) {
    const place = byPath.get(module.path) ?? refuseLayer(path, module.path);
    const { start, loss } = startFromModule(module, place, settings.rank);
    weights.set(module.path, fillUp(start, settings));
    if (loss) losses.push(loss);
  }
  for (const change of changes) {
    const layer = change.weight.replace(/\.(weight|bias)$/, "");
    const place = byPath.get(layer);
    if (!place || change.weight.endsWith(".bias")) throw refuseChange(path, change, place !== undefined);
    const { start, loss } = await startFromChange(change, place, base, settings.rank);
    weights.set(layer, fillUp(start, settings));
    losses.push(loss);
  }
  return { weights, notes: describeLosses(basename(path), losses, settings.rank) };
}

type Place = Pick<Start, "target" | "index">;

function startFromModule(module: AdapterModule, place: Place, rank: number): { start: Start; loss: Loss | undefined } {
  const scale = module.alpha / module.rank;
  const [up, down] = [module.up.data, module.down.data];
  if (module.rank <= rank) {
    const scaled = scale === 1 ? up : up.map((value) => value * scale);
    return { start: { ...place, rank: module.rank, up: scaled, down }, loss: undefined };
  }
  const reduced = reduceProduct(
    { rows: up.length / module.rank, columns: module.rank, data: up },
    { rows: module.rank, columns: down.length / module.rank, data: down },
    { rank },
    scale,
  );
  return reducedStart(reduced, place, `rank ${module.rank}`);
}

async function startFromChange(
  change: WeightChange,
  place: Place,
  base: BaseModel,
  rank: number,
): Promise<{ start: Start; loss: Loss }> {
  const data = await change.read(() => readBaseWeight(base, change.weight));
  const rows = place.target.weightShape[0] ?? 1;
  return reducedStart(reduceDense({ rows, columns: data.length / rows, data }, { rank }), place, kindNames[change.kind]);
}

const kindNames: { readonly [K in WeightChange["kind"]]: string } = {
  lora: "LoRA",
  locon: "LoCon",
  loha: "LoHa",
  lokr: "LoKr",
  dora: "DoRA",
  full: "a full change of the weights",
};

function reducedStart(reduced: Approximation, place: Place, what: string): { start: Start; loss: Loss } {
  const { rank, up, down, keptEnergy, energy } = reduced;
  return {
    start: { ...place, rank, up: up.data, down: down.data },
    loss: { path: place.target.path, what, keptEnergy, energy },
  };
}

/** At the plan's rank and alpha. Columns of `up` that the file does not fill are zero, and rows of `down` fresh, so that they can learn. */
function fillUp({ target, index, rank, up, down }: Start, settings: TrainSettings): AdapterWeights {
  const fresh = freshAdapter(target, index, settings);
  const outputs = target.weightShape[0] ?? 1;
  const width = sizeOf(target.weightShape) / outputs;
  const scale = settings.rank / settings.alpha;
  if (rank === settings.rank) return { down, up: scale === 1 ? up : up.map((value) => value * scale) };
  const wide = new Float32Array(outputs * settings.rank);
  for (let row = 0; row < outputs; row++)
    for (let k = 0; k < rank; k++) wide[row * settings.rank + k] = scale * (up[row * rank + k] ?? 0);
  const tall = fresh.down.slice();
  tall.set(down.subarray(0, rank * width));
  return { down: tall, up: wide };
}

function describeLosses(name: string, losses: readonly Loss[], rank: number): readonly string[] {
  const total = losses.reduce((sum, { energy }) => sum + energy, 0);
  if (losses.length === 0 || total === 0) return [];
  const kept = losses.reduce((sum, { energy, keptEnergy }) => sum + energy * keptEnergy, 0) / total;
  const worst = losses.reduce((a, b) => (b.keptEnergy < a.keptEnergy ? b : a));
  const what = [...new Set(losses.map((loss) => loss.what))].join(", ");
  const least = losses.length > 1 ? `, least in ${worst.path} (${percent(worst.keptEnergy)})` : "";
  return [
    `${name} holds ${what}. As a LoRA of rank ${rank} it begins with ${percent(kept)} of its change (the squares of its numbers)${least}.`,
  ];
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function refuseLayer(path: string, layer: string): never {
  throw new UserError(`${path} has an adapter on ${layer}, which this run does not train.`, {
    fix: layer.startsWith("text_encoder")
      ? "Give its text encoder a learning rate: --text-encoder-learning-rate, --text-encoder-2-learning-rate."
      : "Choose the --targets that the adapter was trained with.",
  });
}

function refuseChange(path: string, { weight }: WeightChange, isTrained: boolean): UserError {
  if (!isTrained && weight.endsWith(".weight") && !/norm\w*\.weight$/.test(weight))
    return refuseLayer(path, weight.slice(0, -".weight".length));
  return new UserError(`${path} changes ${weight}, and a LoRA cannot: it has no biases and no norms.`, {
    fix: "Go on from an adapter without them, or merge this one into the base model and train on that.",
  });
}
