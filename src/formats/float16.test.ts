/** Narrow floats, against definitions written in another way. */
import { expect, test } from "vitest";
import {
  BFLOAT16_MAX,
  bfloat16ToFloat32,
  FLOAT16_MAX,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
  float8ToFloat32,
} from "./float16.ts";

const allHalves = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
const allHalvesAsFloat = float16ToFloat32(allHalves);

test("known float16 bit patterns have their IEEE 754 values", () => {
  const bits = [0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x3555, 0x7c00, 0xfc00];
  const values = [0, -0, 1, -2, 65504, 2 ** -14, 2 ** -24, 0.333251953125, Infinity, -Infinity];
  expect([...float16ToFloat32(Uint16Array.from(bits))]).toEqual(values);
  expect(allHalvesAsFloat[0x7e00]).toBeNaN();
});

/** Sign, a whole number of units in the last place, and the unit: the value with no case but that of the least exponent. */
function valueOf(bits: number, exponentBits: number, fractionBits: number): number {
  const digits = bits.toString(2).padStart(1 + exponentBits + fractionBits, "0");
  const exponent = parseInt(digits.slice(1, 1 + exponentBits), 2);
  const fraction = parseInt(digits.slice(1 + exponentBits), 2);
  const units = exponent === 0 ? fraction : fraction + 2 ** fractionBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  const value = units * 2 ** (Math.max(exponent, 1) - bias - fractionBits);
  return digits.startsWith("1") ? -value : value;
}

/** The same with infinities and NaN at the greatest exponent. */
function ieeeValueOf(bits: number, exponentBits: number, fractionBits: number): number {
  const top = (2 ** exponentBits - 1) * 2 ** fractionBits;
  const magnitude = bits % 2 ** (exponentBits + fractionBits);
  if (magnitude > top) return NaN;
  return magnitude === top ? (bits === magnitude ? Infinity : -Infinity) : valueOf(bits, exponentBits, fractionBits);
}

test("every bit pattern of every narrow float has the value that its sign, exponent and fraction say", () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, bits) => bits);
  const e4m3 = [...bytes].map((bits) => (bits % 128 === 127 ? NaN : valueOf(bits, 4, 3)));
  expect([...float16ToFloat32(allHalves)]).toEqual([...allHalves].map((bits) => ieeeValueOf(bits, 5, 10)));
  expect([...bfloat16ToFloat32(allHalves)]).toEqual([...allHalves].map((bits) => ieeeValueOf(bits, 8, 7)));
  expect([...float8ToFloat32(bytes, "E4M3")]).toEqual(e4m3);
  expect([...float8ToFloat32(bytes, "E5M2")]).toEqual([...bytes].map((bits) => ieeeValueOf(bits, 5, 2)));
});

test("every bfloat16 survives the way to float32 and back", () => {
  const back = float32ToBfloat16(bfloat16ToFloat32(allHalves));
  const wrong = [...allHalves].find((bits) => {
    const isNan = (bits & 0x7fff) > 0x7f80;
    return isNan ? ((back[bits] ?? 0) & 0x7fff) <= 0x7f80 : back[bits] !== bits;
  });
  expect(wrong).toBeUndefined();
});

test("every float16 survives the way to float32 and back", () => {
  const back = float32ToFloat16(allHalvesAsFloat);
  for (let bits = 0; bits < 65536; bits++) {
    if (Number.isNaN(allHalvesAsFloat[bits])) expect((back[bits] ?? 0) & 0x7fff).toBe(0x7e00);
    else if (back[bits] !== bits) expect.fail(`${bits} came back as ${back[bits]}`);
  }
});

test("between two float16 the nearest is taken, and the even one in the middle", () => {
  for (let bits = 0; bits < 0x7bff; bits++) {
    const low = allHalvesAsFloat[bits] ?? 0;
    const high = allHalvesAsFloat[bits + 1] ?? 0;
    const middle = (low + high) / 2; // Exact: float32 has room for one bit more.
    const probes = Float32Array.from([middle, nextFloat(middle, -1), nextFloat(middle, 1), -middle]);
    const even = bits % 2 === 0 ? bits : bits + 1;
    const [atMiddle, below, above, negative] = float32ToFloat16(probes);
    if (atMiddle !== even || below !== bits || above !== bits + 1 || negative !== (even | 0x8000)) {
      expect.fail(`around ${middle}: ${[atMiddle, below, above, negative].join(", ")} for ${bits}`);
    }
  }
});

test("float16 rounds 65519.996 down to its maximum and 65520 up to infinity", () => {
  const bits = float32ToFloat16(Float32Array.from([FLOAT16_MAX, 65519.996, 65520, 1e30, -Infinity, NaN, -NaN, 1e-45]));
  expect([...bits].slice(0, 5)).toEqual([0x7bff, 0x7bff, 0x7c00, 0x7c00, 0xfc00]);
  expect((bits[5] ?? 0) & 0x7fff).toBe(0x7e00);
  expect((bits[6] ?? 0) & 0x7fff).toBe(0x7e00);
  expect(bits[7]).toBe(0);
});

test("bfloat16 rounds to nearest even and keeps NaN and infinity", () => {
  const values = [1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, -3, BFLOAT16_MAX, Infinity];
  const expected = [1, 1, 1 + 2 ** -6, 1 + 2 ** -7, -3, BFLOAT16_MAX, Infinity];
  expect([...bfloat16ToFloat32(float32ToBfloat16(Float32Array.from(values)))]).toEqual(expected);
  const bits = Uint32Array.from([0x7f800001, 0xffffffff]);
  expect([...bfloat16ToFloat32(float32ToBfloat16(new Float32Array(bits.buffer)))]).toEqual([NaN, NaN]);
});

test("8-bit floats have the values of the OCP tables", () => {
  const e4m3 = float8ToFloat32(Uint8Array.from([0x00, 0x38, 0x7e, 0x01, 0x08, 0xc0, 0x7f, 0xff]), "E4M3");
  expect([...e4m3]).toEqual([0, 1, 448, 2 ** -9, 2 ** -6, -2, NaN, NaN]);
  const e5m2 = float8ToFloat32(Uint8Array.from([0x3c, 0x7b, 0x01, 0xfc, 0x7c, 0x7d]), "E5M2");
  expect([...e5m2]).toEqual([1, 57344, 2 ** -16, -Infinity, Infinity, NaN]);
});

/** The next float32 above (1) or below (-1) a positive one. */
function nextFloat(value: number, direction: 1 | -1): number {
  const float = Float32Array.of(value);
  const bits = new Int32Array(float.buffer);
  bits[0] = (bits[0] ?? 0) + direction;
  return float[0] ?? 0;
}
