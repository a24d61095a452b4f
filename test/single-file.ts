/** Writes small SD 1.5 and SDXL models as single files, or as diffusers folders, with the weights of interop/fixtures/single_file.py. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import { writeFileAtomically } from "../src/formats/atomic.ts";
import { float32ToBfloat16, float32ToFloat16, float8ToFloat32 } from "../src/formats/float16.ts";
import { sizeOf } from "../src/graph/graph.ts";

export type SingleFileFamily = "sd15" | "sdxl";
export type StoredDtype = "F32" | "F16" | "BF16" | "F8_E4M3";

/** A tensor to be written: its values are worked out when it is its turn. */
export interface FileTensorToWrite {
  readonly key: string;
  readonly shape: readonly number[];
  /** Made from the key where absent. */
  readonly values?: Float32Array;
  /** Another type than the file's. */
  readonly dtype?: StoredDtype | "U8";
}

/** A key of the single file, with which third of it or that it is transposed. */
type Place = string | readonly [key: string, how: number | "transposed"];

export interface SingleFileCase {
  readonly config: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly file: Readonly<Record<string, readonly number[]>>;
  /** By component, by diffusers key. */
  readonly parts: Readonly<Record<string, Readonly<Record<string, Place>>>>;
}

export const fixtureFolder = (family: SingleFileFamily): string =>
  join(import.meta.dirname, "parity", "fixtures", `single-file-${family}`);

export async function readSingleFileCase(family: SingleFileFamily): Promise<SingleFileCase> {
  return JSON.parse(await readFile(join(fixtureFolder(family), "case.json"), "utf8")) as SingleFileCase;
}

/** Whole numbers from -8 to 7 times a power of two, near 1 in norms: the same in every float type. */
export function makeWeight(key: string, shape: readonly number[]): Float32Array {
  const seed = crc32(key);
  const values = new Float32Array(sizeOf(shape));
  const isNorm = key.endsWith(".weight");
  const scale = 2 ** Math.floor(Math.log2(Math.sqrt(3 / (values.length / (shape[0] ?? 1))))) / 8;
  for (let i = 0; i < values.length; i++) {
    let x = (Math.imul(i, 2654435761) + seed) >>> 0;
    x = Math.imul(x ^ (x >>> 15), 2246822519) >>> 0;
    x = Math.imul(x ^ (x >>> 13), 3266489917) >>> 0;
    const whole = (x >>> 28) - 8;
    values[i] = shape.length > 1 ? whole * scale : isNorm ? 1 + (whole >> 2) / 8 : whole / 64;
  }
  return values;
}

/** The tensors of a whole single file. */
export async function listFileTensors(family: SingleFileFamily): Promise<FileTensorToWrite[]> {
  const { file } = await readSingleFileCase(family);
  return Object.entries(file).map(([key, shape]) => ({ key, shape }));
}

/** Writes tensors in the order given, one at a time. @returns the path */
export async function writeTensors(
  path: string,
  tensors: readonly FileTensorToWrite[],
  { dtype = "BF16", metadata = {} }: { dtype?: StoredDtype; metadata?: Readonly<Record<string, string>> } = {},
): Promise<string> {
  let end = 0;
  const header: Record<string, unknown> = { __metadata__: metadata };
  for (const { key, shape, dtype: own = dtype } of tensors) {
    const begin = end;
    end += sizeOf(shape) * widths[own];
    header[key] = { dtype: own, shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomically(path, async (write) => {
    await write(length);
    await write(json);
    for (const { key, shape, values, dtype: own = dtype } of tensors)
      await write(encode(values ?? makeWeight(key, shape), own));
  });
  return path;
}

const widths = { F32: 4, F16: 2, BF16: 2, F8_E4M3: 1, U8: 1 } as const;

function encode(values: Float32Array, dtype: StoredDtype | "U8"): Uint8Array {
  if (dtype === "U8") return Uint8Array.from(values);
  if (dtype === "F8_E4M3") return Uint8Array.from(values, (value) => float8Bits.get(value) ?? refuseValue(value));
  const narrow = dtype === "F16" ? float32ToFloat16(values) : dtype === "BF16" ? float32ToBfloat16(values) : values;
  return new Uint8Array(narrow.buffer, narrow.byteOffset, narrow.byteLength);
}

const float8Bits = new Map(
  [
    ...float8ToFloat32(
      Uint8Array.from({ length: 256 }, (_, i) => i),
      "E4M3",
    ),
  ].map((value, i) => [value, i]),
);

function refuseValue(value: number): never {
  throw new Error(`${value} is no float8`);
}

/** A whole model as a single file. @returns the path */
export async function writeSingleFile(
  path: string,
  family: SingleFileFamily,
  options: {
    readonly dtype?: StoredDtype;
    readonly metadata?: Readonly<Record<string, string>>;
    /** Damages or adds to the list. */
    readonly change?: (tensors: FileTensorToWrite[]) => FileTensorToWrite[];
  } = {},
): Promise<string> {
  const tensors = await listFileTensors(family);
  return writeTensors(path, options.change?.(tensors) ?? tensors, options);
}

/** The same model as a diffusers folder, without a tokenizer. @returns the folder */
export async function writeSameFolder(folder: string, family: SingleFileFamily): Promise<string> {
  const { config, file, parts } = await readSingleFileCase(family);
  const pipeline = family === "sdxl" ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline";
  await writeJson(join(folder, "model_index.json"), { _class_name: pipeline });
  await writeJson(join(folder, "scheduler", "scheduler_config.json"), { _class_name: "DDIMScheduler" });
  for (const [component, places] of Object.entries(parts)) {
    await writeJson(join(folder, component, "config.json"), config[component] ?? {});
    const tensors = Object.entries(places).map(([key, place]) => ({ key, ...takePlace(file, place, component === "vae") }));
    const stem = component.startsWith("text") ? "model" : "diffusion_pytorch_model";
    await writeTensors(join(folder, component, `${stem}.safetensors`), tensors);
  }
  return folder;
}

/** What a weight is as diffusers stores it. */
function takePlace(file: SingleFileCase["file"], place: Place, isVae: boolean): Pick<FileTensorToWrite, "shape" | "values"> {
  const [key, how] = typeof place === "string" ? [place] : place;
  const shape = file[key] ?? [];
  const values = makeWeight(key, shape);
  const [rows = 1, ...rest] = shape;
  if (how === undefined) return { values, shape: isVae && /attn_1\.[qkvp]/.test(key) ? shape.slice(0, 2) : shape };
  if (how !== "transposed") {
    const size = values.length / 3;
    return { values: values.slice(how * size, (how + 1) * size), shape: [rows / 3, ...rest] };
  }
  const [columns = 1] = rest;
  return { shape: [columns, rows], values: values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)] ?? 0) };
}

async function writeJson(path: string, json: object): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, JSON.stringify(json));
}
