/** Durations and texts as a person reads them. */
import { expect, test } from "vitest";
import { cut, formatDuration, wrapText } from "./format.ts";

test("durations use the two largest units that matter", () => {
  const ms = [9.14, 430, 9900, 42_000, 59_700, 200_000, 3_600_000, 7_500_000, 90_000_000];
  expect(ms.map(formatDuration)).toEqual([
    "9.1 ms",
    "0.4 s",
    "9.9 s",
    "42 s",
    "1 min 0 s",
    "3 min 20 s",
    "1 h 0 min",
    "2 h 5 min",
    "1 d 1 h",
  ]);
});

test("a text is cut to its room, and wrapped between words", () => {
  expect([cut("abcdef", 6), cut("abcdefg", 6)]).toEqual(["abcdef", "abcde…"]);
  expect(wrapText("one two three four", 11, 2)).toBe("one two\n  three\n  four");
});
