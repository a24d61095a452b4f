import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { integers, normal, permutation, philox4x32, uniform } from "./philox.ts";

const hex = (words: Uint32Array): string => Array.from(words, (word) => word.toString(16).padStart(8, "0")).join(" ");

describe("philox4x32", () => {
  // tests/kat_vectors of Random123, the authors' own library: counter, key, result.
  it.each([
    [[0, 0, 0, 0], [0, 0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"],
    [[0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff], "408f276d 41c83b0e a20bc7c6 6d5451fd"],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], "d16cfe09 94fdcceb 5001e420 24126ea1"],
  ] as const)("gives the published words for counter %j and key %j", (counter, key, expected) => {
    expect(hex(philox4x32(counter, key))).toBe(expected);
  });
});

describe("normal", () => {
  it("is the Box-Muller transform of the block's words", () => {
    const key = { seed: 7 + 5 * 2 ** 32, purpose: "noise", step: 3, sample: 2 } as const;
    const got = normal(key, 4000);
    for (let i = 0; i < 4000; i += 4) {
      const [a = 0, b = 0, c = 0, d = 0] = philox4x32([i / 4, 2, 3, 1], [7, 5]);
      const expected = [[a, b] as const, [c, d] as const].flatMap(([u, v]) => {
        const radius = Math.sqrt(-2 * Math.log((u + 0.5) / 2 ** 32));
        const turn = (2 * Math.PI * v) / 2 ** 32;
        return [radius * Math.cos(turn), radius * Math.sin(turn)];
      });
      expected.forEach((x, j) => expect(Math.abs((got[i + j] ?? 0) - x)).toBeLessThan(1e-6));
    }
  });

  it("has mean 0, variance 1, no skew and the kurtosis of a normal distribution", () => {
    const x = normal({ seed: 1, purpose: "noise" }, 400_000);
    const moment = (power: number): number => x.reduce((sum, v) => sum + v ** power, 0) / x.length;
    expect(Math.abs(moment(1))).toBeLessThan(0.006);
    expect(Math.abs(moment(2) - 1)).toBeLessThan(0.01);
    expect(Math.abs(moment(3))).toBeLessThan(0.02);
    expect(Math.abs(moment(4) - 3)).toBeLessThan(0.05);
  });

  it("gives these very bytes, on every machine and in every version", () => {
    const x = normal({ seed: 42, purpose: "noise", step: 100, sample: 3 }, 65536);
    const digest = createHash("sha256").update(new Uint8Array(x.buffer)).digest("hex");
    expect(digest).toMatchInlineSnapshot(`"fa824d6918fcba35da3572c6a7442ad9f67bac34a811147f0a2a956bd832c20d"`);
  });

  it("begins the same however many are asked for", () => {
    const key = { seed: 9, purpose: "noise", step: 4 } as const;
    expect(normal(key, 7)).toEqual(normal(key, 100).slice(0, 7));
  });

  it("differs in every part of the key", () => {
    const base = { seed: 1, purpose: "noise", step: 1, sample: 1 } as const;
    const keys = [base, { ...base, seed: 2 }, { ...base, seed: 1 + 2 ** 32 }, { ...base, purpose: "init" } as const, { ...base, step: 2 }, { ...base, sample: 2 }]; // prettier-ignore
    const firsts = keys.map((key) => normal(key, 4).join());
    expect(new Set(firsts).size).toBe(keys.length);
  });
});

describe("uniform and integers", () => {
  it("uniform stays in [0, 1) and fills it evenly", () => {
    const x = uniform({ seed: 3, purpose: "dropout" }, 100_000);
    expect(x.every((u) => u >= 0 && u < 1)).toBe(true);
    const counts = new Array<number>(10).fill(0);
    for (const u of x) counts[Math.floor(10 * u)] = (counts[Math.floor(10 * u)] ?? 0) + 1;
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
  });

  it("integers reach every number below n and none else", () => {
    const x = integers({ seed: 3, purpose: "timestep" }, 20_000, 1000);
    expect(new Set(x).size).toBe(1000);
    expect(Math.min(...x)).toBe(0);
    expect(Math.max(...x)).toBe(999);
  });

  it("a permutation holds each number once, and is even over all orders", () => {
    expect([...permutation({ seed: 5, purpose: "order" }, 1000)].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i)); // prettier-ignore
    const seen = new Map<string, number>();
    for (let step = 0; step < 6000; step++) {
      const order = permutation({ seed: 5, purpose: "order", step }, 3).join("");
      seen.set(order, (seen.get(order) ?? 0) + 1);
    }
    expect(seen.size).toBe(6);
    for (const count of seen.values()) expect(Math.abs(count - 1000)).toBeLessThan(120);
  });

  it("refuses a seed, step, sample or range that is no whole number in range", () => {
    expect(() => uniform({ seed: -1, purpose: "init" }, 1)).toThrow("philox: a whole seed");
    expect(() => uniform({ seed: 1, purpose: "init", step: 2 ** 32 }, 1)).toThrow("philox: a whole step");
    expect(() => uniform({ seed: 1, purpose: "init", sample: 0.5 }, 1)).toThrow("philox: a whole sample");
    expect(() => integers({ seed: 1, purpose: "order" }, 1, 0)).toThrow("integers: n from 1 to 2^31 needed, got 0");
  });
});
