/** The views that faults are planted in: cuts of the sources, made smaller to the size that they are trained at. */
import sharp from "sharp";
import type { Sharp } from "sharp";
import { readJpegQuality } from "../../src/dataset/measure/compression.ts";
import { readFile } from "node:fs/promises";
import { findSources, type Source } from "./sources.ts";

/** One view of a source at the size that the proof trains at, as PNG. */
export interface View extends Pick<Source, "name" | "kind" | "part"> {
  /** The side of the square that it is trained at: its own area. */
  readonly trainedAtPx: number;
  readonly widthPx: number;
  readonly heightPx: number;
  /** How many times smaller it was made; infinite for drawings of lines and fills, which are drawn at twice its size. */
  readonly shrunk: number;
  /** The quality of the source's file where that is JPEG. */
  readonly jpegQuality: number | undefined;
  png(): Promise<Buffer>;
  /** See `lostDetail`. */
  lostDetail(): Promise<number>;
}

/** Sides that bases are trained at. A view is trained at the largest that leaves its source at least so many times larger. */
const sides = [1024, 512] as const;
const LARGER = 1.9;
/** Wide sources of so many pixels give two views, which share nothing. */
const TWO_VIEWS = 3_900_000;

export async function findViews(): Promise<readonly View[]> {
  const views: View[] = [];
  for (const source of findSources()) views.push(...(await viewsOf(source)));
  return views;
}

interface Cut {
  readonly left: number;
  readonly width: number;
  readonly height: number;
}

async function viewsOf(source: Source): Promise<readonly View[]> {
  if (source.path.endsWith(".svg")) return [drawingOf(source)];
  const { width, height } = await sharp(source.path).metadata();
  const jpegQuality = readJpegQuality(await readFile(source.path));
  const half = Math.floor(width / 2);
  const cuts: readonly Cut[] =
    width * height >= TWO_VIEWS && width > height
      ? [
          { left: 0, width: half, height },
          { left: half, width: half, height },
        ]
      : [{ left: 0, width, height }];
  return cuts.map((cut, i) => viewOf(source, cut, i, jpegQuality));
}

function viewOf(source: Source, { left, width, height }: Cut, i: number, jpegQuality: number | undefined): View {
  const side = Math.sqrt(width * height);
  const trainedAtPx = sides.find((px) => side >= LARGER * px) ?? 512;
  const shrunk = Math.max(1, side / trainedAtPx);
  const [widthPx, heightPx] = [Math.round(width / shrunk), Math.round(height / shrunk)];
  const cut = (): Sharp => sharp(source.path).extract({ left, top: 0, width, height }).flatten({ background: "#fff" });
  const png = remember(() => toPng(cut().resize(widthPx, heightPx, { fit: "fill" })));
  const { kind, part } = source;
  return {
    name: `${source.name}${i === 0 ? "" : "-right"}`,
    kind,
    part,
    trainedAtPx,
    widthPx,
    heightPx,
    shrunk,
    jpegQuality,
    png,
    lostDetail: remember(async () => lostDetail(cut(), sharp(await png()).resize(width, height, { fit: "fill" }))),
  };
}

/** On a square of white paper with a margin, drawn at twice the size and made smaller. */
function drawingOf({ path, name, kind, part }: Source): View {
  const side = 512;
  const margin = 20;
  const png = async (): Promise<Buffer> => {
    const paper = { width: 2 * side, height: 2 * side, fit: "contain", background: "#fff" } as const;
    const drawn = await drawTrimmed(path, 2 * (side - margin));
    const twice = sharp(drawn).resize({ ...paper, withoutEnlargement: true });
    return toPng(sharp(await toPng(twice)).resize(side, side));
  };
  return {
    name,
    kind,
    part,
    trainedAtPx: side,
    widthPx: side,
    heightPx: side,
    shrunk: Infinity,
    jpegQuality: undefined,
    png: remember(png),
    lostDetail: () => Promise.resolve(Infinity),
  };
}

/** Without the empty paper around it, its longer side at most so many pixels. At 72 dots an inch it has its own size, of a stamp or a poster. */
async function drawTrimmed(path: string, longestPx: number): Promise<Buffer> {
  const { width, height } = await sharp(path).metadata();
  const first = Math.min(2400, Math.max(1, (72 * longestPx) / Math.max(width, height)));
  const { info } = await sharp(await toPng(sharp(path, { density: first })))
    .trim({ background: "#fff" })
    .toBuffer({ resolveWithObject: true });
  // An icon in the corner of a large page is enlarged six times at most, or the page would not fit into memory.
  const density = Math.min(2400, first * Math.min(6, longestPx / Math.max(info.width, info.height)));
  const drawn = sharp(await toPng(sharp(path, { density, limitInputPixels: false }))).trim({ background: "#fff" });
  return drawn.resize({ width: longestPx, height: longestPx, fit: "inside", withoutEnlargement: true }).png().toBuffer();
}

/** Each is used many times, and large ones take a while to decode. */
function remember<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

function toPng(pipeline: Sharp): Promise<Buffer> {
  return pipeline.flatten({ background: "#fff" }).toColourspace("srgb").png({ compressionLevel: 1 }).toBuffer();
}

const TILE_PX = 64;

/**
 * How much of the source was finer than the view can show: the root mean square difference, in grey levels, between the source and
 * the view enlarged again, in the 2 % of tiles where it is greatest. A picture that is blurred by a view's pixel or more has nothing
 * to lose. No check sees the source, so this says independently of them whether a view is as sharp as it can be.
 */
async function lostDetail(source: Sharp, enlarged: Sharp): Promise<number> {
  const [before, after] = [
    await source.greyscale().raw().toBuffer({ resolveWithObject: true }),
    await enlarged.greyscale().raw().toBuffer(),
  ];
  const { width, height } = before.info;
  const losses: number[] = [];
  for (let top = 0; top + TILE_PX <= height; top += TILE_PX) {
    for (let left = 0; left + TILE_PX <= width; left += TILE_PX) {
      let sum = 0;
      for (let y = top; y < top + TILE_PX; y++) {
        for (let at = y * width + left; at < y * width + left + TILE_PX; at++) {
          sum += ((before.data[at] ?? 0) - (after[at] ?? 0)) ** 2;
        }
      }
      losses.push(Math.sqrt(sum) / TILE_PX);
    }
  }
  return losses.sort((a, b) => b - a)[Math.floor(losses.length / 50)] ?? 0;
}
