/** Whether the base tells a word that it knows from one that it does not. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { writeToyBase } from "../../test/toy-base.ts";
import { openBase } from "../checkpoints/open-base.ts";
import { createOrtEngine } from "../engines/ort/engine.ts";
import { drawForTrigger } from "./draw-trigger.ts";

test("mini knows a heart from an invented word, and draws the heart", async () => {
  const base = await openBase("mini", { hashCacheFile: undefined });
  const told: Record<string, number> = {};
  for (const word of ["heart", "ohwx"]) {
    const drawing = drawForTrigger(word, { base, createEngine: createOrtEngine });
    for (let done = 0; ; done++) {
      const next = await drawing.next();
      if (!next.done) {
        expect(next.value).toEqual({ done, total: done > 6 ? 12 : 6 });
        continue;
      }
      const { deviations, times, invented, withWord, without } = next.value;
      told[word] = deviations;
      expect(times > 1.5).toBe(word === "heart");
      expect([invented.length, withWord.length, without.length, done]).toEqual(
        word === "heart" ? [15, 3, 3, 13] : [15, 0, 0, 7],
      );
      expect(new Set([...withWord, ...without]).size).toBe(withWord.length + without.length);
      break;
    }
  }
  expect(told.heart).toBeGreaterThan(4);
  expect(told.ohwx).toBeLessThan(2);
}, 120_000);

test.each(["sd15", "sdxl"] as const)("a base of %s that has learnt nothing knows no word", async (family) => {
  const folder = await mkdtemp(join(tmpdir(), "gesso-draw-trigger-"));
  try {
    const base = await openBase(await writeToyBase(folder, family), { hashCacheFile: undefined });
    const drawing = drawForTrigger("lion", { base, createEngine: createOrtEngine });
    for (;;) {
      const { done, value } = await drawing.next();
      if (!done) continue;
      expect(Math.abs(value.deviations)).toBeLessThan(3);
      expect(value.withWord).toEqual([]);
      break;
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("nothing is drawn any more once it is asked to stop", async () => {
  const base = await openBase("mini", { hashCacheFile: undefined });
  const stop = new AbortController();
  const drawing = drawForTrigger("heart", { base, createEngine: createOrtEngine, signal: stop.signal });
  await drawing.next();
  await drawing.next();
  stop.abort(new Error("asked to"));
  await expect(drawing.next()).rejects.toThrow("asked to");
});
