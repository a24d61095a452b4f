/** Takes out of a report what tells who and where somebody is, so that it can be shown to others. */

export interface PrivateWords {
  readonly home: string;
  readonly user: string;
  readonly host: string;
}

/** Folders that say nothing of a person; what lies in others keeps only the end of its path. */
const publicFolders =
  /^(\/(usr|opt\/(rocm|homebrew|conda|miniconda3?|venv)|lib|lib64|dev|proc|sys|etc|Library|System|Applications)(\/|$)|[A-Za-z]:\\(Windows|Program Files)\b)/;
const absolutePaths = /(?<![\w~.:/\\])(?:\/[^\s"'`:;,()[\]<>]+|[A-Za-z]:\\[^\s"'`:;,()[\]<>]+)/g;
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
export function redactText(text: string, words: PrivateWords): string {
  const short = shortenHome(text, words.home)
    .replace(/~[\\/][^\s"'`:;,()[\]<>]+/g, (path) => shortenPath("~", path))
    .replace(absolutePaths, (path) => (publicFolders.test(path) ? path : shortenPath("", path)));
  return [
    [words.user, "<user>"],
    [words.host, "<host>"],
  ].reduce((line, [word = "", sign = ""]) => replaceWord(line, word, sign), short);
}

/** Gesso's and the usual environments' own folders under home tell nothing; of others the name of the file is enough. */
function shortenPath(root: string, path: string): string {
  if (/^~[\\/]\.(local[\\/]share|cache)[\\/]gesso\b/.test(path)) return path;
  const parts = path.split(/[\\/]/).filter((part) => part !== "" && part !== "~");
  const last = parts.at(-1) ?? "";
  return parts.length < 2 && root === "~"
    ? `~/…`
    : `${root === "~" ? "~/" : ""}…/${/\.\w+$|^python|^pip/.test(last) ? last : ""}`;
}

function replaceWord(text: string, word: string, sign: string): string {
  if (word.length < 3 || commonNames.has(word.toLowerCase())) return text;
  const escaped = word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return text.replace(new RegExp(`(?<![A-Za-z0-9])${escaped}(?![A-Za-z0-9])`, "gi"), sign);
}

/** The same for every text in a value. */
export function redactValue<T>(value: T, words: PrivateWords): T {
  if (typeof value === "string") return redactText(value, words) as T;
  if (Array.isArray(value)) return value.map((item: unknown) => redactValue(item, words)) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redactValue(item as unknown, words)])) as T;
}
