/** What an adapter's module does to its layer's weight, as numbers, for every kind. */
import { UserError } from "../errors.ts";
import { readTensor } from "../formats/safetensors.ts";
import type { PartName } from "./keys.ts";
import type { OpenedAdapter, OpenedModule } from "./open.ts";

/** The change of a layer is `scale` times up down. */
export interface LowRank {
  /** [rank, in] or [rank, in, kh, kw] */
  readonly down: { readonly shape: readonly number[]; readonly data: Float32Array };
  /** [out, rank] or [out, rank, 1, 1] */
  readonly up: { readonly shape: readonly number[]; readonly data: Float32Array };
  readonly scale: number;
}

/** Reads the base's weight of a layer, row-major. */
export type ReadBaseWeight = (module: OpenedModule) => Promise<Float32Array>;

/**
 * The whole change of a layer's weight, row-major [out, in * kh * kw], scale included. A norm's is [channels, 1].
 *
 * - LoRA (Hu et al. 2021) and LoCon: up down; with a middle (CP decomposition) each kernel position has its own core between them.
 * - LoHa (FedPara, Hyeon-Woo et al. 2021, proposition 1): the elementwise product of two such products; its Tucker form likewise.
 * - LoKr (Yeh et al. 2023, section 3.3): the Kronecker product of two factors, each whole or a product.
 * - DoRA (Liu et al. 2024, eq. 5): m (W + dW) / |W + dW| - W, norms over inputs, or over outputs where the magnitudes are [1, in].
 *
 * @param readBaseWeight only DoRA needs it
 * @throws UserError when a part is missing, parts do not fit together, a number is not finite, or DoRA is read without its base
 * @example const change = await readDelta(adapter, module); // change[o * inputs + i]
 */
export async function readDelta(
  adapter: OpenedAdapter,
  module: OpenedModule,
  readBaseWeight?: ReadBaseWeight,
): Promise<Float32Array> {
  const parts = await readParts(adapter, module);
  const change = products[module.form](parts, module);
  if (module.scale !== 1) for (let i = 0; i < change.length; i++) change[i] = (change[i] ?? 0) * module.scale;
  const magnitudes = parts.find("doraScale");
  if (!magnitudes) return change;
  if (!readBaseWeight) {
    throw new UserError(`${adapter.path}: ${module.name} is a DoRA, whose change depends on the base model's weight.`, {
      fix: "Name the base model: --base.",
    });
  }
  return decomposeWeight(await readBaseWeight(module), change, magnitudes, module);
}

/** The two matrices of a plain LoRA or LoCon, a middle multiplied into down; undefined for every other kind. */
export async function readLowRank(adapter: OpenedAdapter, module: OpenedModule): Promise<LowRank | undefined> {
  if (module.form !== "lora" || module.parts.doraScale) return undefined;
  const parts = await readParts(adapter, module);
  const { down, up, rank } = lowRankOf(parts, module);
  const [outputs = 0, inputs = 0, ...kernel] = module.shape;
  return {
    down: { shape: [rank, inputs, ...kernel], data: down.data },
    up: { shape: [outputs, rank, ...kernel.map(() => 1)], data: up.data },
    scale: module.scale,
  };
}

/** The change of a layer's bias; undefined where the file has none. */
export async function readBiasDelta(adapter: OpenedAdapter, module: OpenedModule): Promise<Float32Array | undefined> {
  return module.parts.diffBias && (await readParts(adapter, module)).find("diffBias")?.data;
}

interface Part {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

interface Parts {
  find(name: PartName): Part | undefined;
  /** @throws UserError when the file has no such part of the module */
  get(name: PartName): Part;
  /** @throws UserError about the parts' shapes */
  refuse(what: string): never;
}

async function readParts({ path, file }: OpenedAdapter, { name, parts, alpha }: OpenedModule): Promise<Parts> {
  if (alpha !== undefined && !Number.isFinite(alpha)) {
    throw new UserError(`${path}: ${parts.alpha?.name ?? `the alpha of ${name}`} is ${alpha}: the adapter is broken.`, {
      fix: "Use an earlier checkpoint of it.",
    });
  }
  const read = new Map<string, Part>();
  for (const [part, entry] of Object.entries(parts)) {
    if (part === "alpha") continue;
    const data = await readTensor(file, entry.name);
    const index = data.findIndex((value) => !Number.isFinite(value));
    if (index >= 0) {
      throw new UserError(`${path}: ${entry.name} holds ${data[index]} at position ${index}: the adapter is broken.`, {
        fix: "Use an earlier checkpoint of it.",
      });
    }
    read.set(part, { shape: entry.shape, data });
  }
  const incomplete = { fix: "Get the file again: it is not complete." };
  return {
    find: (part) => read.get(part),
    get(part) {
      const found = read.get(part);
      if (!found) throw new UserError(`${path}: ${name} has ${[...read.keys()].join(", ")}, but no ${part}.`, incomplete);
      return found;
    },
    refuse(what) {
      const shapes = [...read].map(([part, { shape }]) => `${part} [${shape.join(", ")}]`).join(", ");
      throw new UserError(`${path}: the parts of ${name} do not fit together: ${what}, of ${shapes}.`, incomplete);
    },
  };
}

const products: { readonly [F in OpenedModule["form"]]: (parts: Parts, module: OpenedModule) => Float32Array } = {
  lora(parts, module) {
    const { up, down } = lowRankOf(parts, module);
    return multiply(up, down, parts);
  },
  loha(parts) {
    const [one, two] = (["1", "2"] as const).map((i) => {
      const core = parts.find(`t${i}`);
      const [a, b] = [parts.get(`w${i}a`), parts.get(`w${i}b`)];
      return core ? tucker(core, transpose(a), b, parts).data : multiply(a, b, parts);
    });
    if (!one || !two || one.length !== two.length) return parts.refuse("the two products differ in size");
    return one.map((value, i) => value * (two[i] ?? 0));
  },
  lokr: (parts) => kronecker(factor(parts, "w1"), factor(parts, "w2")),
  full: (parts, { shape }) => parts.find("diff")?.data ?? new Float32Array(shape.reduce((product, size) => product * size, 1)),
};

/** up [out, rank] and down [rank, in * kh * kw], with a middle worked into down. */
function lowRankOf(parts: Parts, { shape }: OpenedModule): { up: Part; down: Part; rank: number } {
  const [up, down, mid] = [parts.get("up"), parts.get("down"), parts.find("mid")];
  const rank = up.shape[1] ?? 0;
  const width = shape.slice(1).reduce((product, size) => product * size, 1);
  if (up.data.length !== (shape[0] ?? 0) * rank) return parts.refuse("up is wider than 1 x 1");
  const whole = mid ? tucker(mid, identity(rank), down, parts).data : down.data;
  if (whole.length !== rank * width) return parts.refuse(`rank ${rank}`);
  return { up, down: { shape: [rank, width], data: whole }, rank };
}

/** [rows, inner] times [inner, columns...]; sums in float64. */
function multiply(left: Part, right: Part, parts: Pick<Parts, "refuse">): Float32Array {
  const rows = left.shape[0] ?? 0;
  const inner = left.data.length / rows;
  const columns = right.data.length / inner;
  if (right.shape[0] !== inner) return parts.refuse(`${inner} columns meet ${right.shape[0] ?? 0} rows`);
  const out = new Float32Array(rows * columns);
  const sums = new Float64Array(columns);
  for (let row = 0; row < rows; row++) {
    sums.fill(0);
    for (let k = 0; k < inner; k++) {
      const factor = left.data[row * inner + k] ?? 0;
      if (factor === 0) continue;
      for (let column = 0, at = k * columns; column < columns; column++, at++)
        sums[column] = (sums[column] ?? 0) + factor * (right.data[at] ?? 0);
    }
    out.set(sums, row * columns);
  }
  return out;
}

/**
 * For each kernel position, left [out, m] times core [m, n] times right [n, in].
 *
 * @param core [m, n, ...kernel]
 * @returns [out, in, ...kernel]
 */
function tucker(core: Part, left: Part, right: Part, parts: Pick<Parts, "refuse">): Part {
  const [m = 0, n = 0, ...kernel] = core.shape;
  const size = kernel.reduce((product, length) => product * length, 1);
  const inputs = right.data.length / n;
  if (right.shape[0] !== n || left.shape[1] !== m) return parts.refuse(`a core of ${m} x ${n}`);
  // First over n: [m, in, kernel]; then the rows are mixed by `left`.
  const inner = new Float32Array(m * inputs * size);
  for (let i = 0; i < m; i++) {
    for (let input = 0; input < inputs; input++) {
      for (let at = 0; at < size; at++) {
        let sum = 0;
        for (let j = 0; j < n; j++) sum += (core.data[(i * n + j) * size + at] ?? 0) * (right.data[j * inputs + input] ?? 0);
        inner[(i * inputs + input) * size + at] = sum;
      }
    }
  }
  const data = multiply(left, { shape: [m, inputs * size], data: inner }, parts);
  return { shape: [left.shape[0] ?? 0, inputs, ...kernel], data };
}

/** One of LoKr's factors as [rows, columns, ...kernel]: whole, a product, or a Tucker product. */
function factor(parts: Parts, name: "w1" | "w2"): Part {
  const whole = parts.find(name);
  if (whole) return whole;
  const [a, b] = [parts.get(`${name}a`), parts.get(`${name}b`)];
  const core = name === "w2" ? parts.find("t2") : undefined;
  if (core) return tucker(core, transpose(a), b, parts);
  return { shape: [a.shape[0] ?? 0, ...b.shape.slice(1)], data: multiply(a, b, parts) };
}

/** [a, c] with [b, d, ...kernel]: [a b, c d ...kernel], where element (i b + k, (j d + l) ...) is one of each. */
function kronecker(one: Part, two: Part): Float32Array {
  const [rows1 = 0, columns1 = 0] = one.shape;
  const rows2 = two.shape[0] ?? 0;
  // A flattened kernel stays beside its input, so that the order is that of the whole shape.
  const columns2 = two.data.length / rows2;
  const out = new Float32Array(one.data.length * two.data.length);
  let at = 0;
  for (let i = 0; i < rows1; i++) {
    for (let k = 0; k < rows2; k++) {
      for (let j = 0; j < columns1; j++) {
        const value = one.data[i * columns1 + j] ?? 0;
        for (let l = 0; l < columns2; l++) out[at++] = value * (two.data[k * columns2 + l] ?? 0);
      }
    }
  }
  return out;
}

/** DoRA's change of the weight: the sum brought to the trained magnitudes, less the weight. */
function decomposeWeight(weight: Float32Array, change: Float32Array, magnitudes: Part, module: OpenedModule): Float32Array {
  const [outputs = 0, inputs = 0, ...kernel] = module.shape;
  const size = kernel.reduce((product, length) => product * length, 1);
  if (weight.length !== change.length) {
    throw new Error(`readDelta: a base weight of ${change.length} numbers needed, got ${weight.length}\n  at ${module.name}`);
  }
  // LyCORIS has [out, 1, 1, 1], or [1, in, 1, 1] by its older way. PEFT's are the outputs', though a convolution's are [1, out, 1, 1].
  const isPeft = module.parts.doraScale?.name.includes("lora_magnitude_vector");
  const perInput = !isPeft && magnitudes.shape.length > 1 && magnitudes.shape[0] === 1 && outputs !== 1;
  const groupOf = (i: number): number => (perInput ? Math.floor(i / size) % inputs : Math.floor(i / (inputs * size)));
  const squares = new Float64Array(perInput ? inputs : outputs);
  if (squares.length !== magnitudes.data.length) {
    throw new UserError(`${module.name} has ${magnitudes.data.length} magnitudes; its layer is [${module.shape.join(", ")}].`, {
      fix: "Get the file again: it is not complete.",
    });
  }
  const sum = change.map((value, i) => value + (weight[i] ?? 0));
  for (let i = 0; i < sum.length; i++) squares[groupOf(i)] = (squares[groupOf(i)] ?? 0) + (sum[i] ?? 0) ** 2;
  const factors = squares.map((square, group) => (magnitudes.data[group] ?? 0) / (Math.sqrt(square) + FLOAT32_EPSILON));
  return sum.map((value, i) => value * (factors[groupOf(i)] ?? 0) - (weight[i] ?? 0));
}

/** What LyCORIS and ComfyUI add to the norms, so that a zero column divides nothing. */
const FLOAT32_EPSILON = 2 ** -23;

function transpose({ shape: [rows = 0, columns = 0], data }: Part): Part {
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) out[column * rows + row] = data[row * columns + column] ?? 0;
  return { shape: [columns, rows], data: out };
}

function identity(size: number): Part {
  const data = new Float32Array(size * size);
  for (let i = 0; i < size; i++) data[i * size + i] = 1;
  return { shape: [size, size], data };
}
