/** Reads adapter files for a given base: Kohya's names with SGM or diffusers blocks, and PEFT's. */
import { findNearest, UserError } from "../errors.ts";
import { openSafetensors, readTensor, type SafetensorsFile } from "../formats/safetensors.ts";
import type { AdapterMatrix, AdapterModule } from "./file.ts";
import type { AdapterBase } from "./layout.ts";
import { createNameIndex, isAdaptable } from "./names.ts";

export type { AdapterBase } from "./layout.ts";

export interface AdapterFile {
  /** In the order of the base's weights. */
  readonly modules: readonly AdapterModule[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** The three parts of a module, and how files end their names. */
type Part = "down" | "up" | "alpha";
const endings: readonly (readonly [ending: string, part: Part])[] = [
  [".lora_down.weight", "down"],
  [".lora_up.weight", "up"],
  [".alpha", "alpha"],
  [".lora_A.weight", "down"],
  [".lora_B.weight", "up"],
];

/** Other kinds of adapters, by what their keys hold. */
const otherKinds: readonly (readonly [mark: RegExp, kind: string])[] = [
  [/\.dora_scale$|\.lora_magnitude_vector/, "DoRA"],
  [/\.hada_/, "LoHa"],
  [/\.lokr_/, "LoKr"],
  [/\.lora_mid\./, "LoCon with a middle matrix"],
  [/\.oft_|\.boft_/, "OFT"],
  [/\.(diff|diff_b)$/, "full weight differences"],
];

/**
 * An adapter's modules, checked against the base. Nothing is left out silently: an unknown key is an error.
 *
 * Where the file has no alpha, it is the rank, so that the scale is 1, as ComfyUI and PEFT read such files.
 *
 * @throws UserError naming the keys that belong to no layer of the base, the module that lacks a part or has a wrong shape, or the
 *   kind of adapter that is not supported
 * @example const { modules } = await readAdapter("mystyle.safetensors", base);
 */
export async function readAdapter(path: string, base: AdapterBase): Promise<AdapterFile> {
  const file = await openSafetensors(path);
  const keys = sortKeys(file, base);
  const modules: AdapterModule[] = [];
  for (const { layer, shape } of adaptableLayers(base)) {
    const parts = keys.get(layer);
    if (parts) modules.push(await readModule(file, layer, parts, shape));
  }
  if (modules.length === 0) throw new UserError(`${path} holds no tensors.`, { fix: "Give the file of a trained LoRA." });
  return { modules, metadata: file.metadata };
}

type ModuleKeys = Partial<Record<Part, string>>;

/** The file's keys by layer and part. */
function sortKeys(file: SafetensorsFile, base: AdapterBase): ReadonlyMap<string, ModuleKeys> {
  const paths = adaptableLayers(base).map(({ layer }) => layer);
  const index = createNameIndex(paths, base);
  const layers = new Map<string, ModuleKeys>();
  const unknown: string[] = [];
  for (const key of file.tensors.keys()) {
    const [ending, part] = endings.find(([end]) => key.endsWith(end)) ?? [];
    const layer = ending === undefined ? undefined : index.get(key.slice(0, -ending.length));
    if (part === undefined || layer === undefined) {
      unknown.push(key);
      continue;
    }
    const parts = layers.get(layer) ?? {};
    const other = parts[part];
    if (other !== undefined) {
      throw new UserError(`${file.path}: ${other} and ${key} are the same layer, ${layer}.`, {
        fix: "Write the adapter again with one naming throughout.",
      });
    }
    layers.set(layer, { ...parts, [part]: key });
  }
  if (unknown.length > 0) throw refuseUnknown(file, unknown, index);
  return layers;
}

/** Layers that an adapter may be on: weights of two or more axes, except lookup tables. */
function adaptableLayers({ weights }: AdapterBase): { layer: string; shape: readonly number[] }[] {
  return [...weights].flatMap(([name, { shape }]) => {
    const isLayer = isAdaptable(name) && shape.length >= 2 && /(?<!_embedding)\.weight$/.test(name);
    return isLayer ? [{ layer: name.slice(0, -".weight".length), shape }] : [];
  });
}

function refuseUnknown(file: SafetensorsFile, unknown: readonly string[], index: ReadonlyMap<string, string>): UserError {
  const total = file.tensors.size;
  for (const [mark, kind] of otherKinds) {
    const key = unknown.find((name) => mark.test(name));
    if (key === undefined) continue;
    return new UserError(`${file.path} is of a kind that is not supported: ${kind} (key ${key}).`, {
      fix: "Give a plain LoRA or LoCon.",
    });
  }
  const [first = ""] = unknown;
  const module = first.replace(/\.(lora_down|lora_up|lora_A|lora_B)\.weight$|\.alpha$/, "");
  const nearest = unknown.length <= 3 ? findNearest(module, [...index.keys()]) : undefined;
  const hint = nearest === undefined ? "" : ` The nearest layer is ${nearest}.`;
  return new UserError(
    `${file.path}: ${unknown.length} of ${total} keys are no layer of this base model (first: ${first}).${hint}`,
    { fix: "Use the base model that the adapter was trained for." },
  );
}

async function readModule(
  file: SafetensorsFile,
  path: string,
  keys: ModuleKeys,
  weightShape: readonly number[],
): Promise<AdapterModule> {
  const { down, up, alpha } = keys;
  if (down === undefined || up === undefined) {
    const found = [down, up, alpha].filter((key) => key !== undefined).join(" and ");
    throw new UserError(`${file.path}: ${path} has ${found} but no ${down === undefined ? "down" : "up"} matrix.`, {
      fix: "Get the file again: it is not complete.",
    });
  }
  const rank = file.tensors.get(down)?.shape[0] ?? 0;
  const [outputs = 0, inputs = 0, ...kernel] = weightShape;
  return {
    path,
    rank,
    alpha: alpha === undefined ? rank : await readAlpha(file, alpha),
    down: await readMatrix(file, down, [rank, inputs, ...kernel]),
    up: await readMatrix(file, up, [outputs, rank, ...kernel.map(() => 1)]),
  };
}

/** A matrix in the shape that the base's layer asks for. Files disagree about [r, in] and [r, in, 1, 1], which are the same numbers. */
async function readMatrix(file: SafetensorsFile, key: string, shape: readonly number[]): Promise<AdapterMatrix> {
  const got = file.tensors.get(key)?.shape ?? [];
  if (trim(got).join() !== trim(shape).join()) {
    throw new UserError(`${file.path}: ${key} is [${got.join(", ")}]; this base model needs [${shape.join(", ")}].`, {
      fix: "Use the base model that the adapter was trained for.",
    });
  }
  return { shape, data: await readFinite(file, key) };
}

/** A shape without the ones at its end, from the third axis on. */
function trim(shape: readonly number[]): readonly number[] {
  const last = shape.findLastIndex((length, axis) => axis < 2 || length !== 1);
  return shape.slice(0, last + 1);
}

async function readAlpha(file: SafetensorsFile, key: string): Promise<number> {
  const values = await readFinite(file, key);
  const [alpha = NaN] = values;
  if (values.length === 1) return alpha;
  throw new UserError(`${file.path}: ${key} holds ${values.length} numbers; one is needed.`, { fix: "Get the file again." });
}

async function readFinite(file: SafetensorsFile, key: string): Promise<Float32Array> {
  const data = await readTensor(file, key);
  const index = data.findIndex((value) => !Number.isFinite(value));
  if (index < 0) return data;
  throw new UserError(`${file.path}: ${key} holds ${data[index]} at position ${index}: the adapter is broken.`, {
    fix: "Use an earlier checkpoint of it.",
  });
}
