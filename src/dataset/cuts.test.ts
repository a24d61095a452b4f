/** Cuts out of pictures: found by their details, not by where they are light and dark. */
import sharp, { type Sharp } from "sharp";
import { expect, test } from "vitest";
import { findCopies } from "./compare.ts";
import { measurePixels } from "./measure/picture.ts";

/** An evening sky over the sea: light and dark lie alike in all, waves and clouds are its own. */
function sea(seed: number, waves: number): Sharp {
  const shapes = Array.from({ length: waves }, (_, i) => {
    const [x, y] = [(i * 167 * seed + 31 * seed) % 640, 300 + ((i * 71 * seed + 17 * seed) % 200)];
    return `<ellipse cx="${x}" cy="${y}" rx="${14 + ((i * seed * 7) % 40)}" ry="${3 + ((i * seed) % 6)}" fill="#${i % 2 ? "20344a" : "8090a0"}"/>`;
  });
  const sky = `<linearGradient id="g" x2="0" y2="1"><stop stop-color="#30405a"/><stop offset="0.58" stop-color="#e0c0a0"/><stop offset="0.6" stop-color="#506070"/><stop offset="1" stop-color="#202c3c"/></linearGradient>`;
  const svg = `<svg width="640" height="512"><defs>${sky}</defs><rect width="640" height="512" fill="url(#g)"/>${shapes.join("")}</svg>`;
  return sharp(Buffer.from(svg)).flatten({ background: "#fff" });
}

async function measured(pipeline: Sharp, fileHash: string) {
  const { data, info } = await pipeline.toColourspace("srgb").raw().toBuffer({ resolveWithObject: true });
  return { fileHash, ...measurePixels({ widthPx: info.width, heightPx: info.height, channels: 3, data }) };
}

async function kindsOf(...pictures: readonly Sharp[]): Promise<readonly string[]> {
  const all = await Promise.all(pictures.map((picture, i) => measured(picture, `${i}`)));
  return findCopies(all).map(({ a, b, kind }) => `${a} ${b} ${kind}`);
}

const cut = async (picture: Sharp): Promise<Sharp> =>
  sharp(
    await sharp(await picture.png().toBuffer())
      .extract({ left: 90, top: 90, width: 480, height: 384 })
      .jpeg({ quality: 85 })
      .toBuffer(),
  );

test("a cut is found beside its whole, and not in another sea under the same sky", async () => {
  expect(await kindsOf(sea(3, 60), sea(7, 60), await cut(sea(3, 60)))).toEqual(["0 2 cut out"]);
});

test("of two empty seas neither is a cut or a copy of the other", async () => {
  const kinds = await kindsOf(sea(3, 2), sea(7, 2), await cut(sea(5, 2)));
  expect(kinds.filter((kind) => !kind.endsWith("similar"))).toEqual([]);
});

test("a copy whose light and colours were changed is still one", async () => {
  expect(await kindsOf(sea(3, 60), sea(3, 60).linear([1.1, 0.9, 0.6], [10, 0, 0]))).toEqual(["0 1 altered"]);
});
