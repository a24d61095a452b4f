/** Conversions between float32 and the narrow floats that model files hold (IEEE 754 binary16, bfloat16, OCP 8-bit floats). */

/** The largest finite float16. */
export const FLOAT16_MAX = 65504;
/** The largest finite bfloat16, (2 - 2^-7) * 2^127. */
export const BFLOAT16_MAX = (2 - 2 ** -7) * 2 ** 127;

/**
 * Rounds to float16 bits, to nearest with ties to even, subnormals included. Above 65519.99 becomes infinity, as IEEE 754 says;
 * NaN stays NaN (quiet).
 *
 * @example float32ToFloat16(new Float32Array([1])); // Uint16Array [0x3c00]
 */
export function float32ToFloat16(x: Float32Array): Uint16Array {
  const half = new Uint16Array(x.length);
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  for (let i = 0; i < x.length; i++) {
    float[0] = x[i] ?? 0;
    const word = bits[0] ?? 0;
    const sign = (word >>> 16) & 0x8000;
    const magnitude = word & 0x7fffffff;
    if (magnitude > 0x7f800000) {
      half[i] = sign | 0x7e00;
    } else if (magnitude >= 0x477ff000) {
      half[i] = sign | 0x7c00; // 65520 and above: the tie itself goes to the even neighbour, infinity.
    } else if (magnitude < 0x38800000) {
      // Below 2^-14: adding 0.5 lines the float32 unit in the last place (2^-24) up with float16's, so the adder rounds for us.
      float[0] = Math.abs(float[0]) + 0.5;
      half[i] = sign | ((bits[0] ?? 0) - 0x3f000000);
    } else {
      // Rebias the exponent (127 -> 15) and add just under half a unit, or half where the kept part is odd.
      const isOdd = (magnitude >>> 13) & 1;
      half[i] = sign | ((magnitude - ((127 - 15) << 23) + 0xfff + isOdd) >>> 13);
    }
  }
  return half;
}

/** float16 bits as float32, exactly. */
export function float16ToFloat32(half: Uint16Array): Float32Array {
  float16Table ??= makeFloat16Table();
  const out = new Float32Array(half.length);
  for (let i = 0; i < half.length; i++) out[i] = float16Table[half[i] ?? 0] ?? 0;
  return out;
}

/** Every float16 by its bits: 256 KiB once, and several times faster than arithmetic per element. */
let float16Table: Float32Array | undefined;

function makeFloat16Table(): Float32Array {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) table[bits] = smallFloat(bits, 5, 10);
  return table;
}

/** Rounds to bfloat16 bits, to nearest with ties to even; NaN stays NaN (quiet). */
export function float32ToBfloat16(x: Float32Array): Uint16Array {
  const words = new Uint32Array(x.buffer, x.byteOffset, x.length);
  const out = new Uint16Array(x.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? 0;
    const isNan = (word & 0x7fffffff) > 0x7f800000;
    out[i] = isNan ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return out;
}

/** bfloat16 bits as float32, exactly. */
export function bfloat16ToFloat32(x: Uint16Array): Float32Array {
  const words = new Uint32Array(x.length);
  for (let i = 0; i < x.length; i++) words[i] = (x[i] ?? 0) << 16;
  return new Float32Array(words.buffer);
}

/**
 * 8-bit floats as float32, exactly. E5M2 is IEEE-like; E4M3 is the "FN" form of OCP 8-bit Floating Point (2023): no infinity, and
 * only the all-ones magnitude is NaN.
 */
export function float8ToFloat32(x: Uint8Array, kind: "E4M3" | "E5M2"): Float32Array {
  const table = new Float32Array(256);
  for (let bits = 0; bits < 256; bits++) table[bits] = kind === "E5M2" ? smallFloat(bits, 5, 2) : float8E4M3(bits);
  return Float32Array.from(x, (bits) => table[bits] ?? 0);
}

function float8E4M3(bits: number): number {
  if ((bits & 0x7f) === 0x7f) return NaN;
  const sign = bits & 0x80 ? -1 : 1;
  const exponent = (bits >> 3) & 15;
  const fraction = (bits & 7) / 8;
  return exponent === 0 ? sign * fraction * 2 ** -6 : sign * (1 + fraction) * 2 ** (exponent - 7);
}

/** An IEEE 754 interchange float of 1 + exponentBits + fractionBits bits. */
function smallFloat(bits: number, exponentBits: number, fractionBits: number): number {
  const sign = (bits >> (exponentBits + fractionBits)) & 1 ? -1 : 1;
  const top = (1 << exponentBits) - 1;
  const bias = top >> 1;
  const exponent = (bits >> fractionBits) & top;
  const fraction = (bits & ((1 << fractionBits) - 1)) / 2 ** fractionBits;
  if (exponent === top) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
}
