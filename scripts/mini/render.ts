/** Draws icons of emoji sets as pixels, and pictures as contact sheets. */
import sharp from "sharp";
import type { LoadedSet } from "./sets.ts";

const marginShare = 6 / 128;

/**
 * Draws an icon as sizePx x sizePx RGB on white, its drawn part centred and filling the picture but for a small margin:
 * sets differ in how much room they leave, which is no part of a style worth learning. Throws where nothing is drawn.
 */
export async function renderIcon(set: LoadedSet, icon: string, sizePx: number): Promise<Buffer> {
  const [left, top, width] = set.squareBox(icon);
  const probePx = 256;
  const probe = await sharp(Buffer.from(set.svg(icon, probePx)))
    .ensureAlpha()
    .extractChannel(3)
    .raw()
    .toBuffer();
  const drawn = findDrawn(probe, probePx);
  if (!drawn) throw new Error(`renderIcon: ${set.id}/${icon} draws nothing`);
  const unitsPerPx = width / probePx;
  const side = (Math.max(drawn.right - drawn.left, drawn.bottom - drawn.top) * unitsPerPx) / (1 - 2 * marginShare);
  const centreX = left + ((drawn.left + drawn.right) / 2) * unitsPerPx;
  const centreY = top + ((drawn.top + drawn.bottom) / 2) * unitsPerPx;
  const box = [centreX - side / 2, centreY - side / 2, side, side] as const;
  const drawing = await sharp(Buffer.from(set.svg(icon, sizePx * 4, box)))
    .png()
    .toBuffer();
  return sharp(drawing)
    .resize(sizePx, sizePx, { kernel: "lanczos3" })
    .flatten({ background: "#fff" })
    .toColourspace("srgb")
    .removeAlpha()
    .raw()
    .toBuffer();
}

interface Bounds {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** The smallest box around all opaque enough pixels of a square alpha plane; right and bottom are exclusive. */
function findDrawn(alpha: Buffer, sidePx: number): Bounds | undefined {
  const bounds = { left: sidePx, top: sidePx, right: 0, bottom: 0 };
  for (let y = 0; y < sidePx; y++) {
    for (let x = 0; x < sidePx; x++) {
      if ((alpha[y * sidePx + x] ?? 0) < 16) continue;
      bounds.left = Math.min(bounds.left, x);
      bounds.top = Math.min(bounds.top, y);
      bounds.right = Math.max(bounds.right, x + 1);
      bounds.bottom = Math.max(bounds.bottom, y + 1);
    }
  }
  return bounds.right > 0 ? bounds : undefined;
}

/** Pictures side by side in rows of `columns`, as one PNG. */
export async function writeSheet(path: string, pictures: readonly Buffer[], sizePx: number, columns: number): Promise<void> {
  const rows = Math.ceil(pictures.length / columns);
  const tilePx = Math.min(sizePx, 96);
  const tiles = await Promise.all(
    pictures.map((rgb) =>
      sharp(rgb, { raw: { width: sizePx, height: sizePx, channels: 3 } })
        .resize(tilePx)
        .png()
        .toBuffer(),
    ),
  );
  await sharp({ create: { width: columns * tilePx, height: rows * tilePx, channels: 3, background: "#fff" } })
    .composite(tiles.map((input, i) => ({ input, left: (i % columns) * tilePx, top: Math.floor(i / columns) * tilePx })))
    .png()
    .toFile(path);
}
