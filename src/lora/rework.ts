/** Makes an adapter file from adapter files: merged at weights, resized to another rank. */
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { UserError } from "../errors.ts";
import { combineLayer, type CombinedLayer } from "./combine.ts";
import type { ReadBaseWeight } from "./delta.ts";
import { createDraft, type AdapterDType, type AdapterDraft, type EndingStyle } from "./draft.ts";
import { inheritFields } from "./inherited-metadata.ts";
import type { AdapterBase } from "./layout.ts";
import type { OpenedAdapter } from "./open.ts";
import { createLossReport, type PartReport } from "./loss-report.ts";
import { openSources, type AdapterSource, type OpenedSources } from "./sources.ts";
import type { RankChoice } from "./svd.ts";

export type { AdapterSource } from "./sources.ts";

export interface ReworkOptions {
  readonly out: string;
  /** How far to reduce; undefined joins exactly. */
  readonly choice: RankChoice | undefined;
  /** The sources' own where they agree, else float32, when not given. */
  readonly dtype?: AdapterDType | undefined;
  /** The model that the adapters are for; needed for models other than SD 1.5 and SDXL where names differ, and for DoRA. */
  readonly base?: { readonly layout: AdapterBase; readonly readWeight: ReadBaseWeight } | undefined;
  /** Of Gesso. */
  readonly version: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number, layer: string) => void) | undefined;
}

export interface ReworkReport {
  readonly out: string;
  readonly layers: number;
  /** Layers that sources have, but whose change is zero in the end. */
  readonly emptyLayers: number;
  readonly dtype: AdapterDType;
  readonly bytes: number;
  /** Of all sources together. */
  readonly sourceBytes: number;
  readonly parts: readonly PartReport[];
}

/**
 * Several adapters as one that does what they do together: exactly, with ranks that add up, or reduced to a rank or an energy.
 *
 * @throws UserError for adapters of two families, kinds that cannot be joined exactly, or a result that cannot be written
 * @example await mergeAdapters([{ path: "a.safetensors", weight: 0.8 }, { path: "b.safetensors", weight: 0.5 }], { out, choice: undefined, version });
 */
export async function mergeAdapters(sources: readonly AdapterSource[], options: ReworkOptions): Promise<ReworkReport> {
  const list = sources.map(({ path, weight }) => `${basename(path)} x ${weight}`).join(" + ");
  return rework(sources, options, `merged by Gesso: ${list}${describeChoice(options.choice)}`);
}

/**
 * An adapter of another rank that does what this one does as nearly as its rank allows.
 *
 * @throws UserError as mergeAdapters
 * @example await resizeAdapter("big.safetensors", { out: "small.safetensors", choice: { energy: 0.99 }, version });
 */
export async function resizeAdapter(
  path: string,
  options: ReworkOptions & { readonly choice: RankChoice },
): Promise<ReworkReport> {
  return rework([{ path, weight: 1 }], options, `resized by Gesso: ${basename(path)}${describeChoice(options.choice)}`);
}

async function rework(sources: readonly AdapterSource[], options: ReworkOptions, comment: string): Promise<ReworkReport> {
  const { out, choice, base, signal, onProgress } = options;
  const opened = await openSources(sources, base?.layout);
  const dtype = options.dtype ?? commonDType(opened.adapters);
  const fixes = {
    number: dtype === "float32" ? "Use smaller weights." : "Write it in float32: --dtype float32.",
    nothing: "Check the weights, and whether the adapters were trained at all.",
  };
  const draft = createDraft({ path: out, dtype, style: opened.style, fixes });
  const losses = createLossReport();
  let emptyLayers = 0;
  for (const [i, { name, layer, shape, contributions }] of opened.layers.entries()) {
    signal?.throwIfAborted();
    onProgress?.(i, opened.layers.length, layer);
    const active = contributions.filter(({ weight }) => weight !== 0);
    const combined = await combineLayer(active, shape, choice, base?.readWeight);
    if (!combined) emptyLayers++;
    else {
      addLayer(draft, opened.style, name, layer, combined);
      losses.add(layer, combined);
    }
    // Lets Ctrl-C through between layers.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  const bytes = await draft.write(fieldsOf(sources, opened, draft, options, comment));
  const sizes = await Promise.all(sources.map(async ({ path }) => (await stat(path)).size));
  return {
    out,
    layers: opened.layers.length - emptyLayers,
    emptyLayers,
    dtype,
    bytes,
    sourceBytes: sizes.reduce((sum, size) => sum + size, 0),
    parts: losses.parts(),
  };
}

/** PEFT's files have no alpha: it goes into a matrix there. */
function addLayer(draft: AdapterDraft, style: EndingStyle, name: string, layer: string, combined: CombinedLayer): void {
  const { rank, alpha, down, up } = combined;
  if (style === "kohya" || alpha === rank) draft.add({ name, layer, rank, alpha, down, up });
  else draft.add({ name, layer, rank, alpha: rank, down, up: { ...up, data: up.data.map((x) => (x * alpha) / rank) } });
}

function fieldsOf(
  sources: readonly AdapterSource[],
  { adapters, family }: OpenedSources,
  draft: AdapterDraft,
  { out, version }: ReworkOptions,
  comment: string,
): ReturnType<typeof inheritFields> {
  return inheritFields({
    name: nameOf(out),
    family,
    size: draft.size(),
    comment,
    version,
    sources: adapters.map(({ path, metadata }, i) => {
      const weight = sources[i]?.weight ?? 1;
      return { name: nameOf(path), strength: weight === 1 ? undefined : `x ${weight}`, metadata };
    }),
  });
}

/** A file's name without its folder and ending. */
export function nameOf(path: string): string {
  return basename(path).replace(/\.safetensors$/i, "");
}

/** ", reduced to rank 16", for the comment in the file. */
export function describeChoice(choice: RankChoice | undefined): string {
  if (!choice) return "";
  const rank = choice.rank === undefined ? [] : [`at most rank ${choice.rank}`];
  const energy = choice.energy === undefined ? [] : [`${choice.energy} of the energy`];
  return `, reduced to ${[...energy, ...rank].join(" and ")}`;
}

const dtypesByTag: Readonly<Record<string, AdapterDType>> = { F16: "float16", BF16: "bfloat16", F32: "float32" };

function commonDType(adapters: readonly OpenedAdapter[]): AdapterDType {
  const entries = adapters.flatMap(({ modules }) => modules.flatMap(({ parts }) => Object.entries(parts)));
  const tags = new Set(entries.flatMap(([part, { dtype }]) => (part === "alpha" ? [] : [dtype])));
  const [tag = ""] = tags;
  return (tags.size === 1 ? dtypesByTag[tag] : undefined) ?? "float32";
}

/**
 * A choice from what the user gave.
 *
 * @throws UserError for a rank or an energy out of range
 */
export function parseRankChoice(rank: number | undefined, energy: number | undefined): RankChoice | undefined {
  if (rank !== undefined && !(Number.isInteger(rank) && rank >= 1)) {
    throw new UserError(`--rank ${rank} is no rank.`, { fix: "Give a whole number of at least 1.", exitCode: 2 });
  }
  if (energy !== undefined && !(energy > 0 && energy <= 1)) {
    throw new UserError(`--energy ${energy} is no share.`, { fix: "Give a number above 0 and up to 1: 0.99.", exitCode: 2 });
  }
  return rank === undefined && energy === undefined ? undefined : { rank, energy };
}
