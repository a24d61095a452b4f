/** Finds the pictures of a dataset with their captions, masks and repeats, measures them, and says what is wrong with them. */
import { basename, extname, join } from "node:path";
import { UserError } from "../errors.ts";
import { PICTURE_EXTENSIONS, type PictureHeader, readPictureHeader, verifyPicture } from "../formats/images.ts";
import { readCaptionFile } from "./caption-files.ts";
import { tidyCaption } from "./captions.ts";
import { compare, extensionOf, findGroups, isPicture, MASK_ENDING, stemOf, UNREADABLE_EXTENSIONS } from "./folders.ts";
import type { Group } from "./folders.ts";

/** Something that a person should know about the dataset. */
export interface Finding {
  /** error: the file cannot be used; warning: it can, but probably not as meant; info: worth knowing. */
  readonly severity: "error" | "warning" | "info";
  readonly file: string;
  readonly message: string;
  readonly fix: string;
}

/** Where a caption came from; "none" leaves it empty. */
export type CaptionSource = "text file" | "table" | "folder name" | "default" | "none";

/** One picture. */
export interface DatasetItem {
  readonly path: string;
  /** Path inside the dataset without its ending, with "/": the picture's identity, unique in the dataset. */
  readonly name: string;
  /** Upright: after the rotation that EXIF asks for. */
  readonly widthPx: number;
  readonly heightPx: number;
  /** One line, as written; the trigger word is not put in here. */
  readonly caption: string;
  readonly captionSource: CaptionSource;
  /** How often an epoch shows it (Kohya's `<repeats>_<name>` folders); 1 elsewhere. */
  readonly repeats: number;
  readonly maskPath?: string;
  readonly hasAlpha: boolean;
}

/** A dataset as it was found: items by name, and what is to be known about them. */
export interface Dataset {
  readonly folder: string;
  readonly items: readonly DatasetItem[];
  readonly findings: readonly Finding[];
}

export interface ReadDatasetOptions {
  /** Leave broken files out with a warning instead of refusing the dataset. */
  readonly skipBroken?: boolean;
  /** Decode each picture once to find those that break off in the middle; true by default. */
  readonly verifyPixels?: boolean;
  /** For pictures without a caption of their own. */
  readonly defaultCaption?: string;
}

/** `.txt` is everyone's habit, `.caption` the default of Kohya's sd-scripts; the first that is there counts. */
const CAPTION_ENDINGS: readonly string[] = [".txt", ".caption"];

/**
 * Reads a dataset folder in the layouts that the field uses. Nothing is passed over in silence: a file that cannot be used makes
 * the whole call fail with a list of all such files, or with `skipBroken` becomes a warning.
 *
 * @returns items sorted by name (by UTF-16 code unit, the same on every machine)
 * @throws UserError for a folder that is missing, is a file or has no pictures, and for broken files
 * @example const { items, findings } = await readDataset("./photos");
 */
export async function readDataset(folder: string, options: ReadDatasetOptions = {}): Promise<Dataset> {
  const survey = await surveyDataset(folder, options);
  const { items } = survey;
  const findings = [...survey.findings];
  noteMissingCaptions(folder, items, findings);
  if (options.skipBroken !== true) refuseBroken(folder, findings);
  const told = findings.map((finding) =>
    finding.severity === "error" ? { ...finding, severity: "warning" as const } : finding,
  );
  return { folder, items, findings: told };
}

/**
 * As `readDataset`, but broken files are told among the findings, as errors, and missing captions not at all.
 *
 * @throws UserError where no picture can be used
 */
export async function surveyDataset(folder: string, options: ReadDatasetOptions = {}): Promise<Dataset> {
  const list = await listPictures(folder, options);
  const verifyPixels = options.verifyPixels ?? true;
  const readHeader = async (path: string): Promise<PictureHeader> => {
    const header = await readPictureHeader(path);
    if (verifyPixels) await verifyPicture(path);
    return header;
  };
  const found = await mapConcurrently(list.pictures, 4, (picture) => admitPicture(picture, readHeader, verifyPixels));
  const findings = [...list.findings, ...found.flatMap((result) => result.findings)];
  const items = found.flatMap(({ item }) => (item ? [item] : [])).sort((a, b) => compare(a.name, b.name));
  if (items.length === 0) throw nothingUsable(list, findings, options);
  return { folder, items, findings };
}

/** A picture file before it is opened. */
export interface PictureFile {
  readonly path: string;
  readonly name: string;
  readonly caption: string;
  readonly captionSource: CaptionSource;
  readonly repeats: number;
  readonly maskPath: string | undefined;
}

/** The pictures of a dataset before any is opened, in the order of folders and names. */
export interface PictureList {
  readonly folder: string;
  readonly pictures: readonly PictureFile[];
  readonly findings: readonly Finding[];
  /** Of all files, to say what a folder without pictures holds. */
  readonly files: readonly string[];
}

/** Finds pictures and reads their captions. @throws UserError for a folder that is missing or is a file */
export async function listPictures(folder: string, options: ReadDatasetOptions = {}): Promise<PictureList> {
  const findings: Finding[] = [];
  const groups = await findGroups(folder, findings);
  const pictures = await findPictures(folder, groups, options, findings);
  return { folder, pictures, findings, files: groups.flatMap(({ files }) => files) };
}

async function findPictures(
  folder: string,
  groups: readonly Group[],
  options: ReadDatasetOptions,
  findings: Finding[],
): Promise<PictureFile[]> {
  const pictures: PictureFile[] = [];
  for (const group of groups) {
    const files = group.files.filter(isPicture);
    const stems = countBy(files.map(stemOf));
    const all = new Set(group.files);
    const texts = findTexts(group.files);
    const captions = await mapConcurrently(files, 8, (file) => findCaption(folder, group, file, texts, options));
    for (const [index, file] of files.entries()) {
      const stem = stemOf(file);
      const isShared = (stems.get(stem) ?? 0) > 1;
      const inside = group.folder === "" ? file : `${group.folder}/${file}`;
      const path = join(folder, group.folder, file);
      if (isShared) {
        const message = `${path} shares its name, and so its caption, with another picture.`;
        findings.push({ severity: "warning", file: path, message, fix: "Rename one of them, if they are not meant to." });
      }
      // Two endings of one name keep them, so that each picture has a name of its own.
      const name = isShared ? inside : inside.slice(0, inside.length - extname(file).length);
      const mask = `${stem}${MASK_ENDING}`;
      const maskPath = all.has(mask) ? join(folder, group.folder, mask) : undefined;
      const { caption = "", captionSource = "none", findings: odd = [] } = captions[index] ?? {};
      findings.push(...odd);
      pictures.push({ path, name, caption, captionSource, repeats: group.repeats, maskPath });
    }
    noteOrphans(join(folder, group.folder), group.files, stems, findings);
  }
  return pictures;
}

/** The text files of each stem, in the order of `CAPTION_ENDINGS`. */
function findTexts(files: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const texts = new Map<string, string[]>();
  for (const ending of CAPTION_ENDINGS) {
    for (const file of files.filter((name) => extname(name).toLowerCase() === ending)) {
      const own = texts.get(stemOf(file));
      if (own) own.push(file);
      else texts.set(stemOf(file), [file]);
    }
  }
  return texts;
}

interface FoundCaption {
  readonly caption: string;
  readonly captionSource: CaptionSource;
  readonly findings: readonly Finding[];
}

/** The text file beside a picture, else its row in a table, else what its folder is called, else the default. */
async function findCaption(
  folder: string,
  group: Group,
  file: string,
  texts: ReadonlyMap<string, readonly string[]>,
  options: ReadDatasetOptions,
): Promise<FoundCaption> {
  const findings: Finding[] = [];
  for (const text of texts.get(stemOf(file)) ?? []) {
    const caption = await readCaptionFile(join(folder, group.folder, text), findings);
    if (caption) return { caption, captionSource: "text file", findings };
  }
  const inside = (group.folder === "" ? file : `${group.folder}/${file}`).normalize("NFC");
  const row = group.tableCaptions.get(inside);
  if (row) return { caption: row, captionSource: "table", findings };
  if (group.folderCaption) return { caption: group.folderCaption, captionSource: "folder name", findings };
  const fallback = tidyCaption(options.defaultCaption ?? "");
  return fallback === ""
    ? { caption: "", captionSource: "none", findings }
    : { caption: fallback, captionSource: "default", findings };
}

/** A picture that can be used, or why not. */
export interface Admission {
  readonly item: DatasetItem | undefined;
  readonly findings: readonly Finding[];
}

/**
 * Opens a picture and its mask. What is wrong with them is told, not thrown.
 *
 * @param readHeader says what the picture's file holds, or throws a UserError
 * @param verifyPixels decode the mask, too
 */
export async function admitPicture(
  picture: PictureFile,
  readHeader: (path: string) => Promise<PictureHeader>,
  verifyPixels: boolean,
): Promise<Admission> {
  const { path, maskPath, ...rest } = picture;
  const findings: Finding[] = [];
  try {
    const extension = extensionOf(path);
    if (UNREADABLE_EXTENSIONS.includes(extension)) {
      const fix = "Convert it to png.";
      throw new UserError(`${path} is a ${extension} file, which cannot be decoded here.`, { fix });
    }
    const { widthPx, heightPx, hasAlpha, frames } = await readHeader(path);
    if (maskPath !== undefined) await checkMask(path, maskPath, widthPx / heightPx, verifyPixels);
    if (frames > 1) {
      const message = `${path} has ${frames} frames; the first is used.`;
      findings.push({ severity: "info", file: path, message, fix: "Save the frame that you want as png." });
    }
    const item = { path, ...rest, widthPx, heightPx, hasAlpha };
    return { item: maskPath === undefined ? item : { ...item, maskPath }, findings };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const fix = error.fix ?? "Take it out of the folder.";
    return { item: undefined, findings: [{ severity: "error", file: path, message: error.message, fix }] };
  }
}

async function checkMask(path: string, maskPath: string, aspect: number, verifyPixels: boolean): Promise<void> {
  const mask = await readPictureHeader(maskPath);
  if (verifyPixels) await verifyPicture(maskPath);
  // 2 %: a mask of a smaller copy is off by less than a pixel in fifty.
  if (Math.abs(Math.log(mask.widthPx / mask.heightPx / aspect)) <= 0.02) return;
  const sizes = `${mask.widthPx} x ${mask.heightPx} px`;
  throw new UserError(`The mask ${maskPath} is ${sizes}, of another shape than ${path}.`, {
    fix: "Make it the picture's size.",
  });
}

function refuseBroken(folder: string, findings: readonly Finding[]): void {
  const refusal = refusalOf(folder, findings);
  if (refusal) throw refusal;
}

/** What to throw for files that cannot be used; undefined where all can. */
function refusalOf(folder: string, findings: readonly Finding[]): UserError | undefined {
  const broken = findings.filter(({ severity }) => severity === "error");
  const [first] = broken;
  if (!first) return undefined;
  if (broken.length === 1) return new UserError(first.message, { fix: first.fix });
  const shown = broken.slice(0, 10).map(({ message }) => `\n  ${message}`);
  const more = broken.length > shown.length ? `\n  and ${broken.length - shown.length} more` : "";
  return new UserError(`${broken.length} files in ${folder} cannot be used:${shown.join("")}${more}`, {
    fix: "Mend them, or take them out of the folder.",
  });
}

/** Why there is nothing to work with: broken files, no pictures, or no files at all. */
export function nothingUsable(
  { folder, pictures, files }: PictureList,
  findings: readonly Finding[],
  options: Pick<ReadDatasetOptions, "skipBroken"> = {},
): UserError {
  const refusal = options.skipBroken === true ? undefined : refusalOf(folder, findings);
  if (refusal) return refusal;
  const fix = `Give a folder with pictures (${PICTURE_EXTENSIONS.join(", ")}).`;
  if (pictures.length > 0) return new UserError(`None of the ${pictures.length} pictures in ${folder} can be used.`, { fix });
  if (files.length === 0) return new UserError(`The folder ${folder} is empty.`, { fix });
  return new UserError(`No pictures in ${folder}: it holds ${files.length} other files (first: ${files[0]}).`, { fix });
}

function noteMissingCaptions(folder: string, items: readonly DatasetItem[], findings: Finding[]): void {
  const missing = items.filter(({ captionSource }) => captionSource === "none");
  const [first] = missing;
  if (!first) return;
  const file = basename(first.path);
  const message = `No caption for ${missing.length} of ${items.length} pictures in ${folder} (first: ${file}).`;
  const fix = `Add ${file.slice(0, file.length - extname(file).length)}.txt beside the picture, saying what it shows.`;
  findings.push({ severity: "warning", file: folder, message, fix });
}

/** Captions and masks whose picture is not there: most often a picture that was renamed. */
function noteOrphans(folder: string, files: readonly string[], stems: ReadonlyMap<string, number>, findings: Finding[]): void {
  for (const name of files) {
    const isMask = name.endsWith(MASK_ENDING);
    const stem = isMask ? name.slice(0, -MASK_ENDING.length) : stemOf(name);
    const isCaption = CAPTION_ENDINGS.includes(extname(name).toLowerCase());
    // A folder without any picture is refused as a whole; a note per text file would only be noise.
    if ((!isMask && !isCaption) || stems.has(stem) || stems.size === 0) continue;
    const file = join(folder, name);
    const message = `${file} belongs to no picture: there is none of the name ${stem}.`;
    findings.push({ severity: "warning", file, message, fix: "Rename or remove it." });
  }
}

function countBy(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

/** Results in the order of the inputs, with at most `limit` under way at once. */
async function mapConcurrently<T, R>(inputs: readonly T[], limit: number, work: (input: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = inputs.entries();
  const worker = async () => {
    for (const [index, input] of queue) results[index] = await work(input);
  };
  await Promise.all(Array.from({ length: limit }, worker));
  return results;
}
