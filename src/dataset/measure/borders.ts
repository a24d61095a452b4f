/** Bars and frames of one colour around a picture, to the pixel. Pure. */
import type { Pixels } from "../../formats/images.ts";

/** How many pixels of one colour lie along each side, before the first line that is filled from end to end. */
export interface Borders {
  readonly leftPx: number;
  readonly topPx: number;
  readonly rightPx: number;
  readonly bottomPx: number;
}

/** Grey levels that grain and compression move a flat colour by. */
const TOLERANCE = 16;
/** Points of a flat line that may be further off: grain has a tail. */
const STRAY = 0.04;
/**
 * Along a bar's inner edge most of the line changes at once, where the picture does not happen to have the bar's colour; around a
 * drawing on plain paper only where its top touches. A bar that has none on the other side must end more clearly.
 */
const FILLED = 0.5;
const FILLED_ALONE = 0.8;
/** Lines within which the bar's edge passes: compression blurs it by up to a block of 8, and resizing by a little. */
const EDGE_PX = 10;
/** Points looked at along a line. */
const POINTS = 200;

interface Side {
  readonly px: number;
  /** Share of the line that changes at the inner edge. */
  readonly filled: number;
}

const NONE: Side = { px: 0, filled: 0 };

/** Undefined for a picture that is of one colour throughout. */
export function measureBorders(pixels: Pixels): Borders | undefined {
  const { widthPx, heightPx, channels } = pixels;
  const rowBytes = widthPx * channels;
  const [lastRow, lastColumn] = [(heightPx - 1) * rowBytes, (widthPx - 1) * channels];
  const across = spreadPoints(0, widthPx - 1, channels);
  const top = measureSide(pixels.data, across, { from: 0, lineStep: rowBytes, lines: heightPx });
  if (top === undefined) return undefined;
  const bottom = measureSide(pixels.data, across, { from: lastRow, lineStep: -rowBytes, lines: heightPx }) ?? NONE;
  // Left and right are judged between the bars above and below, or a frame's corners would count as picture.
  const down = spreadPoints(top.px, heightPx - 1 - bottom.px, rowBytes);
  const left = measureSide(pixels.data, down, { from: 0, lineStep: channels, lines: widthPx }) ?? NONE;
  const right = measureSide(pixels.data, down, { from: lastColumn, lineStep: -channels, lines: widthPx }) ?? NONE;
  const keep = (side: Side, opposite: Side): number => (opposite.px > 0 || side.filled >= FILLED_ALONE ? side.px : 0);
  return { leftPx: keep(left, right), topPx: keep(top, bottom), rightPx: keep(right, left), bottomPx: keep(bottom, top) };
}

/** Byte offsets of points from the first to the last pixel of a line, evenly. */
function spreadPoints(first: number, last: number, pixelStep: number): Int32Array {
  return Int32Array.from({ length: POINTS }, (_, i) => Math.floor(first + (i / (POINTS - 1)) * (last - first)) * pixelStep);
}

/** The bar along a side, of no width where none is or where no straight edge ends it. Undefined where all lines are of one colour. */
function measureSide(
  data: Uint8Array,
  points: Int32Array,
  { from, lineStep, lines }: { readonly from: number; readonly lineStep: number; readonly lines: number },
): Side | undefined {
  const [r, g, b] = [0, 1, 2].map((channel) => points.map((at) => data[from + at + channel] ?? 0).sort()[POINTS >> 1] ?? 0);
  let flat = 0;
  while (flat < lines && isFlat(data, points, from + flat * lineStep, [r ?? 0, g ?? 0, b ?? 0])) flat++;
  if (flat >= lines) return undefined;
  if (flat === 0) return NONE;
  // From well before the edge to just after it: a slope, such as that of an evening sky, changes little over so few lines.
  const before = from + Math.max(0, flat - EDGE_PX / 2) * lineStep;
  let best = NONE;
  for (let line = flat; line < Math.min(lines, flat + EDGE_PX); line++) {
    const start = from + line * lineStep;
    let count = 0;
    for (const at of points) {
      const [known, now] = [before + at, start + at];
      if (differ(data, now, data[known] ?? 0, data[known + 1] ?? 0, data[known + 2] ?? 0)) count++;
    }
    if (count / POINTS >= FILLED && count / POINTS > best.filled + 0.1)
      best = { px: best.px === 0 ? line : best.px, filled: count / POINTS };
  }
  return best;
}

function differ(data: Uint8Array, at: number, r: number, g: number, b: number): boolean {
  return (
    Math.abs((data[at] ?? 0) - r) > TOLERANCE ||
    Math.abs((data[at + 1] ?? 0) - g) > TOLERANCE ||
    Math.abs((data[at + 2] ?? 0) - b) > TOLERANCE
  );
}

/** Whether the line that starts at a byte is of one colour but for a few strays. */
function isFlat(data: Uint8Array, points: Int32Array, start: number, [r, g, b]: readonly [number, number, number]): boolean {
  let strays = 0;
  for (let i = 0; i < POINTS && strays <= STRAY * POINTS; i++) if (differ(data, start + (points[i] ?? 0), r, g, b)) strays++;
  return strays <= STRAY * POINTS;
}
