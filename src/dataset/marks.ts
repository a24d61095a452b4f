/** Marks that stand in the same corner of many pictures, such as watermarks and signatures. Pure. */
import { CORNER_COLUMNS, CORNER_ROWS, cornerNames, type CornerName } from "./measure/corners.ts";
import { dot, levelContrast } from "./mark-fields.ts";
import { hasMark, isMark, likenessTo, type Mark, markOf, type Member, SIZE, templateOf } from "./mark-shape.ts";
import type { PictureMeasurement } from "./measure/picture.ts";
import { thresholds } from "./thresholds.ts";

type Cornered = Pick<PictureMeasurement, "corners">;

export interface RepeatedMark {
  readonly corner: CornerName;
  /** Places in the list. */
  readonly pictures: readonly number[];
}

/** A mark fills a part of the corner: windows of 20 x 6 cells, over each other, are looked at one by one. */
const WINDOW = { columns: 20, rows: 6, stepX: 5, stepY: 2 } as const;
const LENGTH = WINDOW.columns * WINDOW.rows;
/** Share of a window that must show something: a speck agrees with any other. */
const FILLED = 0.15;
/** Pictures that are compared each with each; the others are compared with what these have in common. */
const MAX_SAMPLE = 40;
/** A mark that many pictures have is on fewer of the sample by chance. */
const SAMPLED = 0.6;
/** Windows that most pictures agree in, from each of which a mark is grown. */
const SEEDS = 4;
/** Pictures after which marks that too few have are given up. */
const LOOK_EACH = 100;
/** Rounds of averaging the pictures that share the mark and looking again which do. */
const ROUNDS = 4;

/**
 * What many pictures share in a corner while all else in it differs (the persistent edges of Dekel et al. 2017, for sets of which only
 * a part is marked). Marks must stand at the same share of the shorter side.
 *
 * @param pictures whose corners may be read anew each time they are asked for: few are looked at, and not for long
 * @param groups copies of each other, which share everything and so no mark: only the first of each is looked at
 */
export function findMarks(pictures: readonly Cornered[], groups: readonly (readonly number[])[]): readonly RepeatedMark[] {
  const repeated = new Set(groups.flatMap((group) => group.slice(1)));
  const groupOf = new Map(groups.flatMap((group) => group.map((index) => [index, group] as const)));
  const distinct = [...pictures.keys()].filter((index) => !repeated.has(index));
  return cornerNames.flatMap((corner, place) => {
    const fieldOf = (i: number): Float32Array => {
      const corners = pictures[distinct[i] ?? 0]?.corners ?? new Int8Array(4 * SIZE);
      return levelContrast(corners.subarray(place * SIZE, (place + 1) * SIZE));
    };
    const found = findInCorner(distinct.length, fieldOf, place);
    const marked = found.flatMap((i) => groupOf.get(distinct[i] ?? 0) ?? [distinct[i] ?? 0]).sort((a, b) => a - b);
    return found.length > 0 ? [{ corner, pictures: [...new Set(marked)] }] : [];
  });
}

/** See `levelContrast`, of a picture by its place. */
type FieldOf = (place: number) => Float32Array;

/** Places of the pictures that have the mark of a corner; none where there is no mark. */
function findInCorner(all: number, fieldOf: FieldOf, corner: number): readonly number[] {
  const least = Math.max(thresholds.markMinimum.value, thresholds.markShare.value * all);
  if (all < least) return [];
  const count = Math.min(all, MAX_SAMPLE);
  const sample = Array.from({ length: count }, (_, i) => fieldOf(Math.floor((i * all) / count)));
  const needed = Math.max(thresholds.markMinimum.value, (SAMPLED * least * count) / all);
  const marks = findSeeds(sample, needed).flatMap((seed) => {
    const mark = growMark(sample, seed);
    return mark && mark.members.length >= needed && isMark(mark, corner) ? [mark] : [];
  });
  return findMarked(all, fieldOf, marks, least);
}

/** Places of the pictures that have the first of the marks that at least so many have. */
function findMarked(all: number, fieldOf: FieldOf, marks: readonly Mark[], least: number): readonly number[] {
  let left = marks.map((mark) => ({ mark, found: [] as number[] }));
  let seen = 0;
  for (const place of withoutRhythm(all)) {
    if (left.length === 0) break;
    const field = fieldOf(place);
    for (const { mark, found } of left) if (hasMark(mark, field)) found.push(place);
    seen++;
    if (seen % LOOK_EACH !== 0) continue;
    left = left.filter(({ found }) => mayReach(found.length, seen, least, all));
    const first = left.findIndex(({ found }) => found.length >= least);
    if (first >= 0) left = left.slice(0, first + 1);
  }
  const found = left.find((own) => own.found.length >= least)?.found ?? [];
  return found.sort((a, b) => a - b);
}

/** Whether a mark may be on so many of all when it is on so many of those seen: a chance of less than one in a million is none. */
function mayReach(found: number, seen: number, least: number, all: number): boolean {
  const expected = (least * seen) / all;
  return found >= expected - 6 * Math.sqrt(expected);
}

/** All places in a fixed order that no rhythm of a set, such as a mark on every tenth picture, falls in with. */
function withoutRhythm(count: number): readonly number[] {
  const keys = Int32Array.from({ length: count }, (_, place) => {
    const mixed = Math.imul(place + 1, 0x9e3779b1);
    return Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b);
  });
  return [...keys.keys()].sort((a, b) => (keys[a] ?? 0) - (keys[b] ?? 0));
}

/** Pictures that agree in a part of the corner. */
interface Seed {
  readonly members: readonly Member[];
  readonly agreement: number;
}

/** Those of the windows in which pictures agree best. */
function findSeeds(fields: readonly Float32Array[], needed: number): readonly (readonly Member[])[] {
  const patches = new Float32Array(fields.length * LENGTH);
  const seeds = [...windowOffsets()].flatMap((offset) => {
    for (const [i, field] of fields.entries()) cutPatch(field, offset, patches.subarray(i * LENGTH, (i + 1) * LENGTH));
    return largestAgreement(patches, fields.length, needed) ?? [];
  });
  const byMembers = new Map(
    seeds
      .sort((a, b) => a.agreement - b.agreement)
      .map(({ members }) => [
        members
          .map(({ place }) => place)
          .sort()
          .join(),
        members,
      ]),
  );
  return [...byMembers.values()].reverse().slice(0, SEEDS);
}

function* windowOffsets(): Generator<number> {
  for (let y = 0; y + WINDOW.rows <= CORNER_ROWS; y += WINDOW.stepY) {
    for (let x = 0; x + WINDOW.columns <= CORNER_COLUMNS; x += WINDOW.stepX) yield y * CORNER_COLUMNS + x;
  }
}

/** A window of length 1, or of zeros where next to nothing is in it. */
function cutPatch(field: Float32Array, from: number, patch: Float32Array): void {
  let [squares, filled] = [0, 0];
  for (let row = 0, i = 0; row < WINDOW.rows; row++) {
    for (let at = from + row * CORNER_COLUMNS; at < from + row * CORNER_COLUMNS + WINDOW.columns; at++, i++) {
      const value = field[at] ?? 0;
      patch[i] = value;
      squares += value * value;
      if (Math.abs(value) > 0.5) filled++;
    }
  }
  const scale = filled < FILLED * LENGTH ? 0 : 1 / Math.sqrt(squares);
  for (let i = 0; i < LENGTH; i++) patch[i] = (patch[i] ?? 0) * scale;
}

/** The picture that most others agree with in a window, with those others; undefined where fewer do than are needed. */
function largestAgreement(patches: Float32Array, count: number, needed: number): Seed | undefined {
  const partners = Array.from({ length: count }, (_, place): { members: Member[]; agreement: number } => ({
    members: [{ place, sign: 1 }],
    agreement: 0,
  }));
  const add = (own: number, place: number, likeness: number): void => {
    const partner = partners[own];
    if (!partner) return;
    partner.members.push({ place, sign: likeness > 0 ? 1 : -1 });
    partner.agreement += Math.abs(likeness);
  };
  for (let i = 0; i < count; i++) {
    for (let j = i + 1; j < count; j++) {
      const likeness = dot(patches, i * LENGTH, patches, j * LENGTH, LENGTH);
      if (Math.abs(likeness) < thresholds.markSeed.value) continue;
      add(i, j, likeness);
      add(j, i, likeness);
    }
  }
  const best = partners.reduce((most, partner) => (partner.agreement > most.agreement ? partner : most));
  return best.members.length < needed ? undefined : best;
}

/** From pictures that agree in a window to all that agree in the mark of which it is a part. */
function growMark(fields: readonly Float32Array[], seed: readonly Member[]): Mark | undefined {
  let members = seed;
  for (let round = 0; round < ROUNDS; round++) {
    const shared = templateOf(fields, members);
    // A picture is held against what the others have in common, or it would agree with itself.
    const next = fields.flatMap((field, place): Member[] => {
      const others = members.filter((member) => member.place !== place);
      const likeness = likenessTo(others.length < members.length ? templateOf(fields, others) : shared, field);
      return Math.abs(likeness) < thresholds.markCorrelation.value ? [] : [{ place, sign: likeness > 0 ? 1 : -1 }];
    });
    if (next.length < thresholds.markMinimum.value) return undefined;
    const isSettled = next.length === members.length && next.every(({ place }, i) => members[i]?.place === place);
    members = next;
    if (isSettled) break;
  }
  return markOf(fields, members);
}
