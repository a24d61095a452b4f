/** Precision and recall of every check that looks at pixels, on planted faults: `npm run bench -- inspect-proof`. */
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { inspectDataset } from "../../src/dataset/inspect.ts";
import type { DatasetReport } from "../../src/dataset/report.ts";
import { type Claim, row } from "../claim.ts";
import { captionProof } from "./captions.ts";
import { copyFaults, faults, markSvg } from "./faults.ts";
import { findViews, isNatural, type View } from "./sources.ts";

const target = {
  base: "sdxl",
  family: "sdxl",
  type: "style",
  trigger: undefined,
  resolutionPx: 1024,
  bucketStepPx: 64,
  batch: 1,
  captionHabit: "either",
  tokenizer: undefined,
} as const;

/** What is to be found, what may be, and what was. */
export interface Tally {
  readonly check: string;
  readonly right: number;
  readonly missed: readonly string[];
  readonly wrong: readonly string[];
  /** Found in pictures that are labelled to be so by themselves: wrong in the strict count, left out of the other. */
  readonly excused?: number;
}

export const inspectProof: Claim = {
  onlyWhenNamed: true,
  name: "inspect-proof",
  about:
    "precision and recall of every check of gesso inspect, on planted faults; takes minutes and needs bench/inspect/pictures.ts",
  async run({ machine }) {
    const views = await findViews();
    const lines = ["gesso inspect on planted faults", ...machine];
    for (const half of ["tune", "test"] as const) {
      const own = views.filter((view) => view.half === half);
      const what =
        half === "tune"
          ? "thresholds were set on these"
          : "no threshold was set on these, but results on them were seen while the checks were made";
      lines.push(row(half, `${own.length} pictures, each from a source of its own; ${what}`));
      const tallies = [...(await provePictures(own)), ...(await proveCopies(own)), await proveMarks(own)];
      // The other half takes minutes more.
      console.error(`${half}\n${tallies.map(describeTally).join("\n")}`);
      lines.push(...tallies.map(describeTally));
    }
    lines.push(
      row(
        "captions",
        "faults planted with words of the lists that the checks go by: shows false alarms, not how much the lists cover",
      ),
    );
    lines.push(...captionProof().map(describeTally));
    return lines;
  },
};

function describeTally({ check, right, missed, wrong, excused = 0 }: Tally): string {
  const precision = right + wrong.length === 0 ? NaN : right / (right + wrong.length);
  const strict = right / Math.max(1, right + wrong.length + excused);
  const recall = right + missed.length === 0 ? NaN : right / (right + missed.length);
  const list = (title: string, names: readonly string[]): string =>
    names.length === 0
      ? ""
      : `  ${title}: ${names.slice(0, 4).join(", ")}${names.length > 4 ? ` and ${names.length - 4} more` : ""}`;
  const isBelow = strict < 0.95 || recall < 0.95;
  return `    ${check.padEnd(24)} precision ${strict.toFixed(3)}${excused > 0 ? ` (${precision.toFixed(3)} without ${excused} labelled by eye)` : ""}  recall ${recall.toFixed(3)}  (${right + missed.length} planted)${isBelow ? "  BELOW 0.95" : ""}${list("missed", missed)}${list("wrong", wrong)}`;
}

/** 0..1, the same for the same words. */
function chance(...words: readonly string[]): number {
  return createHash("sha256").update(words.join("/")).digest().readUInt32BE(0) / 2 ** 32;
}

/** Each view clean, and with every third fault; all in one folder, read as a user's would be. */
async function provePictures(views: readonly View[]): Promise<readonly Tally[]> {
  const planted = new Map<string, (typeof faults)[number] | undefined>();
  const report = await inspectPlanted(async (write) => {
    for (const [i, view] of views.entries()) {
      const clean = await view.png();
      await write(view.name, await sharp(clean).jpeg({ quality: 93 }).toBuffer(), "jpg");
      planted.set(view.name, undefined);
      for (const [k, fault] of faults.entries()) {
        if ((i + k) % 3 !== 0) continue;
        const { bytes, extension } = await fault.plant(clean, view, chance(view.name, fault.name));
        await write(`${view.name}.${k}`, bytes, extension);
        planted.set(`${view.name}.${k}`, fault);
      }
    }
  });
  return [...new Set(faults.map(({ check }) => check))].map((check) => {
    const found = new Set(
      report.findings.filter(({ id }) => id === check).flatMap(({ pictures }) => pictures.map(({ name }) => name)),
    );
    const all = [...planted];
    const missed = all.filter(([name, fault]) => fault?.check === check && !found.has(name)).map(([name]) => name);
    const right = all.filter(([name, fault]) => fault?.check === check && found.has(name)).length;
    const others = all.filter(([name, fault]) => found.has(name) && fault?.check !== check && !fault?.also.includes(check));
    // Sources under the target's size are small without a fault.
    const wrong = others.map(([name]) => name).filter((name) => check !== "resolution.small" || isLargeEnough(views, name));
    const excused = wrong.filter((name) => isNatural(name, check));
    return { check, right, missed, wrong: wrong.filter((name) => !excused.includes(name)), excused: excused.length };
  });
}

function isLargeEnough(views: readonly View[], name: string): boolean {
  const view = views.find((own) => name.startsWith(own.name));
  return view !== undefined && view.widthPx * view.heightPx >= 1.02 * 1024 * 1024;
}

/** All views once, and each with one or two of the copies. */
async function proveCopies(views: readonly View[]): Promise<readonly Tally[]> {
  const planted = new Map<string, string>();
  const report = await inspectPlanted(async (write) => {
    for (const [i, view] of views.entries()) {
      const clean = await view.png();
      await write(view.name, clean, "png");
      for (const [k, fault] of copyFaults.entries()) {
        if ((i + k) % 3 !== 0) continue;
        const name = `${view.name}.${k}`;
        const { bytes, extension } = await fault.plant(clean, view, chance(view.name, fault.name));
        await write(name, bytes, extension);
        planted.set(name, fault.check);
      }
    }
  });
  const originalOf = (name: string): string => name.replace(/\.\d$/, "");
  const kinds = {
    "same file": "copies.exact",
    "same pixels": "copies.exact",
    altered: "copies.altered",
    mirrored: "copies.mirrored",
    "cut out": "copies.cut",
    similar: "copies.similar",
  } as const;
  return [...new Set(copyFaults.map(({ check }) => check))].map((check) => {
    const own = [...planted].filter(([, wanted]) => wanted === check).map(([name]) => name);
    const pairs = report.copies.filter(({ kind }) => kinds[kind] === check);
    const isFound = (name: string): boolean =>
      pairs.some(({ a, b }) => (a === name && b === originalOf(name)) || (b === name && a === originalOf(name)));
    // A pair of two copies of one view is right whatever it is called.
    const wrong = pairs.filter(({ a, b }) => originalOf(a) !== originalOf(b)).map(({ a, b }) => `${a} = ${b}`);
    return { check, right: own.filter(isFound).length, missed: own.filter((name) => !isFound(name)), wrong };
  });
}

const setSize = 20;
const marks = ["© Studio Lumen", "photos.example.org", "A. Painter 24", "STOCKPIX"];

/** Sets of 20 views: a third without a mark, the others with one on 30 to 60 % of them. Pictures are counted, not sets. */
async function proveMarks(views: readonly View[]): Promise<Tally> {
  let right = 0;
  const missed: string[] = [];
  const wrong: string[] = [];
  for (let set = 0; set < 6; set++) {
    const own = views.filter((_, i) => (i + set * 3) % Math.max(1, Math.floor(views.length / setSize)) === 0).slice(0, setSize);
    const share = set % 3 === 0 ? 0 : 0.3 + 0.3 * chance("share", String(set));
    const marked = new Set<string>();
    const report = await inspectPlanted(async (write) => {
      for (const [i, view] of own.entries()) {
        const name = `${view.name}.${set}`;
        const text = marks[set % marks.length] ?? "";
        const layers = i < share * own.length ? [{ input: markSvg(view, text, (set * 3) % 4, 0.55 + 0.4 * chance(text)) }] : [];
        if (layers.length > 0) marked.add(name);
        await write(
          name,
          await sharp(await view.png())
            .composite(layers)
            .jpeg({ quality: 90 })
            .toBuffer(),
          "jpg",
        );
      }
    });
    const found = new Set(
      report.findings.filter(({ id }) => id === "marks.corner").flatMap(({ pictures }) => pictures.map(({ name }) => name)),
    );
    right += [...marked].filter((name) => found.has(name)).length;
    missed.push(...[...marked].filter((name) => !found.has(name)));
    wrong.push(...[...found].filter((name) => !marked.has(name)));
  }
  return { check: "marks.corner", right, missed, wrong };
}

type Write = (name: string, bytes: Buffer, extension: string) => Promise<void>;

/** Writes a folder, inspects it as `gesso inspect` does, and takes it away. */
async function inspectPlanted(plant: (write: Write) => Promise<void>): Promise<DatasetReport> {
  const folder = await mkdtemp(join(tmpdir(), "gesso-inspect-proof-"));
  try {
    await plant((name, bytes, extension) => writeFile(join(folder, `${name}.${extension}`), bytes));
    for await (const event of inspectDataset(folder, { target, cacheFolder: undefined })) {
      if (event.type === "done") return event.report;
    }
    throw new Error("inspectPlanted: the inspection ended without a report");
  } finally {
    await rm(folder, { recursive: true });
  }
}
