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
  const { widthPx, heightPx } = pixels;
  const top = measureSide(pixels, heightPx, (line, t) => [Math.floor(t * (widthPx - 1)), line]);
  if (top === undefined) return undefined;
  const bottom = measureSide(pixels, heightPx, (line, t) => [Math.floor(t * (widthPx - 1)), heightPx - 1 - line]) ?? NONE;
  // Left and right are judged between the bars above and below, or a frame's corners would count as picture.
  const [y0, y1] = [top.px, heightPx - 1 - bottom.px];
  const left = measureSide(pixels, widthPx, (line, t) => [line, Math.floor(y0 + t * (y1 - y0))]) ?? NONE;
  const right = measureSide(pixels, widthPx, (line, t) => [widthPx - 1 - line, Math.floor(y0 + t * (y1 - y0))]) ?? NONE;
  const keep = (side: Side, opposite: Side): number => (opposite.px > 0 || side.filled >= FILLED_ALONE ? side.px : 0);
  return { leftPx: keep(left, right), topPx: keep(top, bottom), rightPx: keep(right, left), bottomPx: keep(bottom, top) };
}

/** The bar along a side, of no width where none is or where no straight edge ends it. Undefined where all lines are of one colour. */
function measureSide(
  { data, widthPx, channels }: Pixels,
  lines: number,
  place: (line: number, t: number) => readonly [x: number, y: number],
): Side | undefined {
  const sample = (line: number, point: number): number => {
    const [x, y] = place(line, point / (POINTS - 1));
    return (y * widthPx + x) * channels;
  };
  const differ = (at: number, r: number, g: number, b: number): boolean =>
    Math.abs((data[at] ?? 0) - r) > TOLERANCE ||
    Math.abs((data[at + 1] ?? 0) - g) > TOLERANCE ||
    Math.abs((data[at + 2] ?? 0) - b) > TOLERANCE;
  const first = Array.from({ length: POINTS }, (_, point) => sample(0, point));
  const middle = (channel: number): number =>
    first.map((at) => data[at + channel] ?? 0).sort((a, b) => a - b)[POINTS >> 1] ?? 0;
  const [r, g, b] = [middle(0), middle(1), middle(2)];
  const isFlat = (line: number): boolean => {
    let strays = 0;
    for (let point = 0; point < POINTS && strays <= STRAY * POINTS; point++) if (differ(sample(line, point), r, g, b)) strays++;
    return strays <= STRAY * POINTS;
  };
  let flat = 0;
  while (flat < lines && isFlat(flat)) flat++;
  if (flat >= lines) return undefined;
  if (flat === 0) return NONE;
  // From well before the edge to just after it: a slope, such as that of an evening sky, changes little over so few lines.
  const before = Math.max(0, flat - EDGE_PX / 2);
  let best = NONE;
  for (let line = flat; line < Math.min(lines, flat + EDGE_PX); line++) {
    let count = 0;
    for (let point = 0; point < POINTS; point++) {
      const at = sample(before, point);
      if (differ(sample(line, point), data[at] ?? 0, data[at + 1] ?? 0, data[at + 2] ?? 0)) count++;
    }
    if (count / POINTS >= FILLED && count / POINTS > best.filled + 0.1)
      best = { px: best.px === 0 ? line : best.px, filled: count / POINTS };
  }
  return best;
}
