/** Whether one picture is cut out of another. Pure. */
import { COARSE, type Coarse, coarseOf, openWindows, scaleToUnit, toUnit } from "./cut-windows.ts";
import { type AreaSums, averageInto, averageParts, sumAreas, type Window } from "./measure/areas.ts";
import { FINE_SIDE, fineLikeness } from "./fine-likeness.ts";
import { type Likeness, THUMB_SIDE } from "./measure/likeness.ts";
import { thresholds } from "./thresholds.ts";

/** What cuts are searched by. */
export interface Cuttable extends Pick<Likeness, "thumb"> {
  readonly widthPx: number;
  readonly heightPx: number;
  readonly entropyBits: number;
}

const FINE = 16;
/** What a coarse window and a picture cut out of it agree by at least, after moving the window. */
const COARSE_MOVED = 0.9;

/** Two pictures of which one is cut out of the other, the first before the second. */
export interface Cut {
  readonly a: number;
  readonly b: number;
  readonly correlation: number;
}

/**
 * Which of these pairs are cuts. Every picture in turn is searched for all its partners, so that its windows are cut out once and
 * forgotten after.
 */
export function findCuts(pictures: readonly Cuttable[], pairs: Iterable<readonly [a: number, b: number]>): readonly Cut[] {
  // One spot on paper is found in any other.
  const says = (place: number): boolean => (pictures[place]?.entropyBits ?? 0) >= thresholds.cutBits.value;
  const partners = pictures.map((): number[] => []);
  for (const [a, b] of pairs) {
    if (!says(a) || !says(b)) continue;
    partners[a]?.push(b);
    partners[b]?.push(a);
  }
  const cuts = new Map<number, Cut>();
  const targets = pictures.map((picture, place) => ((partners[place]?.length ?? 0) > 0 ? targetOf(picture) : undefined));
  for (const [whole, picture] of pictures.entries()) {
    const own = partners[whole] ?? [];
    if (own.length === 0) continue;
    const search = openSearch(picture);
    for (const part of own) {
      const other = targets[part];
      const correlation = other ? search(other) : 0;
      const [a, b] = [Math.min(whole, part), Math.max(whole, part)];
      const key = a * pictures.length + b;
      if (correlation >= Math.max(thresholds.cutCorrelation.value, cuts.get(key)?.correlation ?? 0))
        cuts.set(key, { a, b, correlation });
    }
  }
  return [...cuts.values()];
}

const FULL: Window = { left: 0, top: 0, width: THUMB_SIDE, height: THUMB_SIDE };

/** What a picture is searched by in others, made once. */
interface Target {
  readonly picture: Cuttable;
  readonly coarse: Coarse;
}

function targetOf(picture: Cuttable): Target {
  return { picture, coarse: coarseOf(sumAreas(picture.thumb, THUMB_SIDE, THUMB_SIDE)) };
}

/** Gives the best correlation of a part with a window of the whole that has its shape and its details; 0 where there is none. */
function openSearch(whole: Cuttable): (part: Target) => number {
  const areas = sumAreas(whole.thumb, THUMB_SIDE, THUMB_SIDE);
  const windowsLike = openWindows(areas);
  return ({ picture: part, coarse }) => {
    // Both thumbnails are square: a window's height in the thumbnail follows from the two shapes.
    const stretch = whole.widthPx / whole.heightPx / (part.widthPx / part.heightPx);
    const moved: Match[] = [];
    for (const start of windowsLike(coarse, stretch)) {
      const match = refine(areas, { values: coarse.values, parts: COARSE }, start, stretch, 3, 0.7);
      // Two windows may have come to the same place.
      if (match.correlation >= COARSE_MOVED && !moved.some((other) => isSame(other.window, match.window))) moved.push(match);
    }
    return moved.length === 0 ? 0 : correlateFinely(areas, part, moved, stretch);
  };
}

/** The best correlation of a part with one of the windows, moved a little, that has its details as well; 0 where none has. */
function correlateFinely(areas: AreaSums, part: Cuttable, windows: readonly Match[], stretch: number): number {
  const own = sumAreas(part.thumb, THUMB_SIDE, THUMB_SIDE);
  const target = { values: toUnit(averageParts(own, FULL, FINE, FINE)), parts: FINE };
  let best = 0;
  for (const start of windows) {
    const { window, correlation } = refine(areas, target, start.window, stretch, 1.2, 0.15);
    if (correlation <= Math.max(best, thresholds.cutCorrelation.value)) continue;
    // Skies and seas agree in light and dark wherever they are cut out.
    const details = averageParts(areas, window, FINE_SIDE, FINE_SIDE);
    if (fineLikeness(details, averageParts(own, FULL, FINE_SIDE, FINE_SIDE)) >= thresholds.cutDetails.value) best = correlation;
  }
  return best;
}

interface Match {
  readonly window: Window;
  readonly correlation: number;
}

/** Within a third of what the finer search moves it by first. */
function isSame(a: Window, b: Window): boolean {
  return Math.max(Math.abs(a.left - b.left), Math.abs(a.top - b.top), Math.abs(a.width - b.width)) < 0.4;
}

/** Across, down, and larger; both ways, one after the other. */
const MOVES = [
  [1, 0, 0],
  [0, 1, 0],
  [0, 0, 1],
] as const;

/** Moves and resizes the window by ever smaller steps while that helps. @param target of mean 0 and length 1 */
function refine(
  areas: AreaSums,
  { values, parts }: { readonly values: Float64Array; readonly parts: number },
  start: Window,
  stretch: number,
  firstStep: number,
  lastStep: number,
): Match {
  const means = new Float32Array(parts * parts);
  const score = (window: Window): number => {
    averageInto(means, 0, areas, window, parts, parts);
    return correlateUnit(means, values);
  };
  const widest = Math.min(THUMB_SIDE, THUMB_SIDE / stretch);
  let best = { window: start, correlation: score(start) };
  for (let step = firstStep; step >= lastStep;) {
    const before = best;
    for (const [dx, dy, ds] of MOVES) {
      for (const sign of [step, -step]) {
        const { left, top, width } = best.window;
        const wider = Math.min(widest, width + ds * sign);
        const grown = (wider - width) / 2;
        const window = {
          left: left + dx * sign - grown,
          top: top + dy * sign - grown * stretch,
          width: wider,
          height: wider * stretch,
        };
        if (!isInside(window)) continue;
        const correlation = score(window);
        if (correlation <= best.correlation) continue;
        best = { window, correlation };
        break;
      }
    }
    if (best === before) step /= 2;
  }
  return best;
}

/** Of values with others of mean 0 and length 1; 0 where they are of one value. */
function correlateUnit(a: Float32Array, unit: Float64Array): number {
  let sum = 0;
  let squares = 0;
  let products = 0;
  for (let i = 0; i < a.length; i++) {
    const value = a[i] ?? 0;
    sum += value;
    squares += value * value;
    products += value * (unit[i] ?? 0);
  }
  return products * scaleToUnit(squares - (sum * sum) / a.length, a.length);
}

function isInside({ left, top, width, height }: Window): boolean {
  return left >= -0.5 && top >= -0.5 && left + width <= THUMB_SIDE + 0.5 && top + height <= THUMB_SIDE + 0.5;
}

/** Pearson's correlation; 0 where one of them is of one value. */
export function correlate(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const n = a.length;
  let sumA = 0;
  let sumB = 0;
  let sumAA = 0;
  let sumBB = 0;
  let sumAB = 0;
  for (let i = 0; i < n; i++) {
    const x = a[i] ?? 0;
    const y = b[i] ?? 0;
    sumA += x;
    sumB += y;
    sumAA += x * x;
    sumBB += y * y;
    sumAB += x * y;
  }
  const spread = Math.sqrt(Math.max(0, sumAA - (sumA * sumA) / n) * Math.max(0, sumBB - (sumB * sumB) / n));
  // Under one grey level of spread there is nothing to correlate but rounding.
  return spread / n < 1 ? 0 : (sumAB - (sumA * sumB) / n) / spread;
}
