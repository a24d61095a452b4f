/** Writes an adapter in another naming: Kohya's with alphas, or PEFT's with the scale in the weights. Nothing else about it changes. */
import { UserError } from "../errors.ts";
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from "../formats/float16.ts";
import { encodeFloat32, readTensor, writeSafetensors } from "../formats/safetensors.ts";
import { checkCompatibility, type Compatibility } from "./compatibility.ts";
import { readLowRank } from "./delta.ts";
import type { AdapterDType } from "./draft.ts";
import { hashAdapter, type EncodedTensor } from "./file-hashes.ts";
import type { PartName } from "./keys.ts";
import { type AdapterBase, standardBase } from "./layout.ts";
import { families } from "./metadata.ts";
import { kohyaName } from "./names.ts";
import { openAdapter, type OpenedAdapter, type OpenedModule } from "./open.ts";
import { findMissingPart } from "./parts.ts";
import { peftMetadata } from "./peft-metadata.ts";

export const adapterStyles = ["kohya", "peft"] as const;
export type AdapterStyle = (typeof adapterStyles)[number];

export interface ConvertOptions {
  readonly to: AdapterStyle;
  /** Each tensor's own where not given. */
  readonly dtype?: AdapterDType | undefined;
  /** The model it is for; needed only where that is neither SD 1.5 nor SDXL. */
  readonly base?: AdapterBase | undefined;
}

export interface ConvertReport {
  readonly from: OpenedAdapter["naming"];
  readonly modules: number;
  readonly tensors: number;
  /** Where the written file will load. */
  readonly loads: readonly Compatibility[];
}

type FileDType = "F32" | "F16" | "BF16";
const tags: { readonly [D in AdapterDType]: FileDType } = { float16: "F16", bfloat16: "BF16", float32: "F32" };

/** Numbers of a part on their way into the file. */
interface Part {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
  readonly dtype: FileDType;
}

/**
 * Converts an adapter file. What it does to every layer stays the same, to the last bit where alpha / rank is a power of two and the type is
 * kept. Tensors are read and encoded one by one: no more than the new file's bytes and one layer are in memory.
 *
 * @throws UserError when the layers' names cannot be told, the naming cannot hold this kind of adapter, or a number does not fit the type
 * @example await convertAdapter("pytorch_lora_weights.safetensors", "mystyle.safetensors", { to: "kohya" });
 */
export async function convertAdapter(from: string, out: string, options: ConvertOptions): Promise<ConvertReport> {
  const adapter = await openAdapter(from, options.base ? { base: options.base } : {});
  const base = options.base ?? publishedBase(adapter);
  const modules = adapter.modules.map((module) => checkModule(adapter, module));
  if (adapter.unread[0]) {
    throw new UserError(`${from}: ${adapter.unread.length} keys would be lost (first: ${adapter.unread[0].key}).`, {
      fix: "Only LoRA, LoCon, LoHa, LoKr, DoRA and full changes of weights can be converted.",
    });
  }
  const encoded: EncodedTensor[] = [];
  for (const module of modules) {
    const parts = options.to === "kohya" ? await kohyaParts(adapter, module, base) : await peftParts(adapter, module);
    for (const { name, shape, data, dtype } of parts) {
      const tag = options.dtype ? tags[options.dtype] : dtype;
      encoded.push({ name, shape, dtype: tag, bytes: encodeFloat32(out, name, data, tag) });
    }
  }
  // The order of the file: wide types first, then by name.
  encoded.sort((a, b) => byteRank(a.dtype) - byteRank(b.dtype) || (a.name < b.name ? -1 : 1));
  const metadata = convertMetadata(adapter, modules, encoded, options.to);
  const tensors = encoded.map(({ name, shape, dtype, bytes }) => ({ name, shape, dtype: dtype as FileDType, data: bytes }));
  await writeSafetensors(out, tensors, metadata);
  const loads = checkCompatibility(await openAdapter(out, { base }));
  return { from: adapter.naming, modules: modules.length, tensors: encoded.length, loads };
}

function byteRank(dtype: string): number {
  return dtype === "F32" ? 0 : 1;
}

function publishedBase({ path, family, layout }: OpenedAdapter): AdapterBase {
  if (layout === "published" && (family === "sd15" || family === "sdxl")) return standardBase(family);
  const what =
    family === "flux"
      ? "is for Flux, whose layers each naming cuts differently"
      : "is for neither SD 1.5 nor SDXL by its layers";
  throw new UserError(`${path} ${what}: its names cannot be converted.`, {
    fix: family === "flux" ? "SD 1.5 and SDXL adapters can be converted." : "Name the model that it was trained on: --base.",
  });
}

type PlacedModule = OpenedModule & { readonly path: string };

function checkModule({ path }: OpenedAdapter, module: OpenedModule): PlacedModule {
  const missing = findMissingPart(module.form, module.parts);
  if (missing)
    throw new UserError(`${path}: ${module.name} has no ${missing}.`, { fix: "Get the file again: it is not complete." });
  if (module.path !== undefined) return { ...module, path: module.path };
  throw new UserError(`${path}: ${module.name} is no layer of the model that its other layers are of.`, {
    fix: "Name the model that it was trained on: --base.",
  });
}

/** How Kohya's and LyCORIS' keys end. */
const kohyaEndings: { readonly [P in PartName]: string } = {
  down: "lora_down.weight",
  up: "lora_up.weight",
  mid: "lora_mid.weight",
  alpha: "alpha",
  doraScale: "dora_scale",
  w1: "_w1",
  w1a: "_w1_a",
  w1b: "_w1_b",
  w2: "_w2",
  w2a: "_w2_a",
  w2b: "_w2_b",
  t1: "_t1",
  t2: "_t2",
  diff: "diff",
  diffBias: "diff_b",
};

/** Every part under Kohya's name. An alpha is added where the file tells the scale in its metadata, or not at all. */
async function kohyaParts(adapter: OpenedAdapter, module: PlacedModule, base: AdapterBase): Promise<readonly Part[]> {
  const name = kohyaName(module.path, base);
  const parts: Part[] = [];
  for (const [part, entry] of Object.entries(module.parts) as [
    PartName,
    { name: string; shape: readonly number[]; dtype: string },
  ][]) {
    if (part === "alpha") continue;
    const prefix = { lora: "", full: "", loha: "hada", lokr: "lokr" }[module.form];
    const isNorm = /\.[wb]_norm$/.exec(entry.name)?.[0].slice(1);
    const ending = isNorm ?? (kohyaEndings[part].startsWith("_") ? prefix : "") + kohyaEndings[part];
    const data = await readTensor(adapter.file, entry.name);
    const shape = part === "doraScale" ? kohyaMagnitudes(module, entry) : entry.shape;
    parts.push({ name: `${name}.${ending}`, shape, data, dtype: keptDType(entry.dtype) });
  }
  if (module.form === "full" || module.rank === undefined) return [...parts, ...(await keptAlpha(adapter, module, name))];
  return withAlpha(parts, name, module.alpha ?? module.rank);
}

/** PEFT's magnitudes are [out], or [1, out, 1, 1] of a convolution; LyCORIS' [out, 1, ...]. */
function kohyaMagnitudes({ shape }: PlacedModule, entry: { name: string; shape: readonly number[] }): readonly number[] {
  if (!entry.name.includes("lora_magnitude_vector")) return entry.shape;
  return [shape[0] ?? 0, ...shape.slice(1).map(() => 1)];
}

/** The alpha of a kind whose scale it does not set, as it is: no tensor is lost. */
async function keptAlpha({ file }: OpenedAdapter, { parts }: PlacedModule, name: string): Promise<readonly Part[]> {
  if (!parts.alpha) return [];
  const data = await readTensor(file, parts.alpha.name);
  return [{ name: `${name}.alpha`, shape: [], data, dtype: keptDType(parts.alpha.dtype) }];
}

/** The alpha in the matrices' type. What that type cannot tell of it goes into one of the factors. */
function withAlpha(parts: readonly Part[], name: string, alpha: number): readonly Part[] {
  const dtype = parts[0]?.dtype ?? "F32";
  const rounded = round(alpha, dtype);
  const rest = alpha / rounded;
  const alphaPart: Part = { name: `${name}.alpha`, shape: [], data: Float32Array.of(rounded), dtype };
  if (rest === 1) return [...parts, alphaPart];
  const scaled = parts.map((part) => {
    const isFactor = /\.(lora_up\.weight|hada_w1_a|lokr_w1(_a)?)$/.test(part.name);
    return isFactor ? { ...part, data: part.data.map((value) => value * rest) } : part;
  });
  return [...scaled, alphaPart];
}

function round(value: number, dtype: FileDType): number {
  const data = Float32Array.of(value);
  const back = { F32: () => data, F16: () => float16ToFloat32(float32ToFloat16(data)), BF16: () => bfloat16ToFloat32(float32ToBfloat16(data)) }[dtype](); // prettier-ignore
  return back[0] ?? value;
}

/** Two matrices with the scale in them, and DoRA's magnitudes. */
async function peftParts(adapter: OpenedAdapter, module: PlacedModule): Promise<readonly Part[]> {
  const { path, parts, form } = module;
  const perInput = parts.doraScale && !parts.doraScale.name.includes("lora_magnitude_vector") && parts.doraScale.shape[0] === 1 && (module.shape[0] ?? 1) > 1; // prettier-ignore
  if (form !== "lora" || perInput) {
    const what = perInput
      ? "a DoRA with magnitudes for its inputs"
      : { loha: "LoHa", lokr: "LoKr", full: "a full change" }[form as "loha"];
    throw new UserError(`${adapter.path}: ${module.name} is ${what}, which PEFT's naming does not have.`, {
      fix: "Make it a plain LoRA first: gesso lora resize.",
    });
  }
  const { doraScale, ...plain } = parts;
  const lowRank = await readLowRank(adapter, { ...module, parts: plain });
  if (!lowRank) throw new Error(`convert: two matrices needed\n  at ${module.name}`);
  const [forDown, forUp] = splitScale(lowRank.scale);
  const dtype = keptDType(parts.down?.dtype);
  const matrix = (name: string, { shape, data }: Pick<Part, "shape" | "data">, factor: number): Part => ({
    name: `${path}.${name}.weight`,
    shape,
    data: factor === 1 ? data : data.map((value) => value * factor),
    dtype,
  });
  const both = [matrix("lora_A", lowRank.down, forDown), matrix("lora_B", lowRank.up, forUp)];
  if (!doraScale) return both;
  const isConv = module.shape.length > 2;
  const shape = isConv ? [1, module.shape[0] ?? 0, ...module.shape.slice(2).map(() => 1)] : [module.shape[0] ?? 0];
  const data = await readTensor(adapter.file, doraScale.name);
  return [...both, { name: `${path}.lora_magnitude_vector`, shape, data, dtype: keptDType(doraScale.dtype) }];
}

/**
 * The scale as two factors. Powers of two are shared, so that neither matrix falls among float16's least numbers, and cost no digit; the
 * rest goes to up.
 */
function splitScale(scale: number): readonly [down: number, up: number] {
  if (!(scale > 0)) return [1, scale];
  const down = 2 ** Math.round(Math.log2(scale) / 2);
  return [down, scale / down];
}

/** What the file holds, if it can be written; the next wider type of what cannot. */
function keptDType(dtype: string | undefined): FileDType {
  return dtype === "F16" || dtype === "BF16" ? dtype : dtype === "F8_E4M3" || dtype === "F8_E5M2" ? "F16" : "F32";
}

/** Everything the file said that is still true, its new hashes, and what readers of the new naming look for. */
function convertMetadata(
  adapter: OpenedAdapter,
  modules: readonly PlacedModule[],
  encoded: readonly EncodedTensor[],
  to: AdapterStyle,
): Record<string, string> {
  const stale = /^(sshs_|modelspec\.hash_sha256$|lora_adapter_metadata$)/;
  const kept = Object.fromEntries(Object.entries(adapter.metadata).filter(([key]) => !stale.test(key)));
  const fields = to === "kohya" ? { ...familyFields(adapter, modules), ...kept, ...sizeFields(modules) } : kept;
  const training = Object.fromEntries(Object.entries(fields).filter(([key]) => key.startsWith("ss_")));
  const { model, legacy } = hashAdapter(encoded, training);
  const hashes = to === "kohya" ? { sshs_model_hash: model, sshs_legacy_hash: legacy } : {};
  const spec = "modelspec.sai_model_spec" in fields ? { "modelspec.hash_sha256": `0x${model}` } : {};
  const own = to === "peft" ? { format: "pt", lora_adapter_metadata: peftMetadata(modules) } : {};
  return { ...fields, ...hashes, ...spec, ...own };
}

/** Without these A1111 takes the file for SD 1; the file's own words go before them. */
function familyFields({ family }: OpenedAdapter, modules: readonly PlacedModule[]): Record<string, string> {
  if (family !== "sd15" && family !== "sdxl") return {};
  return {
    ss_v2: "False",
    ss_base_model_version: families[family].version,
    ss_network_module: modules.every(({ form, kind }) => form === "lora" && kind !== "dora")
      ? "networks.lora"
      : "lycoris.kohya",
    ss_network_args: "{}",
    "modelspec.architecture": families[family].architecture,
    "modelspec.implementation": families[family].implementation,
  };
}

/** As the tensors have them now: folding changes alphas. */
function sizeFields(modules: readonly PlacedModule[]): Record<string, string> {
  const same = (values: readonly (number | undefined)[]): string =>
    values.every((value) => value === values[0]) && values[0] !== undefined ? String(values[0]) : "Dynamic";
  return {
    ss_network_dim: same(modules.map(({ rank }) => rank)),
    ss_network_alpha: same(modules.map(({ alpha, rank }) => alpha ?? rank)),
  };
}
