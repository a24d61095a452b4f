/** What of the planted faults an inspection found, and what it found besides. */
import type { DatasetReport } from "../../src/dataset/report.ts";
import { row } from "../claim.ts";
import { copyFaults, faults } from "./faults.ts";
import type { Planted, PlantedCopy } from "./plant.ts";

/** What is to be found, and what was; files by name. */
export interface Tally {
  readonly check: string;
  readonly right: number;
  readonly missed: readonly string[];
  readonly wrong: readonly string[];
  /** Found in pictures of which nothing is known in this respect, see `isKnown`: on the sheet, for a person to judge. */
  readonly unjudged?: readonly string[];
  /** Without the fault, looked at for false alarms; where it is not those with other faults. */
  readonly looked?: number;
}

export function judgePictures(reports: readonly DatasetReport[], planted: ReadonlyMap<string, Planted>): readonly Tally[] {
  const foundByCheck = (check: string): ReadonlySet<string> => new Set(reports.flatMap((report) => foundBy(report, check)));
  return [...new Set(faults.map(({ check }) => check))].map((check) => {
    const found = foundByCheck(check);
    const own = [...planted].filter(([, { fault }]) => fault?.check === check);
    const isRight = ([name, { fault }]: readonly [string, Planted]): boolean =>
      found.has(name) || (fault?.or ?? []).some((other) => foundByCheck(other).has(name));
    const others = [...planted].filter(
      ([name, { fault }]) => found.has(name) && fault?.check !== check && !fault?.also.includes(check),
    );
    return {
      check,
      right: own.filter(isRight).length,
      missed: own.filter((picture) => !isRight(picture)).map(([name]) => name),
      wrong: others.filter(([, picture]) => isKnown(picture, check)).map(([name]) => name),
      unjudged: others.filter(([, picture]) => !isKnown(picture, check)).map(([name]) => name),
    };
  });
}

/**
 * Whether a view is known to be without the fault that a check looks for, by something that no check sees: that it lost detail when it
 * was made smaller, that it was published as a photograph or painting of something, that its source
 * was compressed little.
 */
function isKnown({ view, isSharp }: Planted, check: string): boolean {
  if (check.startsWith("sharpness.")) return isSharp;
  if (check.startsWith("exposure.") || check.startsWith("content."))
    return view.kind === "photograph" || view.kind === "painting";
  if (check === "compression.jpeg") return view.shrunk >= 1.9 || (view.jpegQuality ?? 100) >= 75;
  // Drawings stand on paper: what is square and stands on paper has a frame.
  if (check === "frame.border") return view.kind !== "drawing";
  if (check === "resolution.small") return view.widthPx * view.heightPx >= 0.97 * view.trainedAtPx ** 2;
  return true;
}

export function foundBy({ findings }: DatasetReport, check: string): readonly string[] {
  return findings.filter(({ id }) => id === check).flatMap(({ pictures }) => pictures.map(({ name }) => name));
}

const kinds = {
  "same file": "copies.exact",
  "same pixels": "copies.exact",
  altered: "copies.altered",
  mirrored: "copies.mirrored",
  "cut out": "copies.cut",
  similar: "copies.similar",
} as const;

export function judgeCopies(report: DatasetReport, planted: ReadonlyMap<string, PlantedCopy>): readonly Tally[] {
  const originalOf = (name: string): string => planted.get(name)?.original ?? name;
  return [...new Set(copyFaults.map(({ check }) => check))].map((check) => {
    const own = [...planted].filter(([, copy]) => copy.check === check).map(([name]) => name);
    const pairs = report.copies.filter(({ kind }) => kinds[kind] === check);
    const isFound = (name: string): boolean =>
      pairs.some(({ a, b }) => (a === name && b === originalOf(name)) || (b === name && a === originalOf(name)));
    // A pair of two copies of one view is right whatever it is called.
    const wrong = pairs.filter(({ a, b }) => originalOf(a) !== originalOf(b)).map(({ a, b }) => `${a} = ${b}`);
    return { check, right: own.filter(isFound).length, missed: own.filter((name) => !isFound(name)), wrong };
  });
}

export function judgeMarks(sets: readonly { readonly report: DatasetReport; readonly marked: ReadonlySet<string> }[]): Tally {
  const tallies = sets.map(({ report, marked }) => {
    const found = new Set(foundBy(report, "marks.corner"));
    const right = [...marked].filter((name) => found.has(name));
    return {
      right: right.length,
      missed: [...marked].filter((name) => !found.has(name)),
      wrong: [...found].filter((name) => !marked.has(name)),
    };
  });
  return {
    check: "marks.corner",
    right: tallies.reduce((sum, { right }) => sum + right, 0),
    missed: tallies.flatMap(({ missed }) => missed),
    wrong: tallies.flatMap(({ wrong }) => wrong),
  };
}

/** A line, and more with the names where something is amiss. */
export function describeTally({ check, right, missed, wrong, unjudged = [], looked }: Tally): string {
  const precision = right + wrong.length === 0 ? NaN : right / (right + wrong.length);
  const recall = right + missed.length === 0 ? NaN : right / (right + missed.length);
  const isBelow = precision < 0.95 || recall < 0.95;
  const more = unjudged.length > 0 ? `, ${unjudged.length} on the sheet` : looked === undefined ? "" : `, ${looked} without`;
  const planted = `${right + missed.length} planted${more}`;
  const lines = [
    `    ${check.padEnd(22)} precision ${precision.toFixed(3)}  recall ${recall.toFixed(3)}  (${planted})${isBelow ? "  BELOW 0.95" : ""}`,
    ...(isBelow ? [listNames("missed", missed), listNames("wrong", wrong)].flat() : []),
  ];
  return lines.join("\n");
}

function listNames(title: string, names: readonly string[]): readonly string[] {
  if (names.length === 0) return [];
  const more = names.length > 8 ? ` and ${names.length - 8} more` : "";
  return [row("", `             ${title}: ${names.slice(0, 8).join(", ")}${more}`)];
}
