/** Small copies of pictures for pages, as WebP. */
import sharp from "sharp";
import { MAX_PIXELS } from "./images.ts";

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
