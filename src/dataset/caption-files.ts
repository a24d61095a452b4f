/** Reads the files that hold captions: a text file beside each picture, or one JSON-lines table for a folder. */
import { readFile, stat } from "node:fs/promises";
import { join, posix } from "node:path";
import { tidyCaption } from "./captions.ts";
import type { Finding } from "./read.ts";

/** Names of the tables, as diffusers and Hugging Face datasets have them. */
const TABLES: readonly string[] = ["metadata.jsonl", "captions.jsonl"];

/** A text this long is no caption but another file by mistake. */
const MAX_TEXT_BYTES = 1_000_000;
/** Text encoders read 75 tokens, some 300 characters, and long-prompt schemes a few times that. */
const LONG_CAPTION = 2000;

/** The caption of a text file, tidied, or undefined when it cannot be read as text; what is odd goes to `findings`. */
export async function readCaptionFile(path: string, findings: Finding[]): Promise<string | undefined> {
  const refuse = (message: string, fix: string) => {
    findings.push({ severity: "error", file: path, message, fix });
    return undefined;
  };
  try {
    const { size } = await stat(path);
    if (size > MAX_TEXT_BYTES)
      return refuse(`${path} has ${size} bytes, far too many for a caption.`, "Give the picture a short caption.");
    const caption = tidyCaption(decodeText(await readFile(path)));
    noteLength(path, caption, findings);
    return caption;
  } catch (error) {
    if (error instanceof TypeError) return refuse(`${path} is not UTF-8 text.`, "Save it as UTF-8 in a text editor.");
    return refuse(`Cannot read ${path}: ${reasonOf(error)}.`, "Check the file and its permissions.");
  }
}

/** UTF-8, or the UTF-16 that old Windows editors call "Unicode". @throws TypeError for anything else */
function decodeText(bytes: Uint8Array): string {
  const encoding = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : "utf-8";
  return new TextDecoder(encoding, { fatal: true }).decode(bytes);
}

function noteLength(file: string, caption: string, findings: Finding[]): void {
  if (caption.length <= LONG_CAPTION) return;
  findings.push({
    severity: "warning",
    file,
    message: `The caption in ${file} has ${caption.length} characters; the model reads only the first few hundred.`,
    fix: "Shorten it to what the picture shows, most important first.",
  });
}

/**
 * The captions that the tables of a folder hold, by picture path: relative to the folder, with "/", in Unicode form NFC.
 * Lines that cannot be used become errors in `findings`.
 */
export async function readCaptionTables(
  folder: string,
  files: readonly string[],
  findings: Finding[],
): Promise<Map<string, string>> {
  const captions = new Map<string, string>();
  for (const table of TABLES.filter((name) => files.includes(name))) {
    const path = join(folder, table);
    let text: string;
    try {
      text = decodeText(await readFile(path));
    } catch (error) {
      const message = error instanceof TypeError ? `${path} is not UTF-8 text.` : `Cannot read ${path}: ${reasonOf(error)}.`;
      findings.push({ severity: "error", file: path, message, fix: "Save it as UTF-8, and check its permissions." });
      continue;
    }
    for (const [index, line] of text.split(/\r?\n/).entries()) {
      if (line.trim() === "") continue;
      const row = parseRow(line);
      const where = `${path}, line ${index + 1}`;
      if (typeof row === "string") {
        const fix = 'Each line is an object like {"file_name": "a.png", "text": "a caption"}.';
        findings.push({ severity: "error", file: path, message: `${where}: ${row}.`, fix });
      } else {
        noteLength(where, row.caption, findings);
        captions.set(row.fileName, row.caption);
      }
    }
  }
  return captions;
}

/** A row of a table, or what is wrong with it. */
function parseRow(line: string): { fileName: string; caption: string } | string {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch (error) {
    return `not JSON (${reasonOf(error)})`;
  }
  if (typeof row !== "object" || row === null || Array.isArray(row)) return "not an object";
  const { file_name: fileName, text, caption = text } = row as Record<string, unknown>;
  if (typeof fileName !== "string" || fileName === "") return 'no "file_name"';
  if (typeof caption !== "string") return 'no "text" or "caption"';
  const path = posix.normalize(fileName.replaceAll("\\", "/")).normalize("NFC");
  if (path.startsWith("../") || posix.isAbsolute(path)) return `"file_name" leads out of the folder: ${fileName}`;
  return { fileName: path, caption: tidyCaption(caption) };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
