/** Finds where a component's weights lie in its files, under whatever names these have there, and checks their shapes. */
import { UserError } from "../errors.ts";
import { DTYPE_BYTES, type TensorEntry } from "../formats/safetensors-header.ts";
import { shapesEqual, type Shape } from "../graph/graph.ts";
import type { ParameterSpec } from "../nn/params.ts";
import type { BaseWeight } from "./base.ts";

/** What a file calls a weight, and which part of that tensor the weight is. */
export interface FileTensor {
  /** Spellings of the key, the usual one first. */
  readonly keys: readonly string[];
  /** The weight is this one, from 0, of so many equal parts of the tensor's rows. */
  readonly part?: readonly [index: number, count: number];
  /** The file holds the transpose. */
  readonly isTransposed?: boolean;
}

/** From a weight's path below its component ("conv_in.weight") to what the file calls it. */
export type KeyMap = (path: string) => FileTensor;

/** The tensors of one or several files, by their keys; each knows its file. */
export type FileTensors = ReadonlyMap<string, TensorEntry & { readonly path: string }>;

/** Where the files' shapes are decided, for messages. */
export interface LocateMessages {
  /** "by its config.json it must be". */
  readonly mustBe: string;
  readonly fixShape: string;
  readonly fixMissing: string;
}

/**
 * Puts every needed weight of a component into `weights`, by the name of its buffer.
 *
 * @param component with which the names of `needed` begin
 * @returns the keys that were used
 * @throws UserError naming the key, as the file has it, that is missing, misshapen or of a type that holds no weights
 */
export function locateWeights(
  component: string,
  tensors: FileTensors,
  needed: readonly ParameterSpec[],
  keyMap: KeyMap,
  messages: LocateMessages,
  weights: Map<string, BaseWeight>,
): ReadonlySet<string> {
  const used = new Set<string>();
  const missing: { readonly key: string; readonly shape: Shape }[] = [];
  for (const spec of needed) {
    const wanted = keyMap(spec.name.slice(component.length + 1));
    const key = wanted.keys.find((spelling) => tensors.has(spelling));
    const entry = key === undefined ? undefined : tensors.get(key);
    const shape = shapeInFile(spec.shape, wanted);
    if (!entry) {
      missing.push({ key: wanted.keys[0] ?? spec.name, shape });
      continue;
    }
    used.add(entry.name);
    weights.set(spec.name, { shape: spec.shape, source: sourceOf(entry, shape, wanted, messages) });
  }
  const [first] = missing;
  if (first) {
    const others = missing.length > 1 ? `, and ${missing.length - 1} more` : "";
    const files = [...new Set([...tensors.values()].map(({ path }) => path))].join(", ");
    throw new UserError(`${files} lacks ${first.key} [${first.shape.join(", ")}]${others}.`, { fix: messages.fixMissing });
  }
  return used;
}

/** The shape that the file's tensor must have for a weight of `shape`. */
function shapeInFile([rows = 1, ...rest]: Shape, { part, isTransposed }: FileTensor): Shape {
  if (part) return [rows * part[1], ...rest];
  return isTransposed ? [...rest, rows] : [rows, ...rest];
}

function sourceOf(
  { name: key, path, dtype, shape, offset, byteLength }: TensorEntry & { readonly path: string },
  wantedShape: Shape,
  { part, isTransposed }: FileTensor,
  { mustBe, fixShape }: LocateMessages,
): BaseWeight["source"] {
  if (!sameNumbers(shape, wantedShape)) {
    throw new UserError(`${path}: ${key} is [${shape.join(", ")}]; ${mustBe} [${wantedShape.join(", ")}].`, { fix: fixShape });
  }
  if (!/^(BF|F)\d/.test(dtype)) {
    throw new UserError(`${path}: ${key} is stored as ${dtype}, in which weights are quantised; Gesso reads float weights.`, {
      fix: "Use a version of the model in float32, float16, bfloat16 or float8.",
    });
  }
  const source = { kind: "file", path, key, offset, byteLength, storedDtype: dtype } as const;
  if (part) {
    // Rows lie one after another, so that a part of them is a range of its own.
    const [index, count] = part;
    return { ...source, offset: offset + (index * byteLength) / count, byteLength: byteLength / count };
  }
  const [rows = 1, columns = byteLength / DTYPE_BYTES[dtype]] = shape;
  return isTransposed ? { ...source, transposedFrom: [rows, columns] } : source;
}

/** Whether two shapes are the same row-major numbers: files store 1 x 1 convolutions as matrices, and matrices as such convolutions. */
function sameNumbers(a: Shape, b: Shape): boolean {
  return shapesEqual(withoutTrailingOnes(a), withoutTrailingOnes(b));
}

function withoutTrailingOnes(shape: Shape): Shape {
  const length = shape.findLastIndex((size) => size !== 1) + 1;
  return shape.slice(0, Math.max(1, length));
}

/** Buffers that training code kept beside the weights and that are worked out anew; nobody needs to hear of them. */
const silentKeys =
  /(^|\.)(position_ids|logit_scale|attn_mask)$|^(betas|alphas_cumprod|alphas_cumprod_prev|posterior_\w+|sqrt_\w+|log_one_minus_\w+|lvlb_weights|model_ema\.(decay|num_updates)|denoiser\.sigmas|logvar|scale_factor)$/;

/** The keys that are neither used nor known to be nothing. */
export function findUnused(tensors: FileTensors, used: ReadonlySet<string>): readonly string[] {
  return [...tensors.keys()].filter((key) => !used.has(key) && !silentKeys.test(key));
}

/** A note about keys that nothing needs. */
export function describeUnused(component: string, keys: readonly string[]): string {
  const some = keys.slice(0, 3).join(", ");
  return `${keys.length} ${keys.length === 1 ? "tensor" : "tensors"} of ${component} not used: ${some}${keys.length > 3 ? ", ..." : ""}.`;
}
