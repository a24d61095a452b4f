/** What an adapter file holds, for a person: its parts and blocks, how large their changes are, what it was trained with, and where it loads. */
import { stat } from "node:fs/promises";
import { readTensor } from "../formats/safetensors.ts";
import { checkCompatibility, type Compatibility } from "./compatibility.ts";
import { readDelta, type ReadBaseWeight, readLowRank } from "./delta.ts";
import type { AdapterBase } from "./layout.ts";
import { type AdapterKind, adapterKinds, openAdapter, type OpenedAdapter, type OpenedModule } from "./open.ts";
import { blockOf, partOf } from "./places.ts";
import { denseSingularValues, kroneckerSpectrum, productSpectrum, type Spectrum } from "./spectrum.ts";
import { readTraining, type TrainingSummary } from "./training-summary.ts";

export interface InspectOptions {
  /** The model it is for; without it, SD 1.5 and SDXL are tried. */
  readonly base?: AdapterBase | undefined;
  /** The base's weights, on which a DoRA's change depends. */
  readonly readBaseWeight?: ReadBaseWeight | undefined;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Some of a file's layers together. */
export interface LayerGroup {
  /** "UNet attention", "down 1". */
  readonly name: string;
  readonly layers: number;
  readonly kinds: readonly AdapterKind[];
  /** All that occur, least first. */
  readonly ranks: readonly number[];
  readonly alphas: readonly number[];
  /** Frobenius norm of all the group's changes together; undefined where one of them cannot be told. */
  readonly norm: number | undefined;
  /** The mean over the layers for which it is known; undefined where there are none. */
  readonly effectiveRank: number | undefined;
}

export interface AdapterReport {
  readonly path: string;
  readonly bytes: number;
  readonly family: OpenedAdapter["family"];
  readonly naming: OpenedAdapter["naming"];
  readonly layout: OpenedAdapter["layout"];
  readonly kinds: readonly AdapterKind[];
  /** "F16" */
  readonly dtypes: readonly string[];
  readonly tensors: number;
  readonly layers: number;
  readonly parts: readonly LayerGroup[];
  readonly blocks: readonly LayerGroup[];
  /** Layers that hold NaN or an infinity. */
  readonly broken: readonly string[];
  /** Layers whose change is zero. */
  readonly dead: readonly string[];
  /** Layers that lack a part, or whose parts do not fit together. */
  readonly incomplete: readonly { readonly name: string; readonly reason: string }[];
  /** Layers whose change depends on the base's weight, which was not given. */
  readonly needBase: number;
  readonly unread: OpenedAdapter["unread"];
  readonly training: TrainingSummary;
  readonly loads: readonly Compatibility[];
}

/**
 * Reads all of a file, layer by layer.
 *
 * @throws UserError when it is no adapter
 * @example const { parts, loads } = await inspectAdapter("mystyle.safetensors");
 */
export async function inspectAdapter(path: string, options: InspectOptions = {}): Promise<AdapterReport> {
  const adapter = await openAdapter(path, options.base ? { base: options.base } : {});
  const { modules, file } = adapter;
  const measured: Measured[] = [];
  for (const [i, module] of modules.entries()) {
    options.onProgress?.(i, modules.length);
    measured.push({ module, ...(await measure(adapter, module, options.readBaseWeight)) });
  }
  const named = (state: Measured["state"]): readonly string[] =>
    measured.flatMap((entry) => (entry.state === state ? [entry.module.path ?? entry.module.name] : []));
  return {
    path,
    bytes: (await stat(path)).size,
    family: adapter.family,
    naming: adapter.naming,
    layout: adapter.layout,
    kinds: distinctKinds(modules),
    dtypes: distinct([...file.tensors.values()].map(({ dtype }) => dtype)),
    tensors: file.tensors.size,
    layers: modules.length,
    parts: group(measured, partOf),
    blocks: group(measured, blockOf),
    broken: named("broken"),
    dead: named("dead"),
    incomplete: measured.flatMap(({ module, state, reason = "" }) =>
      state === "incomplete" ? [{ name: module.name, reason }] : [],
    ),
    needBase: measured.filter(({ state }) => state === "needs base").length,
    unread: adapter.unread,
    training: readTraining(adapter.metadata),
    loads: checkCompatibility(adapter),
  };
}

interface Measured {
  readonly module: OpenedModule;
  readonly state: "fine" | "dead" | "broken" | "incomplete" | "needs base";
  readonly reason?: string;
  readonly norm?: number;
  readonly effectiveRank?: number;
}

async function measure(
  adapter: OpenedAdapter,
  module: OpenedModule,
  readBaseWeight: ReadBaseWeight | undefined,
): Promise<Omit<Measured, "module">> {
  if (await isBroken(adapter, module)) return { state: "broken" };
  if (module.parts.doraScale && !(readBaseWeight && module.path)) return { state: "needs base" };
  try {
    const { norm, effectiveRank } = await spectrumOf(adapter, module, readBaseWeight);
    return { state: norm === 0 ? "dead" : "fine", norm, ...(effectiveRank === undefined ? {} : { effectiveRank }) };
  } catch (error) {
    return { state: "incomplete", reason: error instanceof Error ? error.message : String(error) };
  }
}

async function isBroken({ file }: OpenedAdapter, { parts }: OpenedModule): Promise<boolean> {
  for (const { name } of Object.values(parts))
    if ((await readTensor(file, name)).some((value) => !Number.isFinite(value))) return true;
  return false;
}

/** Without the change itself where the kind allows. The effective rank of LoHa, DoRA and full changes is left out: it takes the whole matrix. */
async function spectrumOf(
  adapter: OpenedAdapter,
  module: OpenedModule,
  readBaseWeight: ReadBaseWeight | undefined,
): Promise<{ norm: number; effectiveRank?: number }> {
  const plain = await readLowRank(adapter, module);
  if (plain) return productSpectrum(plain.up.data, plain.down.data, module.rank ?? 1, plain.scale);
  const { w1, w2 } = module.parts;
  if (module.form === "lokr" && w1 && w2 && !module.parts.doraScale) return wholeFactors(adapter, module);
  const change = await readDelta(adapter, module, readBaseWeight);
  return { norm: Math.sqrt(change.reduce((sum, value) => sum + value ** 2, 0)) };
}

async function wholeFactors({ file }: OpenedAdapter, { parts, scale }: OpenedModule): Promise<Spectrum> {
  const values = await Promise.all(
    [parts.w1, parts.w2].map(async (entry) =>
      entry ? denseSingularValues(await readTensor(file, entry.name), entry.shape[0] ?? 1) : new Float64Array(),
    ),
  );
  return kroneckerSpectrum(values[0] ?? new Float64Array(), values[1] ?? new Float64Array(), scale);
}

/** Layers by what `nameOf` says of them, in the order of the model. */
function group(
  measured: readonly Measured[],
  nameOf: (module: OpenedModule) => { name: string; order: number },
): readonly LayerGroup[] {
  const groups = new Map<string, { order: number; members: Measured[] }>();
  for (const entry of measured) {
    const { name, order } = nameOf(entry.module);
    const found = groups.get(name) ?? { order, members: [] };
    found.members.push(entry);
    groups.set(name, found);
  }
  return [...groups]
    .sort(([, a], [, b]) => a.order - b.order)
    .map(([name, { members }]): LayerGroup => {
      const effective = members.flatMap(({ effectiveRank }) => effectiveRank ?? []);
      const norms = members.flatMap(({ norm }) => norm ?? []);
      return {
        name,
        layers: members.length,
        kinds: distinctKinds(members.map(({ module }) => module)),
        ranks: distinct(members.flatMap(({ module }) => module.rank ?? [])).sort((a, b) => a - b),
        alphas: distinct(
          members.flatMap(({ module }) => (module.rank === undefined ? [] : (module.alpha ?? module.rank))),
        ).sort((a, b) => a - b),
        norm: norms.length === members.length ? Math.hypot(...norms) : undefined,
        effectiveRank: effective.length > 0 ? effective.reduce((sum, value) => sum + value, 0) / effective.length : undefined,
      };
    });
}

function distinctKinds(modules: readonly OpenedModule[]): readonly AdapterKind[] {
  const found = new Set(modules.map(({ kind }) => kind));
  return adapterKinds.filter((kind) => found.has(kind));
}

function distinct<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
