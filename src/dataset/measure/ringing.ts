/** How JPEG's grid shows around drawings: the flaws around a line end where its block of 8 x 8 pixels ends, in plain ground. Pure. */
import type { Pixels } from "../../formats/images.ts";

/** Lines looked at in each direction, spread evenly; of the first `LINES_FIRST`, which are as well, less than two ends each tell a photograph. */
const LINES = 48;
const LINES_FIRST = 8;
/** Ends of plain ground with a larger step, in grey levels, are edges of what is shown. */
const MOST = 40;
/** Places are eighths of a line: so many must agree, for an edge of what is shown lies in one or two of them. */
const PLACES = 8;
const AGREEING = 3;
/** Ends to judge a place by, at least. */
const LEAST_ENDS = 12;
/** Of an eighth that would lie at any of the eight phases of a block by chance, so many do. */
const ON_GRID = 0.4;

/** Grey levels that nobody sees. */
const FAINT = 2;

/** The ends of plain ground, [place, phase]: their number, and the sum of their steps in grey levels. */
interface Ends {
  readonly counts: Int32Array;
  readonly sums: Int32Array;
}

/**
 * By how many grey levels plain ground ends where a grid of 8 pixels is, in both directions; 0 where it ends anywhere, or where there is
 * none, as on photographs.
 */
export function measureRinging({ data, widthPx, heightPx, channels }: Pixels): number {
  const rowBytes = widthPx * channels;
  const linesOf = (px: number, bytes: number): readonly number[] =>
    Array.from({ length: LINES }, (_, i) => {
      const place = (i % LINES_FIRST) * (LINES / LINES_FIRST) + Math.floor(i / LINES_FIRST);
      return Math.floor(((place + 0.5) * px) / LINES) * bytes;
    });
  const across = levelOnGrid(data, linesOf(heightPx, rowBytes), channels, widthPx);
  // Photographs end here: reading columns costs more.
  return across < FAINT ? 0 : Math.min(across, levelOnGrid(data, linesOf(widthPx, channels), rowBytes, heightPx));
}

/** Of lines of so many pixels that start at these bytes. Of the channels green, as most of luma. */
function levelOnGrid(data: Uint8Array, starts: readonly number[], step: number, length: number): number {
  const ends: Ends = { counts: new Int32Array(8 * PLACES), sums: new Int32Array(8 * PLACES) };
  // By words of four.
  const steps = new Uint8Array((length + 3) & ~3);
  for (const [line, start] of starts.entries()) {
    if (line === LINES_FIRST && sumOf(ends.counts) < 2 * LINES_FIRST) return 0;
    let at = start + 1;
    let before = data[at] ?? 0;
    for (let i = 1; i < length; i++) {
      at += step;
      const here = data[at] ?? 0;
      steps[i] = Math.abs(here - before);
      before = here;
    }
    addEnds(steps, length, ends);
  }
  return Math.max(...Array.from({ length: 8 }, (_, phase) => levelOf(ends, phase)));
}

/** The level of the phase that `AGREEING` places reach at least. */
function levelOf({ counts, sums }: Ends, phase: number): number {
  const levels = Array.from({ length: PLACES }, (_, place) => {
    const total = sumOf(counts.subarray(8 * place, 8 * place + 8));
    const own = counts[8 * place + phase] ?? 0;
    return total >= LEAST_ENDS && own >= ON_GRID * total ? (sums[8 * place + phase] ?? 0) / own : 0;
  });
  return levels.sort((a, b) => b - a)[AGREEING - 1] ?? 0;
}

/** @param steps the i-th between the pixels i - 1 and i of a line */
function addEnds(steps: Uint8Array, length: number, { counts, sums }: Ends): void {
  const words = new Int32Array(steps.buffer);
  const add = (place: number): void => {
    const step = steps[place] ?? 0;
    if (place < 1 || place >= length || step > MOST) return;
    const bin = 8 * Math.floor((PLACES * place) / length) + (place & 7);
    counts[bin] = (counts[bin] ?? 0) + 1;
    sums[bin] = (sums[bin] ?? 0) + step;
  };
  for (let word = 0; word < words.length; word++) {
    // Four steps of nothing: any stretch of plain ground of eight pixels has such a word.
    if (words[word] !== 0) continue;
    let first = 4 * word;
    while (first > 1 && steps[first - 1] === 0) first--;
    let end = 4 * word + 4;
    while (end < length && steps[end] === 0) end++;
    add(first - 1);
    add(end);
    word = end >> 2;
  }
}

function sumOf(values: Int32Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}
