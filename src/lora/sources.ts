/** Several adapter files as one list of layers: which belong together, and whether they can. */
import { UserError } from "../errors.ts";
import type { Contribution } from "./combine.ts";
import { layoutOf, standardBase, type AdapterBase } from "./layout.ts";
import { kohyaName, type AdapterFamily } from "./names.ts";
import { openAdapter, type OpenedAdapter, type OpenedModule } from "./open.ts";
import { sameLayer } from "./parts.ts";
import type { EndingStyle } from "./draft.ts";

/** An adapter file, and how strongly it acts; 1 is as trained. */
export interface AdapterSource {
  readonly path: string;
  readonly weight: number;
}

export interface SourceLayer {
  /** In the new file, without the ending. */
  readonly name: string;
  /** Of the weight in the diffusers layout, where it is known; else the name. */
  readonly layer: string;
  readonly shape: readonly number[];
  readonly contributions: readonly Contribution[];
}

export interface OpenedSources {
  readonly adapters: readonly OpenedAdapter[];
  readonly family: AdapterFamily | undefined;
  readonly style: EndingStyle;
  /** Sorted by layer. */
  readonly layers: readonly SourceLayer[];
}

/**
 * Opens adapters that are to become one.
 *
 * @param base the model they are for; without it, SD 1.5 and SDXL are known, and adapters of other models must name their layers alike
 * @throws UserError for adapters of two families, for layers whose shapes differ, and for what a LoRA cannot hold
 */
export async function openSources(sources: readonly AdapterSource[], base: AdapterBase | undefined): Promise<OpenedSources> {
  const adapters: OpenedAdapter[] = [];
  for (const { path } of sources) adapters.push(await openAdapter(path, base ? { base } : {}));
  const [first] = adapters;
  if (!first) throw new Error("openSources: at least one adapter needed, got none");
  for (const adapter of adapters) {
    checkTogether(first, adapter);
    refuseUnreadable(adapter);
  }
  const isPublished = first.layout === "published" && (first.family === "sd15" || first.family === "sdxl");
  const namingBase = base ?? (isPublished ? standardBase(first.family) : undefined);
  const groups = new Map<string, { module: OpenedModule; contributions: Contribution[] }>();
  adapters.forEach((adapter, i) => {
    for (const module of adapter.modules) {
      const key = module.path ?? module.name;
      const group = groups.get(key) ?? { module, contributions: [] };
      checkShape(key, group.contributions[0], adapter, module);
      group.contributions.push({ adapter, module, weight: sources[i]?.weight ?? 1 });
      groups.set(key, group);
    }
  });
  const layers = [...groups].map(([key, { module, contributions }]): SourceLayer => {
    const isKnown = namingBase && module.path !== undefined;
    const shape = namingBase ? (layoutOf(namingBase).find(module.name)?.shape ?? module.shape) : module.shape;
    return { name: isKnown ? kohyaName(module.path, namingBase) : module.name, layer: key, shape, contributions };
  });
  layers.sort((a, b) => (a.layer < b.layer ? -1 : 1));
  const isDotted = !namingBase && (first.naming === "peft" || first.naming === "native");
  return { adapters, family: namingBase?.family, style: isDotted ? "peft" : "kohya", layers };
}

function checkTogether(first: OpenedAdapter, other: OpenedAdapter): void {
  const [a, b] = [familyOf(first), familyOf(other)];
  if (a !== b) {
    throw new UserError(
      `${first.path} is for ${a} (key ${firstKey(first)}), but ${other.path} is for ${b} (key ${firstKey(other)}).`,
      { fix: "Merge adapters of one family of base models only." },
    );
  }
  if (first.layout || (first.naming === other.naming && first.naming !== "mixed")) return;
  throw new UserError(
    `${first.path} and ${other.path} call layers by different names (${firstKey(first)}, ${firstKey(other)}), and their model is not known.`,
    { fix: "Name the base model: --base." },
  );
}

/** By its layers, or else by its own word. */
function familyOf({ family, metadata }: OpenedAdapter): string {
  const names = { sd15: "SD 1.5", sdxl: "SDXL", flux: "Flux", unknown: undefined };
  const said = metadata.ss_base_model_version;
  return names[family] ?? `an unknown model${said === undefined ? "" : ` that it calls ${said}`}`;
}

function firstKey({ modules }: OpenedAdapter): string {
  const [entry] = Object.values(modules[0]?.parts ?? {});
  return entry?.name ?? "none";
}

function refuseUnreadable({ path, layout, modules, unread }: OpenedAdapter): void {
  const [lost] = unread;
  if (lost) {
    throw new UserError(
      `${path} holds ${unread.length} keys that are no part of an adapter that Gesso reads (first: ${lost.key}${lost.what ? `, of ${lost.what}` : ""}).`,
      { fix: "Give plain adapter files." },
    );
  }
  const stranger = layout && modules.find((module) => module.path === undefined);
  if (stranger) {
    throw new UserError(`${path}: ${stranger.name} is no layer of its base model.`, {
      fix: "Name the base model that the adapter was trained for: --base.",
    });
  }
  const stiff = modules.find(({ shape, parts }) => shape.length < 2 || parts.diffBias);
  if (!stiff) return;
  throw new UserError(`${path} changes the norm or bias of ${stiff.name}, which a LoRA cannot hold.`, {
    fix: "Merge it into a base model: --into.",
  });
}

function checkShape(key: string, first: Contribution | undefined, adapter: OpenedAdapter, module: OpenedModule): void {
  if (first?.adapter === adapter) {
    throw new UserError(`${adapter.path}: ${first.module.name} and ${module.name} are the same layer, ${key}.`, {
      fix: "Write the adapter again with one naming throughout.",
    });
  }
  if (!first || sameLayer(first.module.shape, module.shape)) return;
  const shapes = [first.module, module].map(({ shape }) => `[${shape.join(", ")}]`);
  throw new UserError(
    `${module.name} is ${shapes[0] ?? ""} in ${first.adapter.path} and ${shapes[1] ?? ""} in ${adapter.path}.`,
    { fix: "Merge adapters of one base model only." },
  );
}
