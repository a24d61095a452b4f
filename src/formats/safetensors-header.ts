/** Parses a safetensors header and refuses one that lies about its file. */
import { UserError } from "../errors.ts";

export type SafetensorsDType =
  "F64" | "F32" | "F16" | "BF16" | "F8_E4M3" | "F8_E5M2" | "I64" | "I32" | "I16" | "I8" | "U64" | "U32" | "U16" | "U8" | "BOOL";

/** Bytes per element. */
export const DTYPE_BYTES: Readonly<Record<SafetensorsDType, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
};

/** Where one tensor lies in its file. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** Of the first byte, from the start of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** The format's own limit on the header, in bytes. */
export const MAX_HEADER_BYTES = 100_000_000;

/** What is wrong with a header that is no JSON object from its first byte on. */
export const HEADER_START = "its header does not begin with {";

/** What a header says, once every claim in it has been checked. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A UserError about the safetensors file at `path`. */
export function damagedFile(path: string, what: string): UserError {
  return new UserError(`${path} is not a sound safetensors file: ${what}.`, {
    fix: "Download or save the file again; if it came from another program, tell its author.",
  });
}

/**
 * Checks a header against the size of its file: names once each, known dtypes, shapes that match their bytes, and tensors that
 * cover the data exactly, without a gap or an overlap.
 *
 * @param header the JSON bytes alone
 * @param dataStart where the data begins in the file, in bytes
 * @param fileBytes the size of the whole file
 * @throws UserError naming the file, the tensor and the values
 */
export function parseHeader(path: string, header: Uint8Array, dataStart: number, fileBytes: number): SafetensorsHeader {
  const json = parseHeaderJson(path, header);
  const entries: TensorEntry[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(json)) {
    if (name === "__metadata__") metadata = checkMetadata(path, value);
    else entries.push(checkEntry(path, name, value, dataStart));
  }
  // In the order of the file, so that reading all of them moves through it once.
  entries.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  checkLayout(path, entries, dataStart, fileBytes);
  return { tensors: new Map(entries.map((entry) => [entry.name, entry])), metadata };
}

function parseHeaderJson(path: string, header: Uint8Array): Record<string, unknown> {
  if (header[0] !== 0x7b) throw damagedFile(path, HEADER_START);
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
    json = JSON.parse(text);
  } catch (error) {
    throw damagedFile(path, `its header is not JSON (${printable(error instanceof Error ? error.message : String(error))})`);
  }
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) throw damagedFile(path, `its header names ${quote(duplicate)} twice`);
  if (!isRecord(json)) throw damagedFile(path, "its header is not a JSON object");
  return json;
}

/** JSON.parse keeps the last of two equal keys and says nothing. `text` is valid JSON here, so a light scan is enough. */
function findDuplicateKey(text: string): string | undefined {
  const open: Set<string>[] = []; // The keys seen so far of every object around the current place.
  let stringStart = 0;
  let stringEnd = 0;
  for (let i = 0; i < text.length; i++) {
    const mark = text[i];
    if (mark === '"') {
      stringStart = i;
      i = stringEnd = endOfString(text, i);
    } else if (mark === "{") open.push(new Set());
    else if (mark === "}") open.pop();
    else if (mark === ":") {
      const key = JSON.parse(text.slice(stringStart, stringEnd + 1)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}

/** Where the string that begins at `start` has its closing quote. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text[end - 1 - backslashes] === "\\") backslashes++;
    if (backslashes % 2 === 0) return end;
  }
}

function checkMetadata(path: string, value: unknown): Record<string, string> {
  if (!isRecord(value)) throw damagedFile(path, "its __metadata__ is not an object");
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") throw damagedFile(path, `metadata ${quote(key)} is ${describe(text)}, not a string`);
  }
  return value as Record<string, string>;
}

function checkEntry(path: string, name: string, value: unknown, dataStart: number): TensorEntry {
  const where = `tensor ${quote(name)}`;
  if (!isRecord(value)) throw damagedFile(path, `${where} is described by ${describe(value)}, not an object`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDType(dtype)) throw damagedFile(path, `${where} has an unknown dtype: ${describe(dtype)}`);
  if (!isCounts(shape)) throw damagedFile(path, `${where} has no valid shape: ${describe(shape)}`);
  if (!isCounts(offsets) || offsets.length !== 2)
    throw damagedFile(path, `${where} has no valid offsets: ${describe(offsets)}`);
  const [begin = 0, end = 0] = offsets;
  if (end < begin) throw damagedFile(path, `${where} ends before it begins (${begin} to ${end})`);
  // A product beyond 2^53 loses digits and could match by luck, so it is refused by size alone.
  const needed = shape.reduce((product, size) => product * size, DTYPE_BYTES[dtype]);
  if (!Number.isSafeInteger(needed) || needed !== end - begin) {
    throw damagedFile(path, `${where} is ${dtype} ${listOf(shape)}, which takes ${needed} bytes, but has ${end - begin}`);
  }
  return { name, dtype, shape, offset: dataStart + begin, byteLength: end - begin };
}

function checkLayout(path: string, entries: readonly TensorEntry[], dataStart: number, fileBytes: number): void {
  let position = dataStart;
  for (const entry of entries) {
    const where = `tensor ${quote(entry.name)}`;
    if (entry.offset + entry.byteLength > fileBytes) {
      const end = entry.offset + entry.byteLength;
      throw damagedFile(path, `${where} would end at byte ${end}, but the file has ${fileBytes} (an unfinished download?)`);
    }
    if (entry.offset < position)
      throw damagedFile(path, `${where} overlaps the one before it by ${position - entry.offset} bytes`);
    if (entry.offset > position) throw damagedFile(path, `there is a gap of ${entry.offset - position} bytes before ${where}`);
    position += entry.byteLength;
  }
  if (position !== fileBytes) throw damagedFile(path, `${fileBytes - position} bytes after its last tensor belong to none`);
}

function isDType(value: unknown): value is SafetensorsDType {
  return typeof value === "string" && Object.hasOwn(DTYPE_BYTES, value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && (item as number) >= 0);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A value of the file in an error message: short, whatever it is, and without a walk into it, as it may be nested without end. */
function describe(value: unknown): string {
  if (value === undefined) return "missing";
  if (typeof value === "string") return quote(value, 60);
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (value === null) return "null";
  if (!Array.isArray(value)) return "an object";
  return value.some((item) => typeof item === "object" && item !== null) ? "a nested array" : listOf(value);
}

/** "[1, 2]": the first few of a list without lists in it. */
function listOf(items: readonly unknown[]): string {
  const some = items.slice(0, 8).map(describe);
  return `[${[...some, ...(items.length > some.length ? [`… ${items.length} in all`] : [])].join(", ")}]`;
}

function quote(name: string, maxLength = 200): string {
  return printable(JSON.stringify(name.length > maxLength ? `${name.slice(0, maxLength)}…` : name));
}

/** Text of a file on one line, with nothing in it that a terminal obeys. */
function printable(text: string): string {
  const escape = (mark: string): string => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, escape);
}
