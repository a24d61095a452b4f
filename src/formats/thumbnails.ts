/** Small copies of pictures: for pages as WebP, for networks as pixels. */
import sharp from "sharp";
import { MAX_PIXELS, type Pixels } from "./images.ts";

/**
 * A picture that fits a square of `sidePx`, upright, over white; undefined where it cannot be read, for a page can do without.
 *
 * @example `<img src="data:image/webp;base64,${Buffer.from(bytes).toString("base64")}">`
 */
export async function makeThumbnail(path: string, sidePx: number): Promise<Uint8Array | undefined> {
  return sharp(path, { limitInputPixels: MAX_PIXELS, page: 0, pages: 1 })
    .autoOrient()
    .resize(sidePx, sidePx, { fit: "inside", withoutEnlargement: true })
    .flatten({ background: "#fff" })
    .webp({ quality: 70 })
    .toBuffer()
    .catch(() => undefined);
}

/**
 * A picture's pixels, so small that they fit a square of `sidePx`, upright, over white; a smaller picture is enlarged. JPEGs are shrunk
 * while they are decoded, which is several times faster than decoding them whole. Undefined where it cannot be read.
 *
 * @example const pixels = await decodeThumbnail("a.jpg", 192);
 */
export async function decodeThumbnail(path: string, sidePx: number): Promise<Pixels | undefined> {
  return sharp(path, { limitInputPixels: MAX_PIXELS, page: 0, pages: 1 })
    .autoOrient()
    .resize(sidePx, sidePx, { fit: "inside", kernel: "linear" })
    .flatten({ background: "#fff" })
    .toColourspace("srgb")
    .raw()
    .toBuffer({ resolveWithObject: true })
    .then(({ data, info }): Pixels => ({ widthPx: info.width, heightPx: info.height, channels: 3, data }))
    .catch(() => undefined);
}

/** Pixels as a small WebP picture that fits a square of `sidePx`. */
export async function encodeThumbnail(
  { widthPx: width, heightPx: height, channels, data }: Pixels,
  sidePx: number,
): Promise<Uint8Array> {
  return sharp(data, { raw: { width, height, channels } })
    .resize(sidePx, sidePx, { fit: "inside", withoutEnlargement: true })
    .webp({ quality: 70 })
    .toBuffer();
}
