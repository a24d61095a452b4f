/** Merges adapters into a base model: a copy of its file, or of its folder, in which only the weights that they change are different. */
import { randomBytes } from "node:crypto";
import { copyFile, mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, extname, join, relative, resolve } from "node:path";
import { UserError } from "../errors.ts";
import { explainWriteError } from "../formats/atomic.ts";
import { copySafetensors, type FloatDType, type RangeChange } from "../formats/safetensors-copy.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import type { AdapterDType, AdapterModule } from "../lora/file.ts";
import { addProduct, type Dense } from "../lora/matrix.ts";
import { readAdapter, type WeightChange } from "../lora/read.ts";
import type { AdapterSource } from "../lora/sources.ts";
import type { BaseModel, BaseWeight } from "./base.ts";

export interface MergeIntoOptions {
  readonly adapters: readonly AdapterSource[];
  readonly base: BaseModel;
  /** A file where the base is one, a folder where it is one. Must not be there, unless `overwrite`, which is for files only. */
  readonly out: string;
  /** Of every float tensor of the copy; each keeps its own when not given. */
  readonly dtype?: AdapterDType | undefined;
  readonly overwrite?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number, weight: string) => void) | undefined;
}

export interface MergeIntoReport {
  readonly out: string;
  readonly form: "file" | "folder";
  /** Weights and biases that differ from the base's. */
  readonly changedWeights: number;
  readonly bytes: number;
  /** Weight files of the folder that were not copied, because nothing was merged into them. */
  readonly leftOut: readonly string[];
}

/** What adapters do to one weight of the base. */
interface WeightSum {
  readonly modules: { readonly module: AdapterModule; readonly strength: number }[];
  readonly changes: { readonly change: WeightChange; readonly strength: number }[];
}

/**
 * Writes a copy of the base with the adapters' changes added to its weights: completely or not at all, the same keys, order, metadata and
 * types. Beside the adapters no more than one weight is in memory.
 *
 * @throws UserError for an adapter of another base, an output that exists, a number that does not fit, or a disk that refuses
 * @example await mergeIntoBase({ adapters: [{ path: "mystyle.safetensors", weight: 0.8 }], base, out: "merged.safetensors" });
 */
export async function mergeIntoBase(options: MergeIntoOptions): Promise<MergeIntoReport> {
  const { adapters, base, out } = options;
  const isFolder = (await stat(base.folder)).isDirectory();
  await checkOutput(base.folder, out, isFolder, options.overwrite ?? false);
  const sums = new Map<string, WeightSum>();
  for (const source of adapters) await addSource(sums, base, source);
  const files = listChanges(base, sums, options);
  const report = { out, changedWeights: sums.size };
  if (!isFolder) {
    const bytes = await writeFileCopy(base.folder, out, files.get(base.folder) ?? [], options.dtype);
    return { ...report, form: "file", bytes, leftOut: [] };
  }
  const { bytes, leftOut } = await writeFolderCopy(base, out, files, options);
  return { ...report, form: "folder", bytes, leftOut };
}

async function checkOutput(input: string, out: string, isFolder: boolean, overwrite: boolean): Promise<void> {
  const there = await stat(out).catch(() => undefined);
  if (resolve(input) === resolve(out)) {
    throw new UserError(`${out} is the base model itself.`, { fix: "Give another --out: the base is not changed." });
  }
  if (!isFolder && extname(out).toLowerCase() !== ".safetensors") {
    throw new UserError(`${out} does not end in .safetensors, but the base model is a single file.`, {
      fix: `Give --out ${out}.safetensors.`,
      exitCode: 2,
    });
  }
  if (!there || (overwrite && !isFolder && there.isFile())) return;
  throw new UserError(`${out} is there already.`, { fix: "Choose another --out, or remove it first." });
}

async function addSource(sums: Map<string, WeightSum>, base: BaseModel, { path, weight }: AdapterSource): Promise<void> {
  if (weight === 0) return;
  const { modules, changes } = await readAdapter(path, base);
  const sumOf = (name: string): WeightSum => {
    const sum = sums.get(name) ?? { modules: [], changes: [] };
    sums.set(name, sum);
    return sum;
  };
  for (const module of modules) sumOf(`${module.path}.weight`).modules.push({ module, strength: weight });
  for (const change of changes) sumOf(change.weight).changes.push({ change, strength: weight });
}

/** The changed ranges of each file. */
function listChanges(
  base: BaseModel,
  sums: ReadonlyMap<string, WeightSum>,
  { signal, onProgress }: MergeIntoOptions,
): ReadonlyMap<string, readonly RangeChange[]> {
  const files = new Map<string, RangeChange[]>();
  let done = 0;
  for (const [name, sum] of sums) {
    const weight = base.weights.get(name);
    if (!weight) throw new Error(`mergeIntoBase: the base has no weight ${name}`);
    const { path, offset, byteLength } = weight.source;
    const change = async (values: Float32Array): Promise<void> => {
      signal?.throwIfAborted();
      onProgress?.(done++, sums.size, name);
      await changeWeight(values, weight, name, sum);
    };
    files.set(path, [...(files.get(path) ?? []), { offset, byteLength, change }]);
  }
  return files;
}

/** Adds the changes to a weight as it lies in its file. */
async function changeWeight(values: Float32Array, weight: BaseWeight, name: string, sum: WeightSum): Promise<void> {
  const transposed = weight.source.transposedFrom;
  const data = transposed ? transpose(values, transposed) : values;
  const [rows = 1, ...rest] = weight.shape;
  const into = { rows, columns: data.length / rows, data };
  // DoRA's change is reckoned from the base's own weight, whatever else is added.
  const original = sum.changes.some(({ change }) => change.kind === "dora") ? data.slice() : data;
  for (const { change, strength } of sum.changes) {
    const delta = await change.read(() => Promise.resolve(original));
    for (let i = 0; i < data.length; i++) data[i] = (data[i] ?? 0) + strength * (delta[i] ?? 0);
  }
  const columns = rest.reduce((product, size) => product * size, 1);
  for (const { module, strength } of sum.modules) {
    const { rank, alpha, up, down } = module;
    const ups: Dense = { rows, columns: rank, data: up.data };
    addProduct(into, ups, { rows: rank, columns, data: down.data }, (strength * alpha) / rank);
  }
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new UserError(`${name} would hold ${data[bad]} at position ${bad}.`, {
      fix: "Use a smaller weight, or get the base model again if it is damaged.",
    });
  }
  if (transposed) values.set(transpose(data, [transposed[1], transposed[0]]));
}

/** @returns [columns, rows] of a row-major [rows, columns] */
function transpose(values: Float32Array, [rows, columns]: readonly [number, number]): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) out[column * rows + row] = values[row * columns + column] ?? 0;
  }
  return out;
}

const tags: { readonly [K in AdapterDType]: FloatDType } = { float16: "F16", bfloat16: "BF16", float32: "F32" };

async function writeFileCopy(
  from: string,
  to: string,
  changes: readonly RangeChange[],
  dtype: AdapterDType | undefined,
): Promise<number> {
  return copySafetensors(await openSafetensors(from), to, changes, dtype && tags[dtype]);
}

/** Into a folder of a temporary name beside the result, so that the result is complete or absent. */
async function writeFolderCopy(
  base: BaseModel,
  out: string,
  changes: ReadonlyMap<string, readonly RangeChange[]>,
  { dtype, signal }: MergeIntoOptions,
): Promise<{ bytes: number; leftOut: readonly string[] }> {
  const temporary = join(dirname(resolve(out)), `.${basename(out)}.${randomBytes(6).toString("hex")}.tmp`);
  const { files, leftOut } = await listFiles(base);
  let bytes = 0;
  try {
    await mkdir(temporary);
    for (const name of files) {
      signal?.throwIfAborted();
      const [from, to] = [join(base.folder, name), join(temporary, name)];
      await mkdir(dirname(to), { recursive: true });
      const own = changes.get(from);
      if (own || (dtype && isUsed(base, from))) bytes += await writeFileCopy(from, to, own ?? [], dtype);
      else bytes += await copyWhole(from, to);
    }
    await rename(temporary, out);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined); // The first error is the one that matters.
    throw explainWriteError(error, out);
  }
  return { bytes, leftOut };
}

async function copyWhole(from: string, to: string): Promise<number> {
  await copyFile(from, to);
  const handle = await open(to, "r+");
  try {
    await handle.sync();
    return (await handle.stat()).size;
  } finally {
    await handle.close();
  }
}

function isUsed({ weights }: BaseModel, path: string): boolean {
  return [...weights.values()].some(({ source }) => source.path === path);
}

const weightFile = /\.(safetensors|bin|ckpt|pt|pth|onnx|onnx_data|msgpack|h5|gguf)$/i;

/**
 * What belongs into the copy of a folder: everything but other forms of the weights (another precision, pickles, a single file beside the
 * folders), which would still be the base's own. Hidden files are no part of a model.
 */
async function listFiles(base: BaseModel): Promise<{ files: readonly string[]; leftOut: readonly string[] }> {
  const used = new Set([...base.weights.values()].map(({ source }) => relative(base.folder, source.path)));
  const merged = new Set(["", ".", ...["unet", "vae", "text_encoder", "text_encoder_2"]]);
  const files: string[] = [];
  const leftOut: string[] = [];
  for (const name of (await readdir(base.folder, { recursive: true })).sort()) {
    // Through links, of which the cache of Hugging Face is made.
    if (!(await stat(join(base.folder, name))).isFile() || name.split(/[\\/]/).some((part) => part.startsWith("."))) continue;
    const isOther = merged.has(dirname(name)) && !used.has(name);
    if (isOther && (weightFile.test(name) || (await isIndexOfOthers(base.folder, name, used)))) leftOut.push(name);
    else files.push(name);
  }
  return { files, leftOut };
}

/** Whether it is the table of contents of shards that are not taken. */
async function isIndexOfOthers(folder: string, name: string, used: ReadonlySet<string>): Promise<boolean> {
  if (!/\.index(\..+)?\.json$/.test(name)) return false;
  const json = JSON.parse(await readFile(join(folder, name), "utf8")) as { weight_map?: Record<string, string> };
  return !Object.values(json.weight_map ?? {}).every((shard) => used.has(join(dirname(name), shard)));
}
