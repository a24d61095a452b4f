/**
 * Renders the training and measuring pictures of the bundled base model `mini` from emoji sets on npm.
 * Captions are "<subject>, <style> style"; which pictures are held out is a function of their names alone.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, open, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { UserError } from "../../src/errors.ts";
import { renderIcon, writeSheet } from "./render.ts";
import { emojiSets, loadSet } from "./sets.ts";
import type { LoadedSet } from "./sets.ts";
import { subjects } from "./subjects.ts";
import type { Subject } from "./subjects.ts";

const help = `Renders mini's pictures from emoji sets on npm.

Usage: npx tsx scripts/mini/data.ts --out FOLDER [--size PX]
  --out FOLDER   where the pictures go; an old one is replaced
  --size PX      side of a picture (default 128)

First: npm --prefix scripts/mini ci
Example: npx tsx scripts/mini/data.ts --out .cache/mini-data

Written to FOLDER:
  <set>/<subject>.png   the pictures, RGB on white
  metadata.jsonl        file_name, text, subject, style, set, group, split: one picture a line
  pixels.bin            the train split in metadata order, uint8, [picture, channel, row, column]
  pixels.json           shape of pixels.bin and the file name and caption of each row
  sources.json          package, version, author and licence of each set
  sheets/<set>.png      contact sheets`;

/**
 * What mini may see. "heldout-subject": no training picture shows the subject. "heldout-style": mini never sees the set.
 * "heldout-pair": subject and style are both trained, this combination is not.
 */
export type Split = "train" | "heldout-subject" | "heldout-style" | "heldout-pair";

/** One line of metadata.jsonl. */
export interface PictureRow {
  readonly file_name: string;
  readonly text: string;
  readonly subject: string;
  readonly style: string;
  readonly set: string;
  readonly group: string;
  readonly split: Split;
}

interface Picture {
  readonly row: PictureRow;
  readonly set: LoadedSet;
  readonly icon: string;
}

const heldOutSubjectCount = 30;
// 60 of 417 subjects (14 %) are each kept out of two of the training styles.
const heldOutPairSubjectCount = 60;
const heldOutStylesPerSubject = 2;

/** Orders items by a hash of their name: a choice that is fixed and has nothing to do with the item's meaning. */
function shuffleByHash<T>(items: readonly T[], salt: string, name: (item: T) => string): T[] {
  const keyed = items.map((item) => ({
    item,
    key: createHash("sha256")
      .update(`${salt}/${name(item)}`)
      .digest("hex"),
  }));
  return keyed.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ item }) => item);
}

/** Chooses the split of every (subject, set) pair. Only subjects that all training sets have are held out. */
function chooseSplits(sets: readonly LoadedSet[]): (subject: Subject, set: LoadedSet) => Split {
  const trainSets = sets.filter((set) => set.use === "train");
  const inAllSets = subjects.filter((subject) => trainSets.every((set) => set.findIcon(subject) !== undefined));
  const order = shuffleByHash(inAllSets, "held-out subjects", (subject) => subject.slug);
  const heldOut = new Set(order.slice(0, heldOutSubjectCount));
  const pairs = new Map(
    order.slice(heldOutSubjectCount, heldOutSubjectCount + heldOutPairSubjectCount).map((subject) => {
      const missing = shuffleByHash(trainSets, `held-out styles/${subject.slug}`, (set) => set.id);
      return [subject, new Set(missing.slice(0, heldOutStylesPerSubject))];
    }),
  );
  return (subject, set) => {
    if (heldOut.has(subject)) return "heldout-subject";
    if (set.use === "held-out") return "heldout-style";
    return pairs.get(subject)?.has(set) === true ? "heldout-pair" : "train";
  };
}

/** Every picture that the sets hold, set by set. */
function listPictures(sets: readonly LoadedSet[]): Picture[] {
  const splitOf = chooseSplits(sets);
  return sets.flatMap((set) =>
    subjects.flatMap((subject) => {
      const icon = set.findIcon(subject);
      if (icon === undefined) return [];
      const row: PictureRow = {
        file_name: `${set.id}/${subject.slug}.png`,
        text: `${subject.name}, ${set.style} style`,
        subject: subject.name,
        style: set.style,
        set: set.id,
        group: subject.group,
        split: splitOf(subject, set),
      };
      return [{ row, set, icon }];
    }),
  );
}

/** [row, column, channel] -> [channel, row, column]. */
function toPlanes(rgb: Buffer): Buffer {
  const pixels = rgb.length / 3;
  const planes = Buffer.alloc(rgb.length);
  for (let i = 0; i < pixels; i++) for (let c = 0; c < 3; c++) planes[c * pixels + i] = rgb[i * 3 + c] ?? 0;
  return planes;
}

async function renderAll(pictures: readonly Picture[], out: string, sizePx: number): Promise<void> {
  const pixels = await open(join(out, "pixels.bin"), "w");
  const sheets = new Map<string, Buffer[]>();
  for (const { row, set, icon } of pictures) {
    const rgb = await renderIcon(set, icon, sizePx);
    await sharp(rgb, { raw: { width: sizePx, height: sizePx, channels: 3 } })
      .png()
      .toFile(join(out, row.file_name));
    if (row.split === "train") await pixels.write(toPlanes(rgb));
    sheets.set(set.id, [...(sheets.get(set.id) ?? []), rgb]);
  }
  await pixels.close();
  for (const [id, sheet] of sheets) await writeSheet(join(out, "sheets", `${id}.png`), sheet, sizePx, 21);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { out: { type: "string" }, size: { type: "string", default: "128" }, help: { type: "boolean", default: false } },
  });
  if (values.help) return console.log(help);
  const sizePx = Number(values.size);
  if (values.out === undefined || !Number.isInteger(sizePx) || sizePx < 16) {
    throw new UserError("--out is missing, or --size is not a whole number of at least 16.", {
      fix: "run with --help to see an example",
    });
  }
  if (!existsSync(new URL("node_modules/unicode-emoji-json", import.meta.url))) {
    throw new UserError("The emoji packages are not installed.", { fix: "npm --prefix scripts/mini ci" });
  }
  const out = resolve(values.out);
  const sets = emojiSets.map(loadSet);
  for (const set of sets) {
    await rm(join(out, set.id), { recursive: true, force: true });
    await mkdir(join(out, set.id), { recursive: true });
  }
  await mkdir(join(out, "sheets"), { recursive: true });
  const pictures = listPictures(sets);
  await renderAll(pictures, out, sizePx);
  await writeTables(out, sets, pictures, sizePx);
}

async function writeTables(
  out: string,
  sets: readonly LoadedSet[],
  pictures: readonly Picture[],
  sizePx: number,
): Promise<void> {
  const rows = pictures.map(({ row }) => row);
  const train = rows.filter((row) => row.split === "train").map(({ file_name, text }) => ({ file_name, text }));
  const sources = sets.map(({ id, style, use, credit, version, info }) => ({
    package: `@iconify-json/${id}`,
    version,
    style,
    use,
    name: info.name,
    author: info.author,
    license: info.license,
    ...(credit === undefined ? {} : { credit }),
  }));
  const json = (value: unknown): string => JSON.stringify(value, undefined, 2) + "\n";
  await writeFile(join(out, "metadata.jsonl"), rows.map((row) => JSON.stringify(row) + "\n").join(""));
  await writeFile(join(out, "pixels.json"), json({ dtype: "uint8", shape: [train.length, 3, sizePx, sizePx], rows: train }));
  await writeFile(join(out, "sources.json"), json(sources));
  const counts: Record<string, number> = {};
  for (const row of rows) counts[row.split] = (counts[row.split] ?? 0) + 1;
  console.log(`${rows.length} pictures of ${subjects.length} subjects in ${out}: ${JSON.stringify(counts)}`);
}

await main();
