/** Lists a dataset folder: which of its folders are used, how often, and what their files are. */
import { readdir, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { UserError } from "../errors.ts";
import { systemCode } from "../formats/atomic.ts";
import { PICTURE_EXTENSIONS } from "../formats/images.ts";
import { readCaptionTables } from "./caption-files.ts";
import { tidyCaption } from "./captions.ts";
import type { Finding } from "./read.ts";

/** Pictures that people have but the codec cannot decode: named, not passed over. */
export const UNREADABLE_EXTENSIONS: readonly string[] = ["bmp", "heic", "heif", "jxl", "jp2", "psd", "svg", "tga"];
export const MASK_ENDING = ".mask.png";
/** More is never sensible, and folders that are named after a year look like it. */
const MANY_REPEATS = 100;

/** Files of one folder that share how they are treated. */
export interface Group {
  /** Inside the dataset, "" for the dataset's own folder. */
  readonly folder: string;
  readonly files: readonly string[];
  readonly repeats: number;
  /** What pictures without a caption are called, from the name of a Kohya folder. */
  readonly folderCaption: string | undefined;
  /** Captions of the folder's tables, by path inside the dataset. */
  readonly tableCaptions: ReadonlyMap<string, string>;
}

/**
 * The folders whose pictures are used: the dataset's own, Kohya's `<repeats>_<name>` below it, and those that its caption table
 * names. Any other folder with pictures in it is told in `findings`.
 *
 * @throws UserError when the dataset's folder is missing or is a file
 */
export async function findGroups(folder: string, findings: Finding[]): Promise<Group[]> {
  const { files, folders } = await listFolder(folder);
  const tableCaptions = await readCaptionTables(folder, files, findings);
  const groups: Group[] = [{ folder: "", files, repeats: 1, folderCaption: undefined, tableCaptions }];
  for (const name of folders) {
    const path = join(folder, name);
    const inner = await listFolder(path);
    const kohya = /^(\d+)_(.+)$/.exec(name);
    if (kohya) {
      const repeats = Number(kohya[1]);
      const own = await readCaptionTables(path, inner.files, findings);
      const captions = new Map([...own].map(([file, caption]) => [`${name.normalize("NFC")}/${file}`, caption]));
      const group = { folder: name, files: inner.files, folderCaption: tidyCaption(kohya[2] ?? ""), tableCaptions: captions };
      if (repeats > MANY_REPEATS) {
        const message = `${path} is read as ${repeats} repeats of each picture.`;
        findings.push({
          severity: "warning",
          file: path,
          message,
          fix: `If ${repeats} is no count, rename the folder to 1_${name}.`,
        });
      }
      if (repeats > 0) groups.push({ ...group, repeats });
      else
        findings.push({
          severity: "info",
          file: path,
          message: `${path} has 0 repeats and is left out.`,
          fix: "Rename it to use it.",
        });
    } else if ([...tableCaptions.keys()].some((file) => file.startsWith(`${name.normalize("NFC")}/`))) {
      groups.push({ folder: name, files: inner.files, repeats: 1, folderCaption: undefined, tableCaptions });
    } else {
      const count = inner.files.filter(isPicture).length;
      if (count === 0) continue;
      const message = `${path} holds ${count === 1 ? "a picture that is" : `${count} pictures that are`} not used: only the dataset's own folder and folders like 10_name are read.`;
      findings.push({ severity: "warning", file: path, message, fix: `Move them up, or rename the folder to 1_${name}.` });
    }
  }
  noteAbsentFiles(folder, groups, tableCaptions, findings);
  return groups;
}

/** Visible files and folders, in order of name. */
async function listFolder(folder: string): Promise<{ files: string[]; folders: string[] }> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw folderError(folder, error);
  });
  const files: string[] = [];
  const folders: string[] = [];
  for (const entry of entries) {
    if (entry.name.startsWith(".") || entry.name === "__MACOSX") continue;
    // A link counts as what it leads to; one that leads nowhere stays a file, to be found broken.
    const isFolder = entry.isSymbolicLink() ? await leadsToFolder(join(folder, entry.name)) : entry.isDirectory();
    (isFolder ? folders : files).push(entry.name);
  }
  return { files: files.sort(compare), folders: folders.sort(compare) };
}

async function leadsToFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (target) => target.isDirectory(),
    () => false,
  );
}

function folderError(folder: string, error: unknown): unknown {
  const code = systemCode(error);
  if (code === "ENOENT") return new UserError(`There is no folder ${folder}.`, { fix: "Correct the path.", cause: error });
  if (code === "ENOTDIR") {
    return new UserError(`${folder} is a file; a dataset is a folder of pictures.`, {
      fix: "Give the folder it lies in.",
      cause: error,
    });
  }
  if (code === undefined) return error;
  return new UserError(`Cannot read the folder ${folder}: ${code}.`, { fix: "Check its permissions.", cause: error });
}

function noteAbsentFiles(
  folder: string,
  groups: readonly Group[],
  table: ReadonlyMap<string, string>,
  findings: Finding[],
): void {
  const present = new Set(
    groups.flatMap((group) => group.files.map((file) => (group.folder ? `${group.folder}/${file}` : file))),
  );
  const names = new Set([...present].map((name) => name.normalize("NFC")));
  const absent = [...table.keys()].filter((name) => !names.has(name));
  if (absent.length === 0) return;
  const message = `The caption table in ${folder} names files that are not there: ${absent.length}, the first ${absent[0]}.`;
  findings.push({ severity: "warning", file: folder, message, fix: "Correct file_name, or add the pictures." });
}

/** Whether a file counts as a picture by its name. */
export function isPicture(file: string): boolean {
  const extension = extensionOf(file);
  return (PICTURE_EXTENSIONS.includes(extension) || UNREADABLE_EXTENSIONS.includes(extension)) && !file.endsWith(MASK_ENDING);
}

/** "jpg" for "a/b.JPG". */
export function extensionOf(file: string): string {
  return extname(file).slice(1).toLowerCase();
}

/** A name without its ending. */
export function stemOf(file: string): string {
  return file.slice(0, file.length - extname(file).length);
}

/** By UTF-16 code unit: the same on every machine. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
