/** Bars and frames of one colour around a picture, to the pixel. Pure. */
import type { Pixels } from "../../formats/images.ts";

/** How many pixels of one colour lie along each side, before the first line that is filled from end to end. */
export interface Borders {
  readonly leftPx: number;
  readonly topPx: number;
  readonly rightPx: number;
  readonly bottomPx: number;
}

/** Grey levels that grain and compression move a flat colour by; and those of a bar that is drawn, beside a picture that is nearly as dark or light. */
const TOLERANCE = 16;
const TOLERANCE_DRAWN = 5;
/** A bar that a program drew has less grain than this; what a camera saw, such as a plank or a wall, has several times more. */
const GRAIN_DRAWN = 1.5;
/** Of bars that only the second tolerance finds: an even sky has more. */
const GRAIN_EVEN = 0.3;
/** Points of a flat line that may be further off: grain has a tail. */
const STRAY = 0.04;
/**
 * Along a bar's inner edge most of the line changes at once, where the picture does not happen to have the bar's colour; around a
 * drawing on plain paper only where its top touches.
 */
const FILLED = 0.5;
/** Lines within which the bar's edge passes: compression blurs it by up to a block of 8, and resizing by a little. */
const EDGE_PX = 10;
/** Along a straight edge so much of the line changes within `STRAIGHT_PX` lines; a figure's outline takes more. */
const STRAIGHT = 0.6;
const STRAIGHT_PX = 5;
/** Lines of a bar whose grain is measured, at least. */
const GRAIN_LINES = 8;
/** Corners inside the bars, of four, that have a bar's colour where it is the ground of a drawing; and where two sides are not straight. */
const GROUND_CORNERS = 3;
const GROUND_CORNERS_ROUND = 2;
/** Points looked at along a line. */
const POINTS = 200;

interface Side {
  readonly px: number;
  /** Mean distance of the bar's points from its colour, in grey levels. */
  readonly grain: number;
  /** Of the outermost line, where that is of one colour. */
  readonly colour: Colour | undefined;
  /** Whether the bar ends in a straight edge; true where there is none. */
  readonly isStraight: boolean;
}

const NONE: Side = { px: 0, grain: 0, colour: undefined, isStraight: true };

type Colour = readonly [r: number, g: number, b: number];

/** Lines from one side inwards, by bytes. */
interface Lines {
  readonly from: number;
  readonly lineStep: number;
  readonly lines: number;
}

/** Undefined for a picture that is of one colour throughout. */
export function measureBorders(pixels: Pixels): Borders | undefined {
  const { widthPx, heightPx, channels } = pixels;
  const rowBytes = widthPx * channels;
  const [lastRow, lastColumn] = [(heightPx - 1) * rowBytes, (widthPx - 1) * channels];
  const across = spreadPoints(0, widthPx - 1, channels);
  const above = measureSide(pixels.data, across, { from: 0, lineStep: rowBytes, lines: heightPx });
  const below = measureSide(pixels.data, across, { from: lastRow, lineStep: -rowBytes, lines: heightPx });
  const [top, bottom] = [above ?? NONE, below ?? NONE];
  // Left and right are judged between the bars above and below, or a frame's corners would count as picture.
  const down = spreadPoints(top.px, heightPx - 1 - bottom.px, rowBytes);
  const before = measureSide(pixels.data, down, { from: 0, lineStep: channels, lines: widthPx });
  const after = measureSide(pixels.data, down, { from: lastColumn, lineStep: -channels, lines: widthPx });
  if (!above && !below && !before && !after) return undefined;
  const [left, right] = [before ?? NONE, after ?? NONE];
  const sides = [top, bottom, left, right];
  const corners = cornersOf(pixels, { leftPx: left.px, topPx: top.px, rightPx: right.px, bottomPx: bottom.px });
  // Grain is allowed where the other side has a bar as well, and not all of the picture.
  const keep = (side: Side, opposite: Side, lengthPx: number): number =>
    !isGround(side, sides, corners) && (side.grain < GRAIN_DRAWN || (opposite.px > 0 && opposite.px < lengthPx / 2))
      ? side.px
      : 0;
  return {
    leftPx: keep(left, right, widthPx),
    topPx: keep(top, bottom, heightPx),
    rightPx: keep(right, left, widthPx),
    bottomPx: keep(bottom, top, heightPx),
  };
}

/**
 * Whether what looks like a bar is the ground that a figure is drawn on: then it goes on around the figure, along a side that has no bar
 * because the figure ends there in no straight edge, or into the picture's corners.
 */
function isGround({ colour }: Side, others: readonly Side[], corners: readonly Colour[]): boolean {
  if (!colour) return false;
  const like = others.filter((other) => other.colour && isNear(other.colour, colour));
  const isRound = like.filter(({ isStraight }) => !isStraight).length >= 2;
  const least = isRound ? GROUND_CORNERS_ROUND : GROUND_CORNERS;
  return like.some(({ px }) => px === 0) || corners.filter((corner) => isNear(corner, colour)).length >= least;
}

/** Colours in the corners of what lies inside the bars, a little off their blurred edges. */
function cornersOf(
  { data, widthPx, heightPx, channels }: Pixels,
  { leftPx, topPx, rightPx, bottomPx }: Borders,
): readonly Colour[] {
  const [inward, downward] = [
    Math.min(EDGE_PX, widthPx - leftPx - rightPx) >> 1,
    Math.min(EDGE_PX, heightPx - topPx - bottomPx) >> 1,
  ];
  const [columns, rows] = [[leftPx + inward, widthPx - 1 - rightPx - inward], [topPx + downward, heightPx - 1 - bottomPx - downward]]; // prettier-ignore
  return rows.flatMap((row) =>
    columns.map((column) => {
      const at = (row * widthPx + column) * channels;
      return [data[at] ?? 0, data[at + 1] ?? 0, data[at + 2] ?? 0] as const;
    }),
  );
}

function isNear(a: Colour, b: Colour): boolean {
  return a.every((level, channel) => Math.abs(level - (b[channel] ?? 0)) <= TOLERANCE_DRAWN);
}

/** Byte offsets of points from the first to the last pixel of a line, evenly. */
function spreadPoints(first: number, last: number, pixelStep: number): Int32Array {
  return Int32Array.from({ length: POINTS }, (_, i) => Math.floor(first + (i / (POINTS - 1)) * (last - first)) * pixelStep);
}

/** The bar along a side, of no width where none is or where no straight edge ends it. Undefined where all lines are of one colour. */
function measureSide(data: Uint8Array, points: Int32Array, side: Lines): Side | undefined {
  const bar = findBar(data, points, side, TOLERANCE);
  if (bar !== undefined && bar.px > 0) return bar;
  const drawn = findBar(data, points, side, TOLERANCE_DRAWN);
  return drawn !== undefined && drawn.grain < GRAIN_EVEN ? drawn : bar;
}

function findBar(data: Uint8Array, points: Int32Array, { from, lineStep, lines }: Lines, tolerance: number): Side | undefined {
  const middle = (channel: number): number => points.map((at) => data[from + at + channel] ?? 0).sort()[POINTS >> 1] ?? 0;
  const colour = [middle(0), middle(1), middle(2)] as const;
  let flat = 0;
  while (flat < lines && isFlat(data, points, from + flat * lineStep, colour, tolerance)) flat++;
  if (flat >= lines) return undefined;
  if (flat === 0) return NONE;
  const open: Side = { px: 0, grain: 0, colour, isStraight: true };
  // From well before the edge to just after it: a slope, such as that of an evening sky, changes little over so few lines.
  const before = from + Math.max(0, flat - EDGE_PX / 2) * lineStep;
  const shares: number[] = [];
  for (let line = flat; line < Math.min(lines, flat + EDGE_PX); line++) {
    const share = shareChanged(data, points, before, from + line * lineStep, tolerance);
    shares.push(share);
    if (share < FILLED) continue;
    const grain = grainOf(data, points, { from, lineStep, lines: line }, colour);
    // Blur may take the last of it a line or two further.
    const after = shareChanged(data, points, before, from + Math.min(lines - 1, line + 2) * lineStep, tolerance);
    return { px: line, grain, colour, isStraight: after - (shares.at(2 - STRAIGHT_PX) ?? 0) >= STRAIGHT };
  }
  return open;
}

/** Of a line's points, those that are of another colour than the same points of the line at `before`. */
function shareChanged(data: Uint8Array, points: Int32Array, before: number, start: number, tolerance: number): number {
  let count = 0;
  for (const at of points) {
    const known = before + at;
    const colourBefore = [data[known] ?? 0, data[known + 1] ?? 0, data[known + 2] ?? 0] as const;
    if (differ(data, start + at, colourBefore, tolerance)) count++;
  }
  return count / POINTS;
}

/** Of the outer three quarters of a bar, which compression does not reach from the edge. */
function grainOf(data: Uint8Array, points: Int32Array, { from, lineStep, lines }: Lines, [r, g, b]: Colour): number {
  const outer = Math.ceil(0.75 * lines);
  let [sum, count] = [0, 0];
  for (let line = 0; line < outer; line += Math.max(1, Math.floor(outer / GRAIN_LINES))) {
    for (const point of points) {
      const at = from + line * lineStep + point;
      sum += Math.abs((data[at] ?? 0) - r) + Math.abs((data[at + 1] ?? 0) - g) + Math.abs((data[at + 2] ?? 0) - b);
      count += 3;
    }
  }
  return sum / count;
}

function differ(data: Uint8Array, at: number, [r, g, b]: Colour, tolerance: number): boolean {
  return (
    Math.abs((data[at] ?? 0) - r) > tolerance ||
    Math.abs((data[at + 1] ?? 0) - g) > tolerance ||
    Math.abs((data[at + 2] ?? 0) - b) > tolerance
  );
}

/** Whether the line that starts at a byte is of one colour but for a few strays. */
function isFlat(data: Uint8Array, points: Int32Array, start: number, colour: Colour, tolerance: number): boolean {
  let strays = 0;
  for (let i = 0; i < POINTS && strays <= STRAY * POINTS; i++)
    if (differ(data, start + (points[i] ?? 0), colour, tolerance)) strays++;
  return strays <= STRAY * POINTS;
}
