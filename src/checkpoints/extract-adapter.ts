/** Makes an adapter from two base models: what one has that the other has not, layer by layer, as well as a rank can hold it. */
import { UserError } from "../errors.ts";
import { NEW_ALPHA, scaleForAlpha } from "../lora/combine.ts";
import { createDraft, type AdapterDType } from "../lora/draft.ts";
import { inheritFields } from "../lora/inherited-metadata.ts";
import { createLossReport, type PartReport } from "../lora/loss-report.ts";
import { kohyaName } from "../lora/names.ts";
import { describeChoice, nameOf } from "../lora/rework.ts";
import { reduceDense, type RankChoice } from "../lora/svd.ts";
import { belongsTo, type TargetSet } from "../lora/targets.ts";
import type { BaseModel } from "./base.ts";
import { readBaseWeight } from "./read-weight.ts";

export const extractParts = ["unet", "text_encoder", "text_encoder_2"] as const;
export type ExtractPart = (typeof extractParts)[number];

export interface ExtractOptions {
  readonly tuned: BaseModel;
  readonly base: BaseModel;
  readonly out: string;
  readonly choice: RankChoice;
  /** The networks that are compared; all of them when not given. */
  readonly parts?: readonly ExtractPart[] | undefined;
  readonly targets: TargetSet;
  readonly dtype: AdapterDType;
  /** Of Gesso. */
  readonly version: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number, layer: string) => void) | undefined;
}

export interface ExtractReport {
  readonly out: string;
  /** Layers that differ, and those that were compared. */
  readonly layers: number;
  readonly comparedLayers: number;
  readonly dtype: AdapterDType;
  readonly bytes: number;
  readonly parts: readonly PartReport[];
  /** What a person should know of the comparison. */
  readonly notes: readonly string[];
}

/**
 * Writes an adapter that turns `base` into `tuned`, as nearly as the choice allows. Two weights of one layer are in memory at a time.
 *
 * @throws UserError when the two are not of one shape, do not differ, or the result cannot be written
 * @example await extractAdapter({ tuned, base, out: "style.safetensors", choice: { rank: 32 }, targets: "locon", dtype: "float16", version });
 */
export async function extractAdapter(options: ExtractOptions): Promise<ExtractReport> {
  const { tuned, base, out, choice, dtype, signal, onProgress } = options;
  const layers = listCompared(options);
  const fixes = {
    number: "Write it in float32: --dtype float32.",
    nothing: `Are ${tuned.name} and ${base.name} the same model?`,
  };
  const draft = createDraft({ path: out, dtype, fixes });
  const losses = createLossReport();
  let found = 0;
  for (const [i, { path, shape }] of layers.entries()) {
    signal?.throwIfAborted();
    onProgress?.(i, layers.length, path);
    const difference = await readDifference(tuned, base, `${path}.weight`);
    const [outputs = 0, inputs = 0, ...kernel] = shape;
    const reduced = reduceDense({ rows: outputs, columns: difference.length / outputs, data: difference }, choice);
    const { rank, up, down } = reduced;
    if (rank === 0) continue;
    found++;
    losses.add(path, { rank, loss: reduced });
    draft.add({
      name: kohyaName(path, base),
      layer: path,
      rank,
      alpha: NEW_ALPHA,
      down: { shape: [rank, inputs, ...kernel], data: scaleForAlpha(down.data, rank) },
      up: { shape: [outputs, rank, ...kernel.map(() => 1)], data: scaleForAlpha(up.data, rank) },
    });
  }
  const bytes = await draft.write(fieldsOf(options, draft.size()));
  const parts = losses.parts();
  return { out, layers: found, comparedLayers: layers.length, dtype, bytes, parts, notes: describePrecision(options, layers) };
}

interface ComparedLayer {
  readonly path: string;
  readonly shape: readonly number[];
}

function listCompared({ tuned, base, parts, targets }: ExtractOptions): readonly ComparedLayer[] {
  if (tuned.family !== base.family) {
    throw new UserError(`${tuned.name} is of family ${tuned.family}, but ${base.name} is of family ${base.family}.`, {
      fix: "Give as --from the model that it was tuned from.",
    });
  }
  const missing = parts?.find((part) => ![...base.weights.keys()].some((name) => name.startsWith(`${part}.`)));
  if (missing) {
    throw new UserError(`${base.name} has no ${missing}.`, { fix: "Leave it out of --parts.", exitCode: 2 });
  }
  const layers: ComparedLayer[] = [];
  for (const [name, { shape }] of base.weights) {
    const [path, part] = [name.replace(/\.weight$/, ""), name.slice(0, name.indexOf("."))];
    if (path === name || shape.length < 2 || !extractParts.some((known) => known === part)) continue;
    if (parts && !parts.some((wanted) => wanted === part)) continue;
    if (/_embedding$/.test(path) || !belongsTo[targets](path, shape.length === 2 ? "linear" : "conv")) continue;
    const other = tuned.weights.get(name)?.shape ?? [];
    if (other.join() !== shape.join()) {
      throw new UserError(`${path} is [${other.join(", ")}] in ${tuned.name}, but [${shape.join(", ")}] in ${base.name}.`, {
        fix: "Give as --from the model that it was tuned from.",
      });
    }
    layers.push({ path, shape });
  }
  return layers;
}

/** Numbers of the base that are read at a time. */
const PIECE = 2 ** 20;

/** What `tuned` has more than `base` in one weight. The base's is read in pieces, unless its file holds the transpose. */
export async function readDifference(
  tuned: Pick<BaseModel, "weights">,
  base: Pick<BaseModel, "weights">,
  name: string,
): Promise<Float32Array> {
  const difference = await readBaseWeight(tuned, name);
  const weight = base.weights.get(name);
  if (!weight || weight.source.transposedFrom) {
    const before = await readBaseWeight(base, name);
    for (let i = 0; i < difference.length; i++) difference[i] = (difference[i] ?? 0) - (before[i] ?? 0);
    return difference;
  }
  const { source } = weight;
  const width = source.byteLength / difference.length;
  for (let at = 0; at < difference.length; at += PIECE) {
    const count = Math.min(PIECE, difference.length - at);
    const piece = { ...source, offset: source.offset + at * width, byteLength: count * width };
    const before = await readBaseWeight({ weights: new Map([[name, { shape: [count], source: piece }]]) }, name);
    for (let i = 0; i < count; i++) difference[at + i] = (difference[at + i] ?? 0) - (before[i] ?? 0);
  }
  return difference;
}

/** Where one model was rounded and the other was not, rounding is a difference too. */
function describePrecision({ tuned, base }: ExtractOptions, layers: readonly ComparedLayer[]): readonly string[] {
  const unlike = layers.flatMap(({ path }) => {
    const [a, b] = [tuned, base].map(({ weights }) => weights.get(`${path}.weight`)?.source.storedDtype);
    return a === b ? [] : [`${a} in ${tuned.name}, ${b} in ${base.name}`];
  });
  if (unlike.length === 0) return [];
  return [`${unlike.length} layers are stored in different types (${unlike[0]}): their rounding is in the adapter too.`];
}

function fieldsOf(
  { tuned, base, out, choice, version }: ExtractOptions,
  size: Parameters<typeof inheritFields>[0]["size"],
): ReturnType<typeof inheritFields> {
  const side = base.nativeResolutionPx;
  const metadata: Record<string, string> = {
    ss_sd_model_name: base.name,
    ...(base.hashes.file === undefined ? {} : { ss_new_sd_model_hash: base.hashes.file }),
    "modelspec.resolution": `${side}x${side}`,
    "modelspec.prediction_type": base.schedule.predictionType === "v_prediction" ? "v" : "epsilon",
  };
  return inheritFields({
    name: nameOf(out),
    sources: [{ name: nameOf(tuned.name), strength: undefined, metadata }],
    family: base.family,
    size,
    comment: `extracted by Gesso: ${tuned.name} less ${base.name}${describeChoice(choice)}`,
    version,
  });
}
