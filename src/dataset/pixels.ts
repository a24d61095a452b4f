/** A picture of the dataset as what the network is fed: pixels of its bucket's size, mask, and the sizes SDXL is told. */
import { UserError } from "../errors.ts";
import { decodeMask, decodePlaced, readPictureHeader, WHITE } from "../formats/images.ts";
import type { Placement, Rgb } from "../formats/images.ts";
import { fitToBucket } from "./buckets.ts";
import type { Bucket } from "./buckets.ts";
import type { DatasetItem } from "./read.ts";

/** A picture ready for the VAE. */
export interface LoadedPicture {
  /** [3, height, width], red, green, blue planes in -1..1. */
  readonly pixels: Float32Array;
  /** [height, width] in 0..1, at full resolution: how much each pixel counts. Undefined: all count. */
  readonly mask: Float32Array | undefined;
  /** SDXL micro-conditioning (Podell et al. 2023, section 2.2), each [height, width] or [top, left]: of the file, upright. */
  readonly originalSize: readonly [heightPx: number, widthPx: number];
  /** Of the window in the resized (and, with `flip`, mirrored) picture, as diffusers' train_text_to_image_sdxl computes it. */
  readonly cropTopLeft: readonly [topPx: number, leftPx: number];
  /** The bucket. */
  readonly targetSize: readonly [heightPx: number, widthPx: number];
}

/**
 * Decodes a picture into its bucket: resized with Lanczos to cover it, cut around the centre, mirrored with `flip`.
 *
 * Kohya's sd-scripts gives SDXL another crop position (`get_crop_ltrb` takes a picture that lies inside the bucket, which is
 * zero for most); we follow the paper and diffusers, whose base weights saw real crop positions.
 *
 * @param options.alphaAsMask use the alpha channel as mask where there is no mask file; otherwise it only shows the background
 * @throws UserError naming the file when it cannot be read, or has changed its size since the dataset was read
 */
export async function loadPicture(
  item: DatasetItem,
  bucket: Bucket,
  options: { readonly flip?: boolean; readonly background?: Rgb; readonly alphaAsMask?: boolean } = {},
): Promise<LoadedPicture> {
  const header = await readPictureHeader(item.path);
  if (header.widthPx !== item.widthPx || header.heightPx !== item.heightPx) {
    const sizes = `${item.widthPx} x ${item.heightPx} to ${header.widthPx} x ${header.heightPx} px`;
    throw new UserError(`${item.path} changed from ${sizes} since the dataset was read.`, { fix: "Start the run again." });
  }
  const flip = options.flip ?? false;
  const fit = fitToBucket(item.widthPx, item.heightPx, bucket);
  const placement: Placement = { ...fit, widthPx: bucket.widthPx, heightPx: bucket.heightPx };
  const picture = await decodePlaced(item.path, placement, { flip, background: options.background ?? WHITE });
  const mask = item.maskPath !== undefined ? await decodeMask(item.maskPath, placement, { flip }) : undefined;
  const alpha = options.alphaAsMask ? picture.alpha : undefined;
  const left = flip ? fit.resizedWidthPx - bucket.widthPx - fit.cropLeftPx : fit.cropLeftPx;
  return {
    pixels: toPlanes(picture.rgb, bucket),
    mask: toUnit(mask ?? alpha),
    originalSize: [item.heightPx, item.widthPx],
    cropTopLeft: [fit.cropTopPx, left],
    targetSize: [bucket.heightPx, bucket.widthPx],
  };
}

/** [height, width, 3] bytes to [3, height, width] in -1..1. */
function toPlanes(rgb: Uint8Array, { widthPx, heightPx }: Bucket): Float32Array {
  const plane = widthPx * heightPx;
  const out = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) out[c * plane + i] = (rgb[3 * i + c] ?? 0) / 127.5 - 1;
  }
  return out;
}

function toUnit(bytes: Uint8Array | undefined): Float32Array | undefined {
  return bytes && Float32Array.from(bytes, (value) => value / 255);
}
