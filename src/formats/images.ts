/** Decodes picture files to upright 8-bit sRGB pixels and writes PNG; with sheet.ts the only place that knows the image codec. */
import sharp from "sharp";
import type { Sharp } from "sharp";
import { UserError } from "../errors.ts";
import { writeFileAtomically } from "./atomic.ts";
import { addPngTexts } from "./png-text.ts";

// The codec keeps opened files by name; a picture that was edited meanwhile would come back as it was before.
sharp.cache(false);

/** 8-bit sRGB, row by row, channels interleaved; the fourth channel is straight (not premultiplied) alpha. */
export interface Pixels {
  readonly widthPx: number;
  readonly heightPx: number;
  readonly channels: 3 | 4;
  readonly data: Uint8Array;
}

/** What a picture file says before it is decoded. */
export interface PictureHeader {
  /** As it is seen: after the rotation that EXIF asks for. */
  readonly widthPx: number;
  readonly heightPx: number;
  readonly format: string;
  readonly hasAlpha: boolean;
  /** 1 but for animations and documents of several pages, whose first frame is used. */
  readonly frames: number;
}

/** A decoded picture: colour over the background, and how much of it was opaque. */
export interface Picture {
  readonly widthPx: number;
  readonly heightPx: number;
  /** [height, width, 3] */
  readonly rgb: Uint8Array;
  /** [height, width], 255 where opaque; undefined when the file has no alpha channel. */
  readonly alpha: Uint8Array | undefined;
}

/** A window cut out of a resized picture, all in pixels of the resized picture. */
export interface Placement {
  readonly resizedWidthPx: number;
  readonly resizedHeightPx: number;
  readonly cropLeftPx: number;
  readonly cropTopPx: number;
  readonly widthPx: number;
  readonly heightPx: number;
}

export type Rgb = readonly [red: number, green: number, blue: number];
export const WHITE: Rgb = [255, 255, 255];

/** Endings of the files that can be decoded. */
export const PICTURE_EXTENSIONS: readonly string[] = ["png", "jpg", "jpeg", "webp", "avif", "gif", "tif", "tiff"];
const FORMATS: readonly string[] = ["png", "jpeg", "webp", "heif", "avif", "gif", "tiff"];

/** A shorter side holds nothing to learn, and no bucket fits it. */
const MIN_SIDE_PX = 16;
/** Above this a decoded picture takes more than 1.5 GB. */
export const MAX_PIXELS = 500_000_000;

/**
 * Reads size, format and transparency, not the pixels.
 *
 * @param bytes the file's, where the caller has read them already; `path` then only names them
 * @throws UserError when it is no picture that can be decoded, is under 16 px on a side or above 500 megapixels
 */
export async function readPictureHeader(path: string, bytes?: Uint8Array): Promise<PictureHeader> {
  const metadata = await openPicture(path, bytes)
    .metadata()
    .catch((error: unknown) => {
      throw unreadablePicture(path, error);
    });
  const { width: widthPx, height: heightPx } = metadata.autoOrient;
  if (!FORMATS.includes(metadata.format)) {
    // The codec reads by content: an SVG or PDF that is named .png would otherwise come in.
    throw new UserError(`${path} is a file of type ${metadata.format}, not a picture that can be trained on.`, {
      fix: EXPORT_PNG,
    });
  }
  checkSize(path, widthPx, heightPx);
  return { widthPx, heightPx, format: metadata.format, hasAlpha: metadata.hasAlpha, frames: metadata.pages ?? 1 };
}

function checkSize(path: string, widthPx: number, heightPx: number): void {
  if (Math.min(widthPx, heightPx) < MIN_SIDE_PX) {
    throw new UserError(`${path} is ${widthPx} x ${heightPx} px; a picture needs at least ${MIN_SIDE_PX} px on each side.`, {
      fix: "Take it out of the folder, or use a larger version.",
    });
  }
  if (widthPx * heightPx > MAX_PIXELS) {
    const megapixels = Math.round((widthPx * heightPx) / 1e6);
    throw new UserError(`${path} is ${widthPx} x ${heightPx} px, ${megapixels} megapixels; the limit is ${MAX_PIXELS / 1e6}.`, {
      fix: "Make it smaller, or cut it into several pictures.",
    });
  }
}

/** Decodes every pixel and keeps none, to find files that break off in the middle. @throws UserError naming the file */
export async function verifyPicture(path: string): Promise<void> {
  await decoded(path, openPicture(path).resize({ width: 32, height: 32, fit: "fill" }).raw().toBuffer());
}

/**
 * Decodes a whole picture: upright, sRGB (profile, CMYK, grey and 16 bits converted), the first frame of an animation.
 *
 * @param options.background what shows through transparent parts; white by default
 * @throws UserError naming the file when it cannot be read completely
 */
export async function decodePicture(path: string, options: { readonly background?: Rgb } = {}): Promise<Picture> {
  await readPictureHeader(path);
  return splitAlpha(await toPixels(path, openPicture(path).autoOrient()), options.background ?? WHITE);
}

/**
 * Decodes a whole picture with its alpha channel as it is: upright, sRGB, the first frame.
 *
 * @throws UserError naming the file when it cannot be read completely
 */
export async function decodePixels(path: string): Promise<Pixels> {
  return toPixels(path, openPicture(path).autoOrient());
}

/**
 * As `decodePixels`, with what the header says, of a file that was read already.
 *
 * @param path names the file in errors
 * @throws UserError as `readPictureHeader` and `decodePixels` do
 */
export async function decodeWithHeader(
  path: string,
  bytes: Uint8Array,
): Promise<{ readonly header: PictureHeader; readonly pixels: Pixels }> {
  // Of these all that a header says can be seen from the pixels, and asking the codec for it costs as much as a tenth of decoding.
  const format = hasStart(bytes, JPEG_START) ? "jpeg" : hasStart(bytes, PNG_START) ? "png" : undefined;
  if (format === undefined) {
    return {
      header: await readPictureHeader(path, bytes),
      pixels: await toPixels(path, openPicture(path, bytes).autoOrient()),
    };
  }
  const pixels = await toPixels(path, openPicture(path, bytes).autoOrient());
  const { widthPx, heightPx, channels } = pixels;
  checkSize(path, widthPx, heightPx);
  return { header: { widthPx, heightPx, format, hasAlpha: channels === 4, frames: 1 }, pixels };
}

const JPEG_START: readonly number[] = [0xff, 0xd8, 0xff];
const PNG_START: readonly number[] = [0x89, 0x50, 0x4e, 0x47];
const hasStart = (bytes: Uint8Array, start: readonly number[]): boolean => start.every((byte, i) => bytes[i] === byte);

/**
 * Decodes a picture, resizes it (Lanczos, a = 3), cuts the placement's window out and mirrors it where asked.
 *
 * @returns a picture of `placement.widthPx` x `placement.heightPx`
 * @throws UserError naming the file when it cannot be read completely
 */
export async function decodePlaced(
  path: string,
  placement: Placement,
  options: { readonly flip?: boolean; readonly background?: Rgb } = {},
): Promise<Picture> {
  const pipeline = place(openPicture(path).autoOrient(), placement, "lanczos3");
  const pixels = await toPixels(path, pipeline);
  return splitAlpha(options.flip ? mirror(pixels) : pixels, options.background ?? WHITE);
}

/** Decodes the brightness of a mask picture, placed as its picture is: [height, width], 255 = counts fully. */
export async function decodeMask(
  path: string,
  placement: Placement,
  options: { readonly flip?: boolean } = {},
): Promise<Uint8Array> {
  // Linear: Lanczos would ring around the mask's edges.
  const pipeline = place(openPicture(path).autoOrient(), placement, "linear");
  const { rgb } = splitAlpha(await toPixels(path, pipeline), [0, 0, 0]);
  const { widthPx, heightPx } = placement;
  const mask = new Uint8Array(widthPx * heightPx);
  for (let i = 0; i < mask.length; i++) {
    // Rec. 709 luma: grey masks keep their value, coloured ones get a sensible one.
    const luma = 0.2126 * (rgb[3 * i] ?? 0) + 0.7152 * (rgb[3 * i + 1] ?? 0) + 0.0722 * (rgb[3 * i + 2] ?? 0);
    const x = i % widthPx;
    mask[options.flip ? i - x + (widthPx - 1 - x) : i] = Math.round(luma);
  }
  return mask;
}

/** Pixels as the bytes of a PNG file. */
async function encodePng(pixels: Pixels): Promise<Uint8Array> {
  const { widthPx: width, heightPx: height, channels, data } = pixels;
  if (data.length !== width * height * channels) {
    throw new Error(
      `encodePng: ${width} x ${height} x ${channels} needs ${width * height * channels} bytes, got ${data.length}`,
    );
  }
  return sharp(data, { raw: { width, height, channels }, limitInputPixels: MAX_PIXELS }).png().toBuffer();
}

/**
 * Writes a PNG file completely or not at all.
 *
 * @param texts by keyword, see `addPngTexts`
 * @throws UserError when the disk refuses
 */
export async function writePng(path: string, pixels: Pixels, texts: Readonly<Record<string, string>> = {}): Promise<void> {
  const bytes = addPngTexts(await encodePng(pixels), texts);
  await writeFileAtomically(path, (write) => write(bytes));
}

/** A picture as a model makes it, [3, height, width] in -1..1 (clamped), as 8-bit pixels. */
export function tensorToPixels(chw: Float32Array, heightPx: number, widthPx: number): Pixels {
  const plane = heightPx * widthPx;
  if (chw.length !== 3 * plane)
    throw new Error(`tensorToPixels: [3, ${heightPx}, ${widthPx}] needs ${3 * plane} values, got ${chw.length}`);
  const data = new Uint8Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) {
      const value = Math.min(1, Math.max(-1, chw[c * plane + i] ?? 0));
      data[3 * i + c] = Math.round((value + 1) * 127.5);
    }
  }
  return { widthPx, heightPx, channels: 3, data };
}

function openPicture(path: string, bytes?: Uint8Array): Sharp {
  // "error" refuses truncated files and broken data, but not the harmless warnings that phone pictures give.
  return sharp(bytes ?? path, { failOn: "error", limitInputPixels: MAX_PIXELS, page: 0, pages: 1 });
}

function place(pipeline: Sharp, placement: Placement, kernel: "lanczos3" | "linear"): Sharp {
  const { resizedWidthPx, resizedHeightPx, cropLeftPx: left, cropTopPx: top, widthPx: width, heightPx: height } = placement;
  return (
    pipeline
      // Shrinking a JPEG while it is decoded is kept to half of what it could be: the last step then stays a real Lanczos.
      .resize(resizedWidthPx, resizedHeightPx, { fit: "fill", kernel, fastShrinkOnLoad: false })
      .extract({ left, top, width, height })
  );
}

async function toPixels(path: string, pipeline: Sharp): Promise<Pixels> {
  const { data, info } = await decoded(path, pipeline.toColourspace("srgb").raw().toBuffer({ resolveWithObject: true }));
  if (info.channels !== 3 && info.channels !== 4)
    throw new Error(`decode ${path}: got ${info.channels} channels after conversion to sRGB`);
  return { widthPx: info.width, heightPx: info.height, channels: info.channels, data };
}

async function decoded<T>(path: string, result: Promise<T>): Promise<T> {
  return result.catch((error: unknown) => {
    throw unreadablePicture(path, error);
  });
}

const EXPORT_PNG = "Open it in an image program and export it as PNG, or take it out of the folder.";

function unreadablePicture(path: string, error: unknown): UserError {
  const text = error instanceof Error ? error.message : String(error);
  if (/Input file is missing/.test(text))
    return new UserError(`There is no file ${path}.`, { fix: "Correct the path.", cause: error });
  if (/exceeds pixel limit/.test(text)) {
    const fix = "Make it smaller, or cut it into several pictures.";
    return new UserError(`${path} has more than ${MAX_PIXELS / 1e6} megapixels.`, { fix, cause: error });
  }
  return new UserError(`Cannot read the picture ${path}: ${decodingReason(text)}.`, { fix: EXPORT_PNG, cause: error });
}

function decodingReason(text: string): string {
  if (/unsupported image format/.test(text)) return "it is not an image of a known format";
  // The codec keeps one list of messages for all threads, and now and then another picture has emptied it.
  if (/Unknown error/.test(text)) return "it breaks off or is damaged";
  return (text.split("\n")[0] ?? text).trim();
}

function splitAlpha({ widthPx, heightPx, channels, data }: Pixels, background: Rgb): Picture {
  if (channels === 3) return { widthPx, heightPx, rgb: data, alpha: undefined };
  const count = widthPx * heightPx;
  const rgb = new Uint8Array(3 * count);
  const alpha = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const opacity = data[4 * i + 3] ?? 0;
    alpha[i] = opacity;
    for (let c = 0; c < 3; c++) {
      rgb[3 * i + c] = Math.round(((data[4 * i + c] ?? 0) * opacity + (background[c] ?? 0) * (255 - opacity)) / 255);
    }
  }
  return { widthPx, heightPx, rgb, alpha };
}

/** Left and right exchanged. Done here because the codec would mirror before it cuts the window out. */
function mirror({ widthPx, heightPx, channels, data }: Pixels): Pixels {
  const out = new Uint8Array(data.length);
  for (let y = 0; y < heightPx; y++) {
    for (let x = 0; x < widthPx; x++) {
      const from = (y * widthPx + x) * channels;
      out.set(data.subarray(from, from + channels), (y * widthPx + widthPx - 1 - x) * channels);
    }
  }
  return { widthPx, heightPx, channels, data: out };
}
