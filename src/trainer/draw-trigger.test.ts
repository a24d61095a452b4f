import { expect, test } from "vitest";
import type { Pixels } from "../formats/images.ts";
import { openBase } from "../checkpoints/open-base.ts";
import { createOrtEngine } from "../engines/ort/engine.ts";
import { comparePictures, drawForTrigger } from "./draw-trigger.ts";

/** Coloured squares, others for each number. */
function picture(seed: number): Pixels {
  const data = Uint8Array.from({ length: 3 * 64 * 64 }, (_, i) => {
    const [x, y] = [(Math.floor(i / 3) % 64) >> 4, Math.floor(i / 192) >> 4];
    return (Math.imul(1 + x + 4 * y + 16 * (i % 3), 0x9e3779b1 ^ (seed * 0x85ebca6b)) >>> 24) & 255;
  });
  return { widthPx: 64, heightPx: 64, channels: 3, data };
}

test("equal lists do not differ; lists of other pictures differ about as much as seeds do", () => {
  const plain = [1, 2, 3, 4, 5, 6].map(picture);
  expect(comparePictures(plain, plain)).toBe(0);
  const others = comparePictures([11, 12, 13, 14, 15, 16].map(picture), plain);
  expect(others).toBeGreaterThan(0.8);
  expect(others).toBeLessThan(1.2);
});

test("mini draws hearts for a heart, whatever the seed", async () => {
  const base = await openBase("mini", { hashCacheFile: undefined });
  const drawing = drawForTrigger("heart", [], { base, createEngine: createOrtEngine, seeds: 3 });
  let pictures = 0;
  for (;;) {
    const { done, value } = await drawing.next();
    if (!done) {
      pictures = value.done;
      continue;
    }
    expect(pictures).toBe(6);
    expect(value.alone).toBeGreaterThan(1);
    expect(value.withWord.length).toBe(3);
    expect(value.inCaption).toBeUndefined();
    return;
  }
});
