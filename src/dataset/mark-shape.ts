/** What pictures have in common in a corner, how like it another picture is, and whether it is a mark at all. Pure. */
import { meanOf } from "./mark-fields.ts";
import { CORNER_COLUMNS, CORNER_ROWS } from "./measure/corners.ts";
import { thresholds } from "./thresholds.ts";

export const SIZE = CORNER_COLUMNS * CORNER_ROWS;

/**
 * A picture that has the mark, and how: white letters with a dark outline are light on a dark ground, and dark on a white one, so that
 * the same mark is seen with either sign.
 */
export interface Member {
  readonly place: number;
  readonly sign: 1 | -1;
}

export interface Mark {
  /** [rows, columns]: the mean field of its members, 0 outside the mark. */
  readonly template: Float32Array;
  /** Cells of the mark. */
  readonly cells: readonly number[];
  /** Cells of the mark and around it, and how much stands out there in the members, less the mean and of length 1. */
  readonly area: Int32Array;
  readonly strength: Float32Array;
  readonly members: readonly Member[];
}

/** The mean of a cell must differ from 0 by so many standard deviations of a mean by chance, and by so much. */
const CERTAIN = 1.2;
const LEAST_MEAN = 0.35;
/** Of the 5 x 5 cells around a cell of the mark so many belong to it. */
const NEIGHBOURS = 7;

/** What these pictures have in common. */
export function markOf(fields: readonly Float32Array[], members: readonly Member[]): Mark {
  const { template, cells } = templateOf(fields, members);
  const isNear = new Uint8Array(SIZE);
  for (const at of cells) forNeighbours(at, (near) => (isNear[near] = 1));
  const area = Int32Array.from(isNear.keys()).filter((at) => isNear[at] === 1);
  const strength = Float32Array.from(area, (at) =>
    members.reduce((sum, { place }) => sum + Math.abs(fields[place]?.[at] ?? 0), 0),
  );
  return { template, cells, area, strength: normalized(strength), members };
}

/** The mean of these pictures where it is no chance, and its cells. */
export function templateOf(fields: readonly Float32Array[], members: readonly Member[]): Pick<Mark, "template" | "cells"> {
  const mean = meanOf(members.flatMap(({ place, sign }) => (fields[place] ? [{ field: fields[place], sign }] : [])));
  const least = Math.max(LEAST_MEAN, CERTAIN / Math.sqrt(members.length));
  const isStrong = Uint8Array.from(mean, (value) => (Math.abs(value) >= least ? 1 : 0));
  const template = new Float32Array(SIZE);
  const cells: number[] = [];
  for (const [at, value] of mean.entries()) {
    if (isStrong[at] !== 1) continue;
    let near = 0;
    forNeighbours(at, (other) => (near += isStrong[other] ?? 0));
    if (near < NEIGHBOURS) continue;
    template[at] = value;
    cells.push(at);
  }
  return { template, cells };
}

/** Cells within two of a cell, itself among them. */
function forNeighbours(at: number, visit: (near: number) => unknown): void {
  const [x, y] = [at % CORNER_COLUMNS, Math.floor(at / CORNER_COLUMNS)];
  for (let v = Math.max(0, y - 2); v <= Math.min(CORNER_ROWS - 1, y + 2); v++) {
    for (let u = Math.max(0, x - 2); u <= Math.min(CORNER_COLUMNS - 1, x + 2); u++) visit(v * CORNER_COLUMNS + u);
  }
}

function normalized(values: Float32Array): Float32Array {
  const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  const centred = values.map((value) => value - mean);
  const length = Math.sqrt(centred.reduce((sum, value) => sum + value * value, 0));
  return centred.map((value) => value / Math.max(1e-9, length));
}

/** Correlation of a field with the mark, over the cells of the mark alone: -1 where light and dark are exchanged. */
export function likenessTo({ template, cells }: Pick<Mark, "template" | "cells">, field: Float32Array): number {
  let products = 0;
  let squares = 0;
  let others = 0;
  for (let i = 0; i < cells.length; i++) {
    const at = cells[i] ?? 0;
    const a = template[at] ?? 0;
    const b = field[at] ?? 0;
    products += a * b;
    squares += a * a;
    others += b * b;
  }
  return products / Math.max(1e-9, Math.sqrt(squares * others));
}

/**
 * Whether a picture has the mark. Of a faint likeness, as on grass or on a ground of the mark's own colour, it is asked whether the mark
 * is like this place of the corner and no other: ripples and lines are like letters anywhere.
 */
export function hasMark(mark: Mark, field: Float32Array): boolean {
  const likeness = likenessWith(mark, field);
  if (likeness < thresholds.markFaint.value) return false;
  if (likeness >= SURE) return true;
  const twice = new Float32Array(2 * SIZE);
  twice.set(field);
  twice.set(field, SIZE);
  const least = likeness < thresholds.markLikeness.value ? thresholds.markStandsOut.value : 1;
  return ELSEWHERE.every((from) => likeness >= least * likenessWith(mark, twice.subarray(from, from + SIZE)));
}

/** No picture without a mark is as like it. */
const SURE = 0.6;
/** Where else in the corner the mark is held against the picture, by the first cell; cells beyond an end go on at the other. */
const ELSEWHERE = [-9, -6, 0, 6, 9].flatMap((rows) =>
  [-24, -16, -11, -7, 0, 7, 11, 16, 24].flatMap((columns) => {
    const from = rows * CORNER_COLUMNS + columns;
    return from === 0 ? [] : [(from + SIZE) % SIZE];
  }),
);

/**
 * On a ground of middling light both the letters and their outline show, which is like neither light nor dark letters; but it stands out
 * in the same cells. So both kinds of likeness count.
 */
function likenessWith(mark: Mark, field: Float32Array): number {
  const signed = likenessTo(mark, field);
  // By a loop: sets of thousands come here for every picture.
  const { area, strength } = mark;
  let [products, sum, squares] = [0, 0, 0];
  for (let i = 0; i < area.length; i++) {
    const value = Math.abs(field[area[i] ?? 0] ?? 0);
    products += value * (strength[i] ?? 0);
    sum += value;
    squares += value * value;
  }
  // The strengths have no mean, so that the field's need not be taken off.
  const unsigned = products / Math.sqrt(Math.max(1e-9, squares - (sum * sum) / area.length));
  return Math.hypot(signed, Math.max(0, unsigned));
}

/** Whether there is enough of it to be no coincidence, it ends within its corner, and it is more than a line or an edge. */
export function isMark({ template, cells, members }: Mark, corner: number): boolean {
  const evidence = cells.length * members.length;
  return evidence >= thresholds.markEvidence.value && isWhole(template, corner) && !isLine(template);
}

/** Cells along the sides that face the picture's middle. */
const INNER = 2;

/**
 * What pictures share and what goes on into them is no mark: the edge of a round face that is drawn at the same place, a frame, a grid
 * on the ground, the horizon.
 */
function isWhole(template: Float32Array, corner: number): boolean {
  let [all, inner] = [0, 0];
  for (const [at, value] of template.entries()) {
    const [x, y] = [at % CORNER_COLUMNS, Math.floor(at / CORNER_COLUMNS)];
    const isInnerRow = corner < 2 ? y >= CORNER_ROWS - INNER : y < INNER;
    all += value * value;
    if (isInnerRow || (corner % 2 === 0 ? x >= CORNER_COLUMNS - INNER : x < INNER)) inner += value * value;
  }
  return inner <= thresholds.markInner.value * all;
}

/** Steps of four to six cells, in eight directions. */
const STEPS = [4, 6].flatMap((length) =>
  Array.from({ length: 8 }, (_, i) => {
    const angle = (Math.PI * i) / 8;
    return [Math.round(length * Math.cos(angle)), Math.round(length * Math.sin(angle))] as const;
  }),
);

/** A line or an edge is like itself a few cells on; letters and emblems are not. */
function isLine(template: Float32Array): boolean {
  const all = template.reduce((sum, value) => sum + value * value, 0);
  return STEPS.some(([dx, dy]) => {
    let products = 0;
    for (const [at, value] of template.entries()) {
      const [x, y] = [(at % CORNER_COLUMNS) + dx, Math.floor(at / CORNER_COLUMNS) + dy];
      if (value !== 0 && x >= 0 && x < CORNER_COLUMNS && y < CORNER_ROWS)
        products += value * (template[y * CORNER_COLUMNS + x] ?? 0);
    }
    return products > thresholds.markLine.value * all;
  });
}
