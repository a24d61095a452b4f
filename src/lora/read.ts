/** Reads an adapter file of any kind for a given base: two matrices where it is of low rank, the change of the weight where it is not. */
import { findNearest, UserError } from "../errors.ts";
import { readBiasDelta, readDelta, readLowRank } from "./delta.ts";
import type { AdapterModule } from "./file.ts";
import { type AdapterBase, layoutOf } from "./layout.ts";
import { openAdapter, type AdapterKind, type OpenedAdapter, type OpenedModule } from "./open.ts";
import { findMissingPart, sameLayer } from "./parts.ts";

export type { AdapterBase } from "./layout.ts";

/** A change of one of the base's weights or biases that is not the product of two thin matrices. */
export interface WeightChange {
  /** Of what is changed: "unet.down_blocks.1.attentions.0.proj_in.weight". */
  readonly weight: string;
  readonly kind: AdapterKind;
  /**
   * What is added at strength 1, row-major.
   *
   * @param readBase gives the base's own weight; only DoRA asks for it
   */
  read(readBase: () => Promise<Float32Array>): Promise<Float32Array>;
}

export interface AdapterFile {
  /** Plain LoRA and LoCon, in the order of the base's weights. */
  readonly modules: readonly AdapterModule[];
  /** All other kinds, in the same order. Nothing of them has been read yet. */
  readonly changes: readonly WeightChange[];
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * An adapter's modules, checked against the base. Nothing is left out silently: an unknown key is an error.
 *
 * Where the file has no alpha, it is the rank, so that the scale is 1, as ComfyUI and PEFT read such files.
 *
 * @throws UserError naming the keys that belong to no layer of the base, the module that lacks a part or has a wrong shape, or the
 *   kind of adapter that is not supported
 * @example const { modules, changes } = await readAdapter("mystyle.safetensors", base);
 */
export async function readAdapter(path: string, base: AdapterBase): Promise<AdapterFile> {
  const adapter = await openAdapter(path, { base });
  const modules: AdapterModule[] = [];
  const changes: WeightChange[] = [];
  for (const module of sortModules(adapter, base)) {
    const plain = await readLowRank(adapter, module);
    if (!plain) changes.push(...findChanges(adapter, module, base));
    else {
      const rank = module.rank ?? 0;
      modules.push({ path: module.path, rank, alpha: module.alpha ?? rank, down: plain.down, up: plain.up });
    }
  }
  return { modules, changes, metadata: adapter.metadata };
}

type FoundModule = OpenedModule & { readonly path: string };

/** The modules in the order of the base's weights, each on a layer of its own that it fits. */
function sortModules(adapter: OpenedAdapter, base: AdapterBase): readonly FoundModule[] {
  const byPath = new Map<string, FoundModule>();
  const unknown = adapter.unread.map(({ key }) => key);
  for (const module of adapter.modules) {
    const { path } = module;
    if (path === undefined) {
      unknown.push(...Object.values(module.parts).map(({ name }) => name));
      continue;
    }
    const other = byPath.get(path);
    if (other) {
      throw new UserError(`${adapter.path}: ${other.name} and ${module.name} are the same layer, ${path}.`, {
        fix: "Write the adapter again with one naming throughout.",
      });
    }
    byPath.set(path, { ...module, path });
  }
  if (unknown.length > 0) throw refuseUnknown(adapter, unknown, base);
  return [...base.weights].flatMap(([weight, { shape }]) => {
    const module = byPath.get(weight.replace(/\.weight$/, ""));
    if (!module || !weight.endsWith(".weight")) return [];
    checkFits(adapter, module, shape);
    return [module];
  });
}

function checkFits(
  { path }: OpenedAdapter,
  { name, form, path: layer, shape, parts }: FoundModule,
  wanted: readonly number[],
): void {
  const missing = findMissingPart(form, parts);
  if (missing) {
    const found = Object.values(parts).map((entry) => entry.name);
    throw new UserError(`${path}: ${layer} has ${found.join(" and ")} but no ${missing}.`, {
      fix: "Get the file again: it is not complete.",
    });
  }
  // A change of the bias alone has the bias's shape.
  if (form === "full" && !parts.diff ? shape[0] === wanted[0] : sameLayer(shape, wanted)) return;
  throw new UserError(
    `${path}: ${name} is for a layer of [${shape.join(", ")}]; in this base model ${layer} is [${wanted.join(", ")}].`,
    {
      fix: "Use the base model that the adapter was trained for.",
    },
  );
}

function findChanges(adapter: OpenedAdapter, module: FoundModule, base: AdapterBase): readonly WeightChange[] {
  const { path, kind, parts, form } = module;
  const changes: WeightChange[] = [];
  if (form !== "full" || parts.diff) {
    changes.push({
      weight: `${path}.weight`,
      kind,
      read: (readBase) => readDelta(adapter, module, readBase),
    });
  }
  if (!parts.diffBias) return changes;
  const bias = base.weights.get(`${path}.bias`)?.shape ?? [];
  if (bias.join() !== parts.diffBias.shape.join()) {
    const has = bias.length === 0 ? "no bias" : `a bias of [${bias.join(", ")}]`;
    throw new UserError(
      `${adapter.path}: ${parts.diffBias.name} is [${parts.diffBias.shape.join(", ")}]; in this base model ${path} has ${has}.`,
      { fix: "Use the base model that the adapter was trained for." },
    );
  }
  const read = async (): Promise<Float32Array> => (await readBiasDelta(adapter, module)) ?? new Float32Array(bias[0] ?? 0);
  return [...changes, { weight: `${path}.bias`, kind, read }];
}

function refuseUnknown(adapter: OpenedAdapter, unknown: readonly string[], base: AdapterBase): UserError {
  const other = adapter.unread.find(({ what }) => what !== undefined);
  if (other?.what !== undefined) {
    return new UserError(`${adapter.path} holds what is not supported: ${other.what} (key ${other.key}).`, {
      fix: "Give a LoRA, LoCon, LoHa, LoKr, DoRA or full change of weights, and nothing beside it.",
    });
  }
  const total = adapter.file.tensors.size;
  const [first = ""] = unknown;
  const module = adapter.modules.find(({ path }) => path === undefined)?.name ?? first;
  const nearest = unknown.length <= 3 ? findNearest(module, [...layoutOf(base).names()]) : undefined;
  const hint = nearest === undefined ? "" : ` The nearest layer is ${nearest}.`;
  return new UserError(
    `${adapter.path}: ${unknown.length} of ${total} keys are no layer of this base model (first: ${first}).${hint}`,
    { fix: "Use the base model that the adapter was trained for." },
  );
}
