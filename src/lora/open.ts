/** Opens an adapter file of any kind: what it is, which layers it changes and by which parts. No base model is needed. */
import { UserError } from "../errors.ts";
import { openSafetensors, readTensor, type SafetensorsFile, type TensorEntry } from "../formats/safetensors.ts";
import {
  type AdapterForm,
  type AdapterNaming,
  currentName,
  describeUnreadKey,
  namingOf,
  parseKey,
  type PartName,
} from "./keys.ts";
import { type AdapterBase, layoutOf, type Layout, standardBase } from "./layout.ts";
import { peftAlpha } from "./peft-metadata.ts";
import { guessShape, rankOf, sameLayer } from "./parts.ts";

/** `lora`: linear layers and 1 x 1 convolutions; `locon`: wider convolutions; `dora`: any of them with magnitudes; `full`: the change itself. */
export type AdapterKind = (typeof adapterKinds)[number];
export const adapterKinds = ["lora", "locon", "loha", "lokr", "dora", "full"] as const;

export type ModuleParts = Readonly<Partial<Record<PartName, TensorEntry>>>;

/** One layer's change, as the file has it. */
export interface OpenedModule {
  /** As the file has it, without the ending: "lora_unet_input_blocks_4_1_proj_in". */
  readonly name: string;
  /** Of the base's weight without ".weight", in the diffusers layout; undefined where neither name nor layout tells. */
  readonly path: string | undefined;
  readonly kind: AdapterKind;
  readonly form: AdapterForm;
  /** Undefined for `full`, and for LoKr whose factors are both whole. */
  readonly rank: number | undefined;
  /** Undefined where the file says nothing; the scale is 1 then, as ComfyUI has it. */
  readonly alpha: number | undefined;
  /** What the product of the parts is multiplied by: alpha / rank, or 1. */
  readonly scale: number;
  /** Of the layer's weight: the layout's, or as far as the parts tell ([out, in * kh * kw] where they hide the kernel). */
  readonly shape: readonly number[];
  readonly parts: ModuleParts;
}

export interface OpenedAdapter {
  readonly path: string;
  readonly naming: AdapterNaming;
  /** By the layers' names and sizes; by the metadata where they are no published model's, so that `layout` is undefined. */
  readonly family: "sd15" | "sdxl" | "flux" | "unknown";
  /** Whose layers the modules were found in: the given base's, the published model's, or none's. */
  readonly layout: "given" | "published" | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  /** In the order of the file. */
  readonly modules: readonly OpenedModule[];
  /** Keys that are no part of a module, and what they belong to, where that is known. */
  readonly unread: readonly { readonly key: string; readonly what: string | undefined }[];
  readonly file: SafetensorsFile;
}

/**
 * Reads an adapter file's header and its alphas.
 *
 * @param options.base the model it is for; without it, the layers of SD 1.5 and SDXL are tried
 * @throws UserError when the file is no safetensors file, holds no tensors, or nothing that an adapter has
 * @example const { family, modules } = await openAdapter("mystyle.safetensors");
 */
export async function openAdapter(path: string, { base }: { readonly base?: AdapterBase } = {}): Promise<OpenedAdapter> {
  const file = await openSafetensors(path);
  const { groups, unread } = groupKeys(file);
  if (groups.size === 0) throw refuseNonAdapter(file, unread);
  const drafts = await Promise.all([...groups].map(([name, group]) => readDraft(file, name, group)));
  const layout = base ? layoutOf(base) : findLayout(drafts, file.metadata);
  const modules = drafts.map((draft): OpenedModule => {
    const layer = layout?.find(draft.name);
    const path = layer?.path ?? (layout ? undefined : pathIn(draft.name));
    return { ...draft, path, shape: layer && sameLayer(layer.shape, draft.shape) ? layer.shape : draft.shape };
  });
  return {
    path,
    naming: findNaming(modules),
    family: layout?.family ?? (isFlux(drafts) ? "flux" : (familyNamed(drafts, file.metadata) ?? "unknown")),
    layout: layout && (base ? "given" : "published"),
    metadata: file.metadata,
    modules,
    unread,
    file,
  };
}

interface Group {
  form: AdapterForm | undefined;
  readonly parts: Partial<Record<PartName, TensorEntry>>;
}

/** The file's tensors by module and part. */
function groupKeys(file: SafetensorsFile): { groups: Map<string, Group>; unread: OpenedAdapter["unread"] } {
  const groups = new Map<string, Group>();
  const unread: { key: string; what: string | undefined }[] = [];
  for (const [key, entry] of file.tensors) {
    const { module, part, form } = parseKey(key) ?? {};
    const what = describeUnreadKey(key);
    if (module === undefined || part === undefined || what !== undefined) {
      unread.push({ key, what });
      continue;
    }
    const group: Group = groups.get(module) ?? { form: undefined, parts: {} };
    const other = group.parts[part];
    if (other || (form && group.form && form !== group.form)) {
      const was = other?.name ?? Object.values(group.parts)[0]?.name ?? "";
      throw new UserError(`${file.path}: ${was} and ${key} cannot both belong to ${module}.`, {
        fix: "Write the adapter again with one naming throughout.",
      });
    }
    group.form ??= form;
    group.parts[part] = entry;
    groups.set(module, group);
  }
  for (const [name, { form, parts }] of groups) {
    if (form) continue;
    groups.delete(name);
    unread.push(...Object.values(parts).map(({ name: key }) => ({ key, what: undefined })));
  }
  return { groups, unread };
}

type Draft = Omit<OpenedModule, "path">;

async function readDraft(file: SafetensorsFile, name: string, { form = "lora", parts }: Group): Promise<Draft> {
  const rank = rankOf(form, parts);
  const shape = guessShape(form, parts);
  const alpha = parts.alpha ? await readAlpha(file, parts.alpha) : peftAlpha(file.metadata, name, rank);
  const isWide = form === "lora" && shape.slice(2).some((size) => size > 1);
  return {
    name,
    kind: parts.doraScale ? "dora" : isWide ? "locon" : form,
    form,
    rank,
    alpha,
    scale: alpha === undefined || rank === undefined || form === "full" ? 1 : alpha / rank,
    shape,
    parts,
  };
}

async function readAlpha(file: SafetensorsFile, entry: TensorEntry): Promise<number> {
  const values = await readTensor(file, entry.name);
  const [alpha = NaN] = values;
  if (values.length === 1) return alpha;
  throw new UserError(`${file.path}: ${entry.name} holds ${values.length} numbers; one is needed.`, {
    fix: "Get the file again.",
  });
}

const fluxMark = /(^|[._])(double_blocks|single_blocks|single_transformer_blocks)[._]\d|^transformer\.transformer_blocks\./;

function isFlux(drafts: readonly Draft[]): boolean {
  return drafts.some(({ name }) => fluxMark.test(name));
}

/** The published model in whose layers every module that it knows fits; the one that knows more, then the one that is named. */
function findLayout(drafts: readonly Draft[], metadata: OpenedAdapter["metadata"]): Layout | undefined {
  if (isFlux(drafts)) return undefined;
  const scored = (["sd15", "sdxl"] as const).flatMap((family) => {
    const layout = layoutOf(standardBase(family));
    const found = drafts.flatMap(({ name, shape }) => {
      const layer = layout.find(name);
      return layer ? [sameLayer(layer.shape, shape)] : [];
    });
    return found.length > 0 && found.every((fits) => fits) ? [{ layout, found: found.length }] : [];
  });
  const most = Math.max(...scored.map(({ found }) => found));
  const best = scored.filter(({ found }) => found === most).map(({ layout }) => layout);
  const named = familyNamed(drafts, metadata);
  return best.length === 1 ? best[0] : best.find(({ family }) => family === named);
}

/** What the metadata, or the text encoders' names, say of the family. */
function familyNamed(drafts: readonly Draft[], metadata: OpenedAdapter["metadata"]): "sd15" | "sdxl" | undefined {
  const version = metadata.ss_base_model_version ?? metadata["modelspec.architecture"] ?? "";
  if (/^(sdxl_|stable-diffusion-xl-v1)/.test(version)) return "sdxl";
  if (/^(sd_v1|sd_1\.5|stable-diffusion-v1)/.test(version)) return "sd15";
  if (drafts.some(({ name }) => /^(lora_te[12]_|text_encoder_2\.)/.test(name))) return "sdxl";
  return drafts.some(({ name }) => name.startsWith("lora_te_")) ? "sd15" : undefined;
}

/** A dotted name is a path already, where it says which component it is of. */
function pathIn(module: string): string | undefined {
  const name = currentName(module);
  return /^(unet|transformer|text_encoder(_2)?)\./.test(name) ? name : undefined;
}

function findNaming(modules: readonly OpenedModule[]): AdapterNaming {
  const found = new Set(modules.flatMap(({ name }) => namingOf(name) ?? []));
  const [only] = found;
  // Text encoders alone are called the same with either kind of block.
  if (only === undefined) return "kohya-sgm";
  return found.size === 1 ? only : "mixed";
}

function refuseNonAdapter(file: SafetensorsFile, unread: OpenedAdapter["unread"]): UserError {
  const [first] = unread;
  const fix = "Give the file of a trained LoRA, LoCon, LoHa, LoKr or DoRA.";
  if (!first) return new UserError(`${file.path} holds no tensors.`, { fix });
  const what = first.what ? `is of a kind that is not supported: ${first.what}` : "is no adapter";
  return new UserError(`${file.path} ${what} (first key: ${first.key}).`, { fix });
}
