/** Checks for pictures that are in the set more than once. */
import { type CopyKind, groupPairs } from "../compare.ts";
import { type Check, countPictures, type InspectionFacts, percent, type Severity, type Verdict } from "./check.ts";

const memorised =
  "What is shown more often than the rest is learnt by heart (Somepalli et al. 2023), and its weight was not your choice.";

/** By which two pictures are told to be one, as they are or mirrored. */
const likenessThresholds: Check["thresholds"] = [
  "copyHashBits",
  "copyCorrelation",
  "similarColours",
  "copyDetails",
  "copyCorrelationSure",
  "copyColours",
  "copyDetailsSure",
];

export const copyChecks: readonly Check[] = [
  {
    id: "copies.exact",
    title: "the same picture twice",
    why: memorised,
    mend: "Keep one of each, with the better caption.",
    fix: "keeps the first of each",
    thresholds: [],
    judge: (facts) => judgeCopies(facts, ["same file", "same pixels"], "error", "are there more than once, pixel for pixel"),
  },
  {
    id: "copies.altered",
    title: "near copies",
    why: memorised,
    mend: "Keep the best of each: the largest, the sharpest, the least compressed.",
    thresholds: likenessThresholds,
    judge: (facts) => judgeCopies(facts, ["altered"], "warning", "are copies of another but for size, compression or light"),
  },
  {
    id: "copies.mirrored",
    title: "mirrored copies",
    why: "A mirrored copy counts twice like any copy, and teaches that left and right do not matter.",
    mend: "Leave the mirrored ones out; if mirroring is harmless for your subject, train with --flip instead.",
    thresholds: likenessThresholds,
    judge: (facts) => judgeCopies(facts, ["mirrored"], "warning", "are mirror images of another"),
  },
  {
    id: "copies.cut",
    title: "cut out of another",
    why: "Details of the same picture share its light, colours and subject: they count as repeats of it.",
    mend: "Keep them only if the detail is what you want to teach, and lower the repeats of the whole.",
    thresholds: ["cutColours", "cutCorrelation", "cutDetails", "cutBits"],
    judge: (facts) => judgeCopies(facts, ["cut out"], "info", "are cut out of another, or have it with something around it"),
  },
  {
    id: "copies.similar",
    title: "very similar",
    why: "Frames of one film or shots of one second are little more than copies.",
    mend: "Look at them, and keep the best of each if they show the same.",
    thresholds: ["similarHashBits", "similarCorrelation", "similarColours"],
    judge: (facts) => judgeCopies(facts, ["similar"], "info", "look almost alike"),
  },
];

function judgeCopies(facts: InspectionFacts, kinds: readonly CopyKind[], severity: Severity, what: string): readonly Verdict[] {
  const pairs = facts.copies.filter(({ kind }) => kinds.includes(kind));
  if (pairs.length === 0) return [];
  const nameOf = (place: number): string => facts.pictures[place]?.item.name ?? "";
  const groups = groupPairs(facts.pictures.length, pairs).map((group) => group.map(nameOf));
  const pictures = groups.flatMap((group, i) =>
    group.map((name) => {
      const own = pairs.filter(({ a, b }) => nameOf(a) === name || nameOf(b) === name);
      const best = own.reduce(
        (nearest, pair) => (pair.correlation > nearest.correlation ? pair : nearest),
        own[0] ?? pairs[0] ?? NO_PAIR,
      );
      const other = nameOf(best.a) === name ? nameOf(best.b) : nameOf(best.a);
      const agreement =
        best.correlation === 1 ? best.kind : `${percent(best.correlation)} alike, ${best.distance} of 64 bits differ`;
      return { name, measured: `group ${i + 1}, as ${other}: ${agreement}` };
    }),
  );
  return [{ severity, message: `${countPictures(pictures.length)} ${what}.`, pictures, groups }];
}

const NO_PAIR = { a: 0, b: 0, kind: "similar", distance: 64, correlation: 0 } as const;
