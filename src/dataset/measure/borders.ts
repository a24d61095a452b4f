/** Bars and frames of one colour around a picture, to the pixel. Pure. */
import type { Pixels } from "../../formats/images.ts";

/** How many pixels of one colour lie along each side, before the first line that is filled from end to end. */
export interface Borders {
  readonly leftPx: number;
  readonly topPx: number;
  readonly rightPx: number;
  readonly bottomPx: number;
}

/** Grey levels that compression moves a flat colour by. */
const TOLERANCE = 14;
/** Along a bar's inner edge nearly all of the line has another colour; around a drawing on plain paper only where its top touches. */
const FILLED = 0.8;
/** Lines after the last flat one within which the picture must have begun: compression and resizing soften the edge. */
const EDGE_PX = 4;
/** Points looked at along a line. */
const POINTS = 200;

/** Undefined for a picture that is of one colour throughout. */
export function measureBorders(pixels: Pixels): Borders | undefined {
  const { widthPx, heightPx } = pixels;
  const top = flatLines(pixels, heightPx, (line, t) => [Math.floor(t * (widthPx - 1)), line]);
  if (top.flat >= heightPx) return undefined;
  const bottom = flatLines(pixels, heightPx, (line, t) => [Math.floor(t * (widthPx - 1)), heightPx - 1 - line]);
  // Left and right are judged between the bars above and below, or a frame's corners would count as picture.
  const [y0, y1] = [top.border, heightPx - 1 - bottom.border];
  const left = flatLines(pixels, widthPx, (line, t) => [line, Math.floor(y0 + t * (y1 - y0))]);
  const right = flatLines(pixels, widthPx, (line, t) => [widthPx - 1 - line, Math.floor(y0 + t * (y1 - y0))]);
  return { leftPx: left.border, topPx: top.border, rightPx: right.border, bottomPx: bottom.border };
}

/** Lines from a side inwards: `flat` of one colour, and `border`, the same but 0 where no straight edge follows them. */
function flatLines(
  { data, widthPx, channels }: Pixels,
  lines: number,
  place: (line: number, t: number) => readonly [x: number, y: number],
): { flat: number; border: number } {
  const sample = (line: number, point: number): number => {
    const [x, y] = place(line, point / (POINTS - 1));
    return (y * widthPx + x) * channels;
  };
  const first = sample(0, 0);
  const isOther = (at: number): boolean =>
    Math.abs((data[at] ?? 0) - (data[first] ?? 0)) > TOLERANCE ||
    Math.abs((data[at + 1] ?? 0) - (data[first + 1] ?? 0)) > TOLERANCE ||
    Math.abs((data[at + 2] ?? 0) - (data[first + 2] ?? 0)) > TOLERANCE;
  const others = (line: number, stopAt: number): number => {
    let count = 0;
    for (let point = 0; point < POINTS && count < stopAt; point++) if (isOther(sample(line, point))) count++;
    return count;
  };
  let flat = 0;
  while (flat < lines && others(flat, 1) === 0) flat++;
  if (flat === 0 || flat >= lines) return { flat, border: 0 };
  for (let line = flat; line < Math.min(lines, flat + EDGE_PX); line++) {
    if (others(line, POINTS) >= FILLED * POINTS) return { flat, border: flat };
  }
  return { flat, border: 0 };
}
