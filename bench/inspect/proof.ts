/** Precision and recall of every check that looks at pixels, on planted faults: `npm run bench -- inspect-proof`. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspectDataset } from "../../src/dataset/inspect.ts";
import type { DatasetReport } from "../../src/dataset/report.ts";
import { UserError } from "../../src/errors.ts";
import { type Claim, row } from "../claim.ts";
import { captionProof } from "./captions.ts";
import { describeTally, judgeCopies, judgeMarks, judgePictures, type Tally } from "./judge.ts";
import { markSets, type Planted, plantCopies, plantMarks, plantPictures, type Write } from "./plant.ts";
import { drawSheet } from "./proof-sheet.ts";
import { type Part, parts, pictureFolder } from "./sources.ts";
import { findViews, type View } from "./views.ts";

export const inspectProof: Claim = {
  onlyWhenNamed: true,
  name: "inspect-proof",
  about:
    "precision and recall of every check of gesso inspect, on planted faults; takes minutes and needs bench/inspect/pictures.ts",
  async run({ machine, part: named }) {
    const views = await findViews();
    const lines = ["gesso inspect on planted faults", ...machine];
    for (const part of chooseParts(named)) {
      const own = views.filter((view) => view.part === part);
      const found = [row(part, `${own.length} views; ${meanings[part]}`), ...(await provePart(part, own))];
      // Each part takes minutes.
      console.error(found.join("\n"));
      lines.push(...found);
    }
    lines.push(
      row(
        "captions",
        "words planted in descriptions, tags and sentences that come with packages. Of WordNet and of 'other words' some that were missed were added to the checks' lists after; 'words apart' were only counted",
      ),
    );
    lines.push(...captionProof().map(describeTally));
    return lines;
  },
};

/** @throws UserError for a name that is none */
function chooseParts(named: string | undefined): readonly Part[] {
  if (named === undefined) return parts;
  if (named === "captions") return [];
  const chosen = parts.filter((part) => part === named);
  if (chosen.length > 0) return chosen;
  throw new UserError(`--part is ${named}.`, { fix: `Give one of ${parts.join(", ")}, captions.`, exitCode: 2 });
}

const meanings: Readonly<Record<Part, string>> = {
  tune: "thresholds were set on these",
  test: "no threshold was set on these, but results on them were seen while the checks were made",
  blind: "other sources, measured when the checks were finished first; what fell short was changed since",
  fresh: "other sources again, measured once when they were finished for the second time; what fell short was changed since",
  apart: "other sources again, measured after all changes, and nothing changed since",
};

async function provePart(part: Part, views: readonly View[]): Promise<readonly string[]> {
  const planted = new Map<string, Planted>();
  const reports: DatasetReport[] = [];
  const sides = [...new Set(views.map(({ trainedAtPx }) => trainedAtPx))];
  for (const side of sides) {
    const own = views.filter(({ trainedAtPx }) => trainedAtPx === side);
    const { truth, report } = await inspectPlanted(side, (write) => plantPictures(own, write));
    for (const [name, picture] of truth) planted.set(name, picture);
    reports.push(report);
  }
  const pictures = judgePictures(reports, planted);
  const copies = await inspectPlanted(512, (write) => plantCopies(views, write));
  const sets: { report: DatasetReport; marked: ReadonlySet<string> }[] = [];
  for (let set = 0; set < markSets; set++) {
    const { truth, report } = await inspectPlanted(512, (write) => plantMarks(views, set, write));
    sets.push({ report, marked: truth });
  }
  const tallies: readonly Tally[] = [...pictures, ...judgeCopies(copies.report, copies.truth), judgeMarks(sets)];
  const sheet = join(pictureFolder, `unjudged-${part}.png`);
  const shown = await drawSheet(sheet, pictures, planted);
  return [
    ...tallies.map(describeTally),
    ...(shown === 0
      ? []
      : [`    the ${shown} views that were found without a planted fault, and of which nothing is known: ${sheet}`]),
  ];
}

/** Writes a folder, inspects it as `gesso inspect` does, and takes it away. */
async function inspectPlanted<T>(
  resolutionPx: number,
  plant: (write: Write) => Promise<T>,
): Promise<{ readonly truth: T; readonly report: DatasetReport }> {
  const folder = await mkdtemp(join(tmpdir(), "gesso-inspect-proof-"));
  try {
    const truth = await plant((name, bytes, extension) => writeFile(join(folder, `${name}.${extension}`), bytes));
    return { truth, report: await inspectFolder(folder, resolutionPx) };
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function inspectFolder(folder: string, resolutionPx: number): Promise<DatasetReport> {
  const target = {
    base: "sdxl",
    family: "sdxl",
    type: "style",
    trigger: undefined,
    resolutionPx,
    bucketStepPx: 64,
    batch: 1,
    captionHabit: "either",
    tokenizer: undefined,
  } as const;
  for await (const event of inspectDataset(folder, { target, cacheFolder: undefined })) {
    if (event.type === "done") return event.report;
  }
  throw new Error("inspectFolder: the inspection ended without a report");
}
