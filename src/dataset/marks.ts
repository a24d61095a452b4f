/** Marks that stand in the same corner of many pictures, such as watermarks and signatures. Pure. */
import { CORNER_COLUMNS, CORNER_ROWS, cornerNames, type CornerName } from "./measure/corners.ts";
import { thresholds } from "./thresholds.ts";

export interface RepeatedMark {
  readonly corner: CornerName;
  /** Places in the list. */
  readonly pictures: readonly number[];
}

const SIZE = CORNER_COLUMNS * CORNER_ROWS;
/** Pictures that are compared each with each; the others are compared with what these have in common. */
const MAX_SAMPLE = 120;
/** Root mean square of a corner below which there is nothing in it, in grey levels. */
const FAINTEST = 1.2;
/** Rounds of averaging the pictures that share the mark and looking again which do. */
const ROUNDS = 3;

/**
 * @param corners of each picture, see `measureCorners`
 * @param groups copies of each other, which share everything and so no mark: only the first of each is looked at
 */
export function findMarks(corners: readonly Int8Array[], groups: readonly (readonly number[])[]): readonly RepeatedMark[] {
  const repeated = new Set(groups.flatMap((group) => group.slice(1)));
  const groupOf = new Map(groups.flatMap((group) => group.map((index) => [index, group] as const)));
  const distinct = [...corners.keys()].filter((index) => !repeated.has(index));
  return cornerNames.flatMap((corner, place) => {
    const patchOf = (index: number): Float32Array => normalized(corners[index], place);
    const patches = new Map(distinct.map((index) => [index, patchOf(index)]));
    const found = findShared(patches);
    const pictures = found.flatMap((index) => groupOf.get(index) ?? [index]).sort((a, b) => a - b);
    const isMany = found.length >= Math.max(thresholds.markMinimum.value, thresholds.markShare.value * distinct.length);
    return isMany ? [{ corner, pictures: [...new Set(pictures)] }] : [];
  });
}

/** A corner of length 1, or of zeros where nothing is in it. */
function normalized(corners: Int8Array | undefined, place: number): Float32Array {
  const patch = Float32Array.from(corners?.subarray(place * SIZE, (place + 1) * SIZE) ?? new Int8Array(SIZE), compress);
  const length = Math.sqrt(patch.reduce((sum, value) => sum + value * value, 0));
  return length < FAINTEST * Math.sqrt(SIZE) * 0.5 ? new Float32Array(SIZE) : patch.map((value) => value / length);
}

/** Strong edges of the picture would outweigh a faint mark. */
function compress(value: number): number {
  return Math.sign(value) * Math.min(12, Math.abs(value));
}

/** Pictures whose patch is like that of the picture that most others are like. */
function findShared(patches: ReadonlyMap<number, Float32Array>): readonly number[] {
  const all = [...patches.entries()];
  const step = Math.max(1, all.length / MAX_SAMPLE);
  const sample = Array.from({ length: Math.min(all.length, MAX_SAMPLE) }, (_, i) => all[Math.floor(i * step)]?.[1]);
  const limit = thresholds.markCorrelation.value;
  let seed: { template: Float32Array; partners: number } | undefined;
  for (const candidate of sample) {
    if (!candidate) continue;
    const partners = sample.filter((other) => other && other !== candidate && dot(candidate, other) >= limit).length;
    if (partners > (seed?.partners ?? 1)) seed = { template: candidate, partners };
  }
  if (!seed) return [];
  let members: number[] = [];
  let template = seed.template;
  for (let round = 0; round < ROUNDS; round++) {
    // The mean of many is cleaner than any one: what the pictures show behind the mark averages out.
    members = all.filter(([, patch]) => dot(template, patch) >= limit).map(([index]) => index);
    template = meanOf(members.flatMap((index) => patches.get(index) ?? []));
  }
  return members;
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < SIZE; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}

function meanOf(patches: readonly Float32Array[]): Float32Array {
  const sum = new Float32Array(SIZE);
  for (const patch of patches) for (let i = 0; i < SIZE; i++) sum[i] = (sum[i] ?? 0) + (patch[i] ?? 0);
  const length = Math.sqrt(dot(sum, sum));
  return sum.map((value) => value / Math.max(1e-9, length));
}
