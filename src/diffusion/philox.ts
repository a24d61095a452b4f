/**
 * Random numbers as functions of (seed, purpose, step, sample): Philox4x32-10, a counter-based generator (Salmon et al. 2011,
 * "Parallel random numbers: as easy as 1, 2, 3").
 *
 * There is no state to keep: the same key gives the same numbers in whatever order and however often they are asked for. They are
 * the same bits on every machine, because only operations that ECMAScript defines exactly are used: integer arithmetic,
 * + - * / and square root. `Math.log`, `Math.cos` and `Math.sin` are left to the implementation, so they are not used here.
 */

/** What random numbers are for. Each purpose has its own stream; the number is part of the format of a run and never changes. */
const PURPOSES = {
  noise: 1,
  timestep: 2,
  order: 3,
  dropout: 4,
  init: 5,
  flip: 6,
  vaeSample: 7,
  heldOut: 8,
  noiseOffset: 9,
  /** The noise that ancestral samplers add on their way. */
  sampler: 10,
  caption: 11,
  /** Random directions in which a matrix is measured. */
  sketch: 12,
} as const;

type Purpose = keyof typeof PURPOSES;

/** The place of a stream of random numbers. */
export interface RandomKey {
  /** Whole, 0 to 2^53 - 1. */
  readonly seed: number;
  readonly purpose: Purpose;
  /** Whole, 0 to 2^32 - 1; 0 when not given. */
  readonly step?: number;
  /** Which picture, tensor or row; whole, 0 to 2^32 - 1; 0 when not given. */
  readonly sample?: number;
}

/**
 * Uniform in [0, 1), in steps of 2^-24, so that float32 holds each exactly.
 *
 * @example uniform({ seed: 1, purpose: "dropout", step: 12 }, 4);
 */
export function uniform(key: RandomKey, count: number): Float32Array {
  const out = new Float32Array(count);
  fill(key, count, 1, (words, at, i) => {
    // The low bits are dropped by hand: rounding to float32 could give 1.
    out[i] = ((words[at] ?? 0) >>> 8) * 2 ** -24;
  });
  return out;
}

/**
 * Standard normal numbers by Box and Muller (1958): two from each pair of uniforms.
 *
 * @example normal({ seed: 1, purpose: "noise", step: 12, sample: 3 }, 4 * 64 * 64);
 */
export function normal(key: RandomKey, count: number): Float32Array {
  const out = new Float32Array(count);
  const direction = new Float64Array(2);
  fill(key, Math.ceil(count / 2), 2, (words, at, i) => {
    const radius = Math.sqrt(-2 * logOfFraction(words[at] ?? 0));
    cosSinOfTurn(words[at + 1] ?? 0, direction);
    out[2 * i] = radius * (direction[0] ?? 0);
    if (2 * i + 1 < count) out[2 * i + 1] = radius * (direction[1] ?? 0);
  });
  return out;
}

/**
 * Whole numbers in [0, n), all but equally likely: each takes 53 random bits, so no number is favoured by more than n / 2^53.
 *
 * @throws Error when n is not a whole number from 1 to 2^31
 * @example integers({ seed: 1, purpose: "timestep", step: 12 }, 4, 1000);
 */
export function integers(key: RandomKey, count: number, n: number): Int32Array {
  if (!Number.isInteger(n) || n < 1 || n > 2 ** 31) throw new Error(`integers: n from 1 to 2^31 needed, got ${n}`);
  const out = new Int32Array(count);
  fill(key, count, 2, (words, at, i) => {
    out[i] = Math.floor(wideUniform(words, at) * n);
  });
  return out;
}

/** The numbers 0 to n - 1 in random order (Fisher and Yates, as Durstenfeld 1964 has it). */
export function permutation(key: RandomKey, n: number): Int32Array {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  if (n < 2) return order;
  fill(key, n - 1, 2, (words, at, i) => {
    const last = n - 1 - i;
    const chosen = Math.floor(wideUniform(words, at) * (last + 1));
    const kept = order[last] ?? 0;
    order[last] = order[chosen] ?? 0;
    order[chosen] = kept;
  });
  return order;
}

/** Uniform in [0, 1) with 53 random bits, from two words. */
function wideUniform(words: Uint32Array, at: number): number {
  return ((words[at] ?? 0) * 2 ** 21 + ((words[at + 1] ?? 0) >>> 11)) * 2 ** -53;
}

/**
 * One block of Philox4x32-10.
 *
 * @param counter four 32-bit words
 * @param key two 32-bit words
 * @returns four random 32-bit words
 */
export function philox4x32(counter: readonly [number, number, number, number], key: readonly [number, number]): Uint32Array {
  const out = Uint32Array.from(counter);
  encrypt(out, key[0], key[1]);
  return out;
}

/** Calls `use(words, at, i)` for each of `count` items of `wordsPerItem` (1, 2 or 4) random words beginning at `words[at]`. */
function fill(
  key: RandomKey,
  count: number,
  wordsPerItem: 1 | 2 | 4,
  use: (words: Uint32Array, at: number, i: number) => void,
): void {
  const { seed, purpose, step = 0, sample = 0 } = key;
  check("seed", seed, Number.MAX_SAFE_INTEGER);
  check("step", step, 0xffffffff);
  check("sample", sample, 0xffffffff);
  const words = new Uint32Array(4);
  const itemsPerBlock = 4 / wordsPerItem;
  for (let i = 0, block = 0; i < count; block++) {
    words[0] = block;
    words[1] = sample;
    words[2] = step;
    words[3] = PURPOSES[purpose];
    encrypt(words, seed >>> 0, Math.floor(seed / 2 ** 32));
    for (let j = 0; j < itemsPerBlock && i < count; j++, i++) use(words, j * wordsPerItem, i);
  }
}

function check(name: string, value: number, max: number): void {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new Error(`philox: a whole ${name} from 0 to ${max} needed, got ${value}`);
  }
}

/** Ten rounds over the counter in place (Salmon et al. 2011, section 3.3 and table 2). */
function encrypt(words: Uint32Array, key0: number, key1: number): void {
  let [x0 = 0, x1 = 0, x2 = 0, x3 = 0] = words;
  let k0 = key0;
  let k1 = key1;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, x0);
    const low0 = Math.imul(0xd2511f53, x0);
    const high1 = multiplyHigh(0xcd9e8d57, x2);
    const low1 = Math.imul(0xcd9e8d57, x2);
    x0 = (high1 ^ x1 ^ k0) >>> 0;
    x1 = low1 >>> 0;
    x2 = (high0 ^ x3 ^ k1) >>> 0;
    x3 = low0 >>> 0;
    k0 = (k0 + 0x9e3779b9) >>> 0; // the golden ratio
    k1 = (k1 + 0xbb67ae85) >>> 0; // sqrt(3) - 1
  }
  words[0] = x0;
  words[1] = x1;
  words[2] = x2;
  words[3] = x3;
}

/** The upper 32 bits of a 32 x 32 bit product, in 16-bit halves: no sum reaches 2^32, where >>> would lose bits. */
function multiplyHigh(a: number, b: number): number {
  const [aHigh, aLow, bHigh, bLow] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const lower = aLow * bHigh + (middle & 0xffff);
  return aHigh * bHigh + (middle >>> 16) + (lower >>> 16);
}

/** Natural logarithm of (word + 1/2) / 2^32, which is never 0 or 1. Within 2e-16 relative. */
function logOfFraction(word: number): number {
  const exponent = word === 0 ? -1 : 31 - Math.clz32(word);
  const mantissa = (word + 0.5) / 2 ** exponent; // in [1, 2)
  const isUpper = mantissa > Math.SQRT2;
  // log m = 2 artanh((m - 1) / (m + 1)), a series in s^2 <= 0.0295.
  const m = isUpper ? mantissa / 2 : mantissa;
  const s = (m - 1) / (m + 1);
  const z = s * s;
  let sum = 0;
  for (let n = 21; n >= 1; n -= 2) sum = sum * z + 1 / n;
  return 2 * s * sum + (exponent + (isUpper ? 1 : 0) - 32) * Math.LN2;
}

/** out = cosine and sine of 2 pi word / 2^32, by octants: the reduction is exact in integers. */
function cosSinOfTurn(word: number, out: Float64Array): void {
  const octant = word >>> 29;
  const within = (word & 0x1fffffff) * 2 ** -29; // of an octant, in [0, 1)
  // Odd octants run backwards, so that the angle stays within 45 degrees of an axis.
  const angle = (Math.PI / 4) * (octant & 1 ? 1 - within : within);
  const z = angle * angle;
  let cos = 1;
  let sin = 1;
  for (let n = 16; n >= 2; n -= 2) {
    cos = 1 - (z / (n * (n - 1))) * cos;
    sin = 1 - (z / (n * (n + 1))) * sin;
  }
  sin *= angle;
  const isSwapped = ((octant + 1) & 2) !== 0; // nearer to the second axis
  const x = isSwapped ? sin : cos;
  const y = isSwapped ? cos : sin;
  out[0] = octant >= 2 && octant <= 5 ? -x : x;
  out[1] = octant >= 4 ? -y : y;
}
