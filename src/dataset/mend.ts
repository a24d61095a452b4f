/** Carries out the mends that need no judgement, into a copy of the dataset. The user's own files are never touched. */
import { constants } from "node:fs";
import { copyFile, mkdir, readdir } from "node:fs/promises";
import { basename, dirname, extname, join, relative, resolve } from "node:path";
import { UserError } from "../errors.ts";
import { explainWriteError, writeFileAtomically } from "../formats/atomic.ts";
import { decodePixels, type Pixels, writePng } from "../formats/images.ts";
import { insertTrigger } from "./captions.ts";
import { bordersToTrim } from "./checks/pixels.ts";
import { describeCaption } from "./caption-facts.ts";
import { measureBorders, type Borders } from "./measure/borders.ts";
import type { DatasetReport, PictureReport } from "./report.ts";

/** What was done, in the order in which it was done. */
export interface MendReport {
  readonly folder: string;
  /** Pictures in the copy. */
  readonly pictures: number;
  readonly dropped: readonly { readonly name: string; readonly copyOf: string }[];
  readonly trimmed: readonly { readonly name: string; readonly borders: Borders }[];
  readonly triggerAdded: readonly string[];
  readonly triggerCorrected: readonly { readonly name: string; readonly from: string }[];
}

/**
 * Copies the dataset of a report into a new folder: of exact copies only the first (the one with the longest caption first), bars and
 * frames on both sides cut off (as PNG, so that nothing is lost), the trigger word in front of captions that lack it and spelt right in those that
 * misspell it. Captions become .txt files. Repeats keep their folders; masks come along where the picture is not cut.
 *
 * @throws UserError when the folder exists with files in it, or lies inside the dataset
 */
export async function mendDataset(report: DatasetReport, out: string): Promise<MendReport> {
  await openFolder(report.folder, out);
  const dropped = await chooseDropped(report);
  const left = report.pictures.filter(({ name }) => !dropped.has(name));
  const trimmed: { name: string; borders: Borders }[] = [];
  const triggerAdded: string[] = [];
  const triggerCorrected: { name: string; from: string }[] = [];
  // Two endings of one name keep them, so that none is written over the other.
  const isShared = (picture: PictureReport): boolean => picture.path.endsWith(picture.name);
  for (const picture of left) {
    const target = join(out, relative(report.folder, picture.path));
    await mkdir(dirname(target), { recursive: true });
    const borders =
      picture.findings.includes("frame.border") && !isShared(picture) ? await trimPicture(picture.path, target) : undefined;
    if (borders) trimmed.push({ name: picture.name, borders });
    else await copyNew(picture.path, target);
    const { caption, change } = mendCaption(picture.caption, report.target.trigger);
    if (change === "added") triggerAdded.push(picture.name);
    else if (change !== undefined) triggerCorrected.push({ name: picture.name, from: change.from });
    if (caption !== "") await writeCaption(target, caption);
    if (!borders) await copyMask(picture.path, target);
  }
  return {
    folder: out,
    pictures: left.length,
    dropped: [...dropped].map(([name, copyOf]) => ({ name, copyOf })),
    trimmed,
    triggerAdded,
    triggerCorrected,
  };
}

async function openFolder(dataset: string, out: string): Promise<void> {
  const inside = relative(resolve(dataset), resolve(out));
  if (!inside.startsWith("..") && !/^([a-z]:|[\\/])/i.test(inside)) {
    throw new UserError(`${out} lies inside the dataset ${dataset}.`, { fix: "Give a folder beside it." });
  }
  const entries = await readdir(out).catch(() => []);
  if (entries.length > 0) {
    throw new UserError(`${out} holds ${entries.length} files already.`, { fix: "Give a new folder: nothing is overwritten." });
  }
  await mkdir(out, { recursive: true }).catch((error: unknown) => {
    throw explainWriteError(error, out);
  });
}

/** Of each group of exact copies all but the picture with the longest caption: name -> the one that stays. */
async function chooseDropped({ findings, pictures }: DatasetReport): Promise<ReadonlyMap<string, string>> {
  const byName = new Map(pictures.map((picture) => [picture.name, picture]));
  const dropped = new Map<string, string>();
  for (const group of findings.filter(({ id }) => id === "copies.exact").flatMap((finding) => finding.groups)) {
    const members = group.flatMap((name) => byName.get(name) ?? []);
    const kept = members.reduce(
      (best, picture) => (picture.caption.length > (best?.caption.length ?? -1) ? picture : best),
      members[0],
    );
    for (const picture of members) {
      if (kept && picture !== kept && (await isSame(picture, kept))) dropped.set(picture.name, kept.name);
    }
  }
  return dropped;
}

/** The inspection goes by a hash of some rows; before a picture is left out, all of it is compared. */
async function isSame(a: PictureReport, b: PictureReport): Promise<boolean> {
  if (a.hash === b.hash) return true;
  const [first, second] = [await decodePixels(a.path), await decodePixels(b.path)];
  return first.widthPx === second.widthPx && Buffer.compare(first.data, second.data) === 0;
}

async function copyNew(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_EXCL).catch((error: unknown) => {
    throw explainWriteError(error, to);
  });
}

/** The mask beside a picture, where there is one. */
async function copyMask(from: string, to: string): Promise<void> {
  const maskOf = (path: string): string => `${path.slice(0, -extname(path).length)}.mask.png`;
  await copyFile(maskOf(from), maskOf(to), constants.COPYFILE_EXCL).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw explainWriteError(error, maskOf(to));
  });
}

const MIXED_PX = 2;

/** Writes the picture without its bars as PNG under its own name. Undefined, and nothing written, where there are none. */
async function trimPicture(from: string, to: string): Promise<Borders | undefined> {
  const pixels = await decodePixels(from);
  const { widthPx, heightPx } = pixels;
  const borders = bothSides(bordersToTrim({ measurement: { borders: measureBorders(pixels), widthPx, heightPx } }));
  if (!borders) return undefined;
  // Compression and resizing mix the bar into the lines next to it.
  const wider = (px: number): number => (px > 0 ? px + MIXED_PX : 0);
  const { leftPx, topPx, rightPx, bottomPx } = borders;
  const cut = { leftPx: wider(leftPx), topPx: wider(topPx), rightPx: wider(rightPx), bottomPx: wider(bottomPx) };
  await writePng(`${to.slice(0, -extname(to).length)}.png`, cutOff(pixels, cut));
  return cut;
}

/** A bar on one side alone may be a wall or a table's edge: that is for a person to cut. */
function bothSides(borders: Borders | undefined): Borders | undefined {
  if (!borders) return undefined;
  const isAcross = Math.min(borders.leftPx, borders.rightPx) > 0;
  const isDown = Math.min(borders.topPx, borders.bottomPx) > 0;
  if (!isAcross && !isDown) return undefined;
  return {
    leftPx: isAcross ? borders.leftPx : 0,
    topPx: isDown ? borders.topPx : 0,
    rightPx: isAcross ? borders.rightPx : 0,
    bottomPx: isDown ? borders.bottomPx : 0,
  };
}

function cutOff({ widthPx, heightPx, channels, data }: Pixels, { leftPx, topPx, rightPx, bottomPx }: Borders): Pixels {
  const width = widthPx - leftPx - rightPx;
  const height = heightPx - topPx - bottomPx;
  const out = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    const from = ((y + topPx) * widthPx + leftPx) * channels;
    out.set(data.subarray(from, from + width * channels), y * width * channels);
  }
  return { widthPx: width, heightPx: height, channels, data: out };
}

/** A caption with the trigger word as it should be, and what was changed. */
function mendCaption(
  text: string,
  trigger: string | undefined,
): { caption: string; change: "added" | { readonly from: string } | undefined } {
  const place = describeCaption(text, { trigger, tokenizer: undefined }).trigger;
  // A picture without a caption keeps none, or the trigger word alone would hide that it lacks one.
  if (trigger === undefined || place === undefined || text === "") return { caption: text, change: undefined };
  if (place.at === "variant") return { caption: text.replace(place.variant, trigger), change: { from: place.variant } };
  if (place.at !== "absent") return { caption: text, change: undefined };
  const { caption, isAdded } = insertTrigger(text, trigger);
  return { caption, change: isAdded ? "added" : undefined };
}

async function writeCaption(picture: string, caption: string): Promise<void> {
  const path = join(dirname(picture), `${basename(picture, extname(picture))}.txt`);
  await writeFileAtomically(path, (write) => write(Buffer.from(`${caption}\n`)));
}
