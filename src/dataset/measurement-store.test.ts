/** Measurements that lie on disk read as those that do not. */
import { expect, test } from "vitest";
import { measurePixels, type PictureMeasurement } from "./measure/picture.ts";
import { openMeasurementStore } from "./measurement-store.ts";

function measured(seed: number): PictureMeasurement {
  const data = Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * i * seed) % 256);
  return measurePixels({ widthPx: 64, heightPx: 64, channels: 3, data });
}

test("every measurement reads as it was, also after others were kept", () => {
  const store = openMeasurementStore();
  const all = [3, 5, 7].map(measured);
  const kept = all.map((measurement) => store.keep(measurement));
  for (const [i, measurement] of kept.entries()) expect({ ...measurement }).toEqual(all[i]);
  store.close();
});

test("thumbnails and corners are not held in memory: they cannot be read when the file is gone", () => {
  const store = openMeasurementStore();
  const kept = store.keep(measured(3));
  store.close();
  expect(() => kept.thumb).toThrow();
  expect(() => kept.corners).toThrow();
  expect(kept.colours).toHaveLength(64);
});
