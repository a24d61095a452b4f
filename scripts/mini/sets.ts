/** The emoji sets on npm that mini is trained on or measured with, and how one emoji is found in each. */
import { readFileSync } from "node:fs";
import { toSlug } from "./subjects.ts";
import type { Subject } from "./subjects.ts";

/** One emoji set: its package, what captions call its look, and whether mini may see it. */
export interface EmojiSet {
  readonly id: string;
  readonly style: string;
  readonly use: "train" | "held-out";
  /** What the drawings' own repository says beyond the package's info.json: what a credit must hold. */
  readonly credit?: string;
}

const emojitwo =
  "Emoji artwork is provided by Emojitwo (https://github.com/EmojiTwo/emojitwo), originally released as Emojione 2.2 " +
  "(https://www.emojione.com) by Ranks.com with contributions from the Emojitwo community and is licensed under CC-BY 4.0.";

/** The sets mini learns, then the sets it never sees. The style name is what a caption says: "<subject>, <style> style". */
export const emojiSets: readonly EmojiSet[] = [
  { id: "noto", style: "noto", use: "train" },
  { id: "noto-v1", style: "blob", use: "train" },
  { id: "twemoji", style: "twemoji", use: "train" },
  { id: "fluent-emoji-flat", style: "fluent", use: "train" },
  { id: "emojione", style: "emojione", use: "train", credit: emojitwo },
  { id: "emojione-monotone", style: "monotone", use: "train", credit: emojitwo },
  { id: "openmoji", style: "openmoji", use: "held-out" },
  { id: "fluent-emoji-high-contrast", style: "high contrast", use: "held-out" },
  {
    id: "fxemoji",
    style: "firefox",
    use: "held-out",
    credit:
      "Copyright 2015, Mozilla Foundation. Its LICENSE.md puts the code under Apache-2.0 and the visual design under CC BY 4.0.",
  },
  { id: "streamline-emojis", style: "streamline", use: "held-out" },
];

interface IconEntry {
  readonly body: string;
  readonly width?: number;
  readonly height?: number;
  readonly left?: number;
  readonly top?: number;
}

interface IconFile {
  readonly icons: Record<string, IconEntry>;
  readonly aliases?: Record<string, { parent: string }>;
  readonly width?: number;
  readonly height?: number;
}

/** Licence and author of a set, from its package's info.json. */
interface SetInfo {
  readonly name: string;
  readonly author: { name: string; url: string };
  readonly license: { title: string; spdx: string; url: string };
}

/** Left, top, width and height. */
type ViewBox = readonly [number, number, number, number];

/** A set read from its package. */
export interface LoadedSet extends EmojiSet {
  readonly info: SetInfo;
  readonly version: string;
  /** The icon's own name for a subject, or undefined where the set lacks it. */
  findIcon(subject: Subject): string | undefined;
  /** A whole SVG document that shows the square `box` of an icon (all of it if not given) in sizePx x sizePx. */
  svg(icon: string, sizePx: number, box?: ViewBox): string;
  /** The smallest square around the icon's own box, in the icon's units. */
  squareBox(icon: string): ViewBox;
}

// Older sets (noto-v1, emojione, fxemoji, streamline) have no code points, and name some emoji otherwise than Unicode does.
const otherNames: Readonly<Record<string, readonly string[]>> = { "enraged-face": ["pouting-face"] };

const packages = new URL("node_modules/", import.meta.url);

function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(new URL(path, packages), "utf8")) as T;
}

const letters = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, "");

/** Unicode name -> code points as iconify writes them ("1f34e"), with and without the variation selector. */
function readCodePoints(): Map<string, string[]> {
  const file = readJson<Record<string, { name: string }>>("unicode-emoji-json/data-by-emoji.json");
  return new Map(
    Object.entries(file).map(([emoji, { name }]) => {
      const points = Array.from(emoji, (character) => (character.codePointAt(0) ?? 0).toString(16));
      return [name, [points.join("-"), points.filter((point) => point !== "fe0f").join("-")]];
    }),
  );
}

let codePoints: Map<string, string[]> | undefined;

/** Code points of a subject. Throws where Unicode has no emoji of that name. */
function findCodePoints(subject: Subject): string[] {
  codePoints ??= readCodePoints();
  const found = codePoints.get(subject.unicodeName);
  if (!found) throw new Error(`findCodePoints: no emoji is named "${subject.unicodeName}"`);
  return found;
}

/** Reads a set from its installed package. */
export function loadSet(set: EmojiSet): LoadedSet {
  const folder = `@iconify-json/${set.id}`;
  const file = readJson<IconFile>(`${folder}/icons.json`);
  const characters = readJson<Record<string, string>>(`${folder}/chars.json`);
  const names = new Map([...Object.keys(file.icons), ...Object.keys(file.aliases ?? {})].map((name) => [letters(name), name]));
  const hasCodePoints = Object.keys(characters).length > 0;

  const entry = (icon: string): IconEntry => {
    const found = file.icons[icon] ?? file.icons[file.aliases?.[icon]?.parent ?? ""];
    if (!found) throw new Error(`svg: the set ${set.id} has no icon ${icon}`);
    return found;
  };
  const bounds = (icon: string): { left: number; top: number; width: number; height: number } => {
    const { left = 0, top = 0, width = file.width ?? 16, height = file.height ?? 16 } = entry(icon);
    return { left, top, width, height };
  };
  const squareBox = (icon: string): ViewBox => {
    const { left, top, width, height } = bounds(icon);
    const side = Math.max(width, height);
    return [left + (width - side) / 2, top + (height - side) / 2, side, side];
  };
  return {
    ...set,
    info: readJson<SetInfo>(`${folder}/info.json`),
    version: readJson<{ version: string }>(`${folder}/package.json`).version,
    squareBox,
    findIcon(subject) {
      const points = findCodePoints(subject);
      if (hasCodePoints) return points.map((point) => characters[point]).find((icon) => icon !== undefined);
      const own = toSlug(subject.unicodeName);
      const candidates = [own, ...(otherNames[own] ?? []), `${own}-face`, own.replace("cat", "cat-face"), `${own}-1`];
      return candidates.map((name) => names.get(letters(name))).find((icon) => icon !== undefined);
    },
    svg(icon, sizePx, box = squareBox(icon)) {
      const { left, top, width, height } = bounds(icon);
      const spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"';
      const body = entry(icon).body.replaceAll("currentColor", "#000");
      // The inner svg cuts at the icon's own box: some icons (noto-v1's bat) hold stray shapes outside it.
      const own = `x="${left}" y="${top}" width="${width}" height="${height}" viewBox="${left} ${top} ${width} ${height}"`;
      const outer = `${spaces} width="${sizePx}" height="${sizePx}" viewBox="${box.join(" ")}"`;
      return `<svg ${outer}><svg ${own} overflow="hidden">${body}</svg></svg>`;
    },
  };
}
