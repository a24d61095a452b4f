import { expect, test } from "vitest";
import { formatBytes } from "./bytes.ts";

test("bytes have a unit that leaves two or three digits", () => {
  const told: readonly (readonly [number, string])[] = [
    [0, "0 bytes"],
    [640, "640 bytes"],
    [1200, "1.2 kB"],
    [12_300, "12 kB"],
    [3_400_000, "3.4 MB"],
    [9_949_999, "9.9 MB"],
    [9_960_000, "10 MB"],
    [340_000_000, "340 MB"],
    [994_000_000, "994 MB"],
    [1_250_000_000, "1.3 GB"],
    [13_060_000_000, "13.1 GB"],
    [120_400_000_000, "120 GB"],
    [1_900_000_000_000, "1.9 TB"],
  ];
  for (const [bytes, text] of told) expect(formatBytes(bytes)).toBe(text);
});

test("what is larger is never told as smaller, and no unit reaches a thousand", () => {
  const scale: Readonly<Record<string, number>> = { bytes: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };
  let before = 0;
  for (let bytes = 1; bytes < 5e12; bytes *= 1.0037) {
    const [number = "", unit = ""] = formatBytes(bytes).split(" ");
    expect(Number(number)).toBeLessThan(1000);
    const value = Number(number) * (scale[unit] ?? NaN);
    expect(value).toBeGreaterThanOrEqual(before);
    before = value;
  }
});
