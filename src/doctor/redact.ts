/** Takes out of a report what tells who and where somebody is, so that it can be shown to others. */

export interface PrivateWords {
  readonly home: string;
  readonly user: string;
  readonly host: string;
}

/** Folders that say nothing of a person; what lies in others keeps only the end of its path. */
const publicFolders =
  /^(\/(usr|opt\/(rocm|homebrew|conda|miniconda3?|venv)|lib|lib64|dev|proc|sys|etc|Library|System|Applications)(\/|$)|[A-Za-z]:\\(Windows|Program Files)\b|~[\\/]\.(local[\\/]share|cache)[\\/]gesso\b)/;
/** Paths from the root or the home folder, where no word, number or address goes before. */
const paths = /(?:(?<![…\w~.:/\\])|(?<=[=:](?=~?\/\w))(?<!https?:))(?:~[\\/]|\/|[A-Za-z]:\\)[^\s"'`:;,()[\]<>]+/g;
/** Names that everybody has. */
const commonNames = new Set(["root", "user", "admin", "localhost", "ubuntu", "runner", "node"]);

/** Only the home folder becomes "~": for the eyes of its owner. */
export function shortenHome(text: string, home: string): string {
  return home.length < 2 ? text : text.replaceAll(home, "~");
}

/**
 * The text without the home folder, other private folders, the user's name and the machine's.
 *
 * @example redactText("/home/eva/x.so", { home: "/home/eva", user: "eva", host: "box" }) === "~/…/x.so"
 */
export function redactText(text: string, { home, user, host }: PrivateWords): string {
  const short = shortenHome(text, home).replace(paths, shortenPath);
  return replaceWord(replaceWord(short, user, "<user>"), host, "<host>");
}

/** Of a private path only what kind of thing it leads to. */
function shortenPath(path: string): string {
  if (publicFolders.test(path)) return path;
  const last = path.split(/[\\/]/).at(-1) ?? "";
  return `${path.startsWith("~") ? "~/" : ""}…/${/\.\w+$|^(python|pip)[\d.]*$/.test(last) ? last : ""}`;
}

function replaceWord(text: string, word: string, sign: string): string {
  if (word.length < 3 || commonNames.has(word.toLowerCase())) return text;
  const escaped = word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return text.replace(new RegExp(`(?<![A-Za-z0-9])${escaped}(?![A-Za-z0-9])`, "gi"), sign);
}

/** The same for every text in a value. A path with spaces, which could not be told in a sentence, is known from the fields that hold one. */
export function redactValue<T>(value: T, words: PrivateWords): T {
  const spaced = [...findSpacedPaths(value)].sort((a, b) => b.length - a.length);
  const redact = (text: string): string => {
    const known = spaced.reduce((line, path) => line.replaceAll(path, shortenPath(shortenHome(path, words.home))), text);
    return redactText(known, words);
  };
  return mapTexts(value, redact);
}

function mapTexts<T>(value: T, map: (text: string) => string): T {
  if (typeof value === "string") return map(value) as T;
  if (Array.isArray(value)) return value.map((item: unknown) => mapTexts(item, map)) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapTexts(item as unknown, map)])) as T;
}

function findSpacedPaths(value: unknown, found = new Set<string>()): Set<string> {
  if (typeof value !== "object" || value === null) return found;
  for (const [key, item] of Object.entries(value as Readonly<Record<string, unknown>>)) {
    const holdsPath = /^(path|executable|python|VIRTUAL_ENV|CONDA_PREFIX|PYTHONHOME|PYTHONPATH|LD_\w+)$/.test(key);
    if (holdsPath && typeof item === "string" && /^(\/|[A-Za-z]:\\).*\s/.test(item)) found.add(item);
    findSpacedPaths(item, found);
  }
  return found;
}
