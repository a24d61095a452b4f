/** Everything that is measured of one picture, from one decoding. Judging is left to the checks. */
import { createHash } from "node:crypto";
import { decodeWithHeader, type PictureHeader, type Pixels } from "../../formats/images.ts";
import { type Borders, measureBorders } from "./borders.ts";
import { type Blocks, measureBlocks, measureEnlargement, readJpegQuality } from "./compression.ts";
import { measureCorners } from "./corners.ts";
import { measureDetail } from "./detail.ts";
import { type Exposure, measureExposure } from "./exposure.ts";
import { type Grid, shrink } from "./grid.ts";
import { type Likeness, measureLikeness } from "./likeness.ts";
import { measureRinging } from "./ringing.ts";
import { measureSharpness, type Sharpness } from "./sharpness.ts";
import { cutTiles } from "./tiles.ts";

/** Goes up when what is measured, or how, changes: what was kept of earlier versions is measured anew. */
export const MEASUREMENT_VERSION = 13;

/** The facts of one picture's pixels. */
export interface PictureMeasurement extends Exposure, Sharpness, Likeness, Blocks {
  readonly widthPx: number;
  readonly heightPx: number;
  /** Equal for pictures with equal pixels, whatever their files: 64 bits over every eighth row. */
  readonly pixelHash: string;
  /** Share of pixels that are not opaque, 0..1. */
  readonly transparent: number;
  readonly borders: Borders | undefined;
  /** The colour that most of the outer ring has, and the share of the ring that has it. */
  readonly background: Background;
  /** See `measureRinging`. */
  readonly ringing: number;
  readonly jpegQuality: number | undefined;
  /** See `measureDetail`. */
  readonly detail: readonly number[] | undefined;
  /** See `measureEnlargement`. */
  readonly enlargement: number;
  /** See `measureCorners`. */
  readonly corners: Int8Array;
}

export interface Background {
  readonly rgb: readonly [number, number, number];
  /** 0..1; 1 where all of the ring is of this colour. */
  readonly share: number;
}

/** A file's identity and its measurements. */
export interface MeasuredFile {
  /** SHA-256 of the bytes, in hexadecimal. */
  readonly fileHash: string;
  readonly header: PictureHeader;
  readonly measurement: PictureMeasurement;
}

/** SHA-256 of a file's bytes, in hexadecimal. */
export function hashBytes(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Decodes and measures a file that was read. @throws UserError naming the file when it cannot be decoded completely */
export async function measureBytes(path: string, bytes: Uint8Array): Promise<Omit<MeasuredFile, "fileHash">> {
  const { header, pixels } = await decodeWithHeader(path, bytes);
  return { header, measurement: measurePixels(pixels, readJpegQuality(bytes)) };
}

/** @param jpegQuality of the file that the pixels came from */
export function measurePixels(decoded: Pixels, jpegQuality?: number): PictureMeasurement {
  const transparent = shareTransparent(decoded);
  const pixels = transparent > 0 ? overWhite(decoded) : decoded;
  const grid = shrink(pixels);
  return {
    widthPx: pixels.widthPx,
    heightPx: pixels.heightPx,
    pixelHash: hashPixels(decoded),
    transparent,
    ...measureExposure(grid),
    ...measureSharpness(cutTiles(pixels, grid, 8, 4)),
    ...measureLikeness(grid),
    borders: measureBorders(pixels),
    background: measureBackground(grid),
    ...measureBlocks(pixels),
    ringing: measureRinging(pixels),
    jpegQuality,
    detail: measureDetail(pixels),
    enlargement: measureEnlargement(pixels),
    corners: measureCorners(pixels),
  };
}

function shareTransparent({ channels, data }: Pixels): number {
  if (channels === 3) return 0;
  let count = 0;
  for (let at = 3; at < data.length; at += 4) if ((data[at] ?? 255) < 250) count++;
  return (4 * count) / data.length;
}

/** As training sees it: transparent parts over white. */
function overWhite({ widthPx, heightPx, data }: Pixels): Pixels {
  const out = new Uint8Array(3 * widthPx * heightPx);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    const alpha = data[from + 3] ?? 255;
    for (let c = 0; c < 3; c++) out[to + c] = 255 + (((data[from + c] ?? 0) - 255) * alpha) / 255;
  }
  return { widthPx, heightPx, channels: 3, data: out };
}

/** One row in so many goes into the hash. */
const HASHED_ROWS = 8;

/** Two multiply-and-mix hashes, of every other word each: not against forgers, who gain nothing here, but fast. */
function hashPixels({ data, channels, widthPx, heightPx }: Pixels): string {
  // Four bytes at a time: buffers from the codec begin where words do.
  const aligned = data.byteOffset % 4 === 0 ? data : data.slice();
  const words = new Int32Array(aligned.buffer, aligned.byteOffset, aligned.length >> 2);
  let a = 0x9e3779b9 ^ channels;
  let b = 0x85ebca6b ^ widthPx;
  const rowBytes = widthPx * channels;
  for (let y = 0; y < heightPx; y += HASHED_ROWS) {
    const end = Math.min(words.length, ((y + 1) * rowBytes) >> 2);
    for (let at = (y * rowBytes) >> 2; at < end; at += 2) {
      a = mix(a, words[at] ?? 0);
      b = mix(b, words[at + 1] ?? 0);
    }
  }
  return [a, b ^ heightPx].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
}

/** The product brings bits up, the shift brings them down: every bit of a word moves all of the hash after a few more. */
function mix(hash: number, word: number): number {
  const product = Math.imul(hash ^ word, 0x9e3779b1);
  return product ^ (product >>> 15);
}

/** The commonest colour, in steps of 32, of the cells within 6 % of the shorter side from the edge. */
function measureBackground({ width, height, rgb }: Grid): Background {
  const ring = Math.max(1, Math.round(0.06 * Math.min(width, height)));
  const counts = new Float64Array(512);
  const sums = new Float64Array(3 * 512);
  let total = 0;
  for (let y = 0; y < height; y++) {
    const isEdgeRow = y < ring || y >= height - ring;
    for (let x = 0; x < width; x++) {
      if (!isEdgeRow && x === ring) x = Math.max(ring, width - ring);
      const at = 3 * (y * width + x);
      const r = rgb[at] ?? 0;
      const g = rgb[at + 1] ?? 0;
      const b = rgb[at + 2] ?? 0;
      const bin = ((r >> 5) << 6) | ((g >> 5) << 3) | (b >> 5);
      counts[bin] = (counts[bin] ?? 0) + 1;
      sums[3 * bin] = (sums[3 * bin] ?? 0) + r;
      sums[3 * bin + 1] = (sums[3 * bin + 1] ?? 0) + g;
      sums[3 * bin + 2] = (sums[3 * bin + 2] ?? 0) + b;
      total++;
    }
  }
  const count = Math.max(...counts);
  const most = counts.indexOf(count);
  const mean = (channel: number): number => Math.round((sums[3 * most + channel] ?? 0) / Math.max(1, count));
  return { rgb: [mean(0), mean(1), mean(2)], share: count / Math.max(1, total) };
}
