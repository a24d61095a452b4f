/** The words that the proof plants in captions, from WordNet and from packages that have nothing to do with it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../src/errors.ts";
import type { Lexicon } from "./lexicon.ts";
import { chance } from "./plant.ts";
import { pictureFolder } from "./sources.ts";

/** Packages with words: of places as OpenStreetMap maps them, of colours as ten lists name them, of what emoji show. */
export const wordPackages = [
  { name: "@openstreetmap/id-tagging-schema", registry: "npm", licence: "ISC" },
  { name: "color-name-lists", registry: "npm", licence: "MIT" },
  { name: "emojibase-data", registry: "npm", licence: "MIT" },
] as const;

export interface Vocabulary {
  /** After the name of a check; "" for WordNet. */
  readonly of: string;
  /** Pairs of names that cannot be one colour, and that can. */
  readonly colours: Readonly<Record<"apart" | "alike", readonly (readonly [string, string])[]>>;
  /** Animals and tools. */
  readonly things: readonly string[];
  /** Places, and hours and lights. */
  readonly places: readonly string[];
  readonly clothes: readonly string[];
}

/** Words for places that are met so often in the texts that WordNet was counted on: below are "ginmill" and "parsonage". */
const COMMON = 3;

export function wordNetVocabulary(lexicon: Lexicon): Vocabulary {
  const senses = [
    "room%1:06:00::",
    "building%1:06:00::",
    "geological_formation%1:17:00::",
    "body_of_water%1:17:00::",
    "road%1:06:00::",
    "biome%1:14:00::",
    "tract%1:15:00::",
  ];
  const places = [...new Set(senses.flatMap((sense) => lexicon.chieflyUnder(sense, COMMON)))].filter((word) => word.length > 2);
  const lights = ["time_of_day%1:28:00::", "light%1:19:00::"].flatMap((sense) => lexicon.chieflyUnder(sense, 1));
  return {
    of: "",
    colours: wordNetColours(lexicon),
    things: every(
      [...lexicon.under("animal%1:03:00::", 2), ...lexicon.under("instrumentality%1:06:00::", 3)].filter(
        (word) => word.length > 3,
      ),
      300,
    ),
    places: [...places, ...lights],
    clothes: lexicon.chieflyUnder("clothing%1:06:00::", 1),
  };
}

function wordNetColours(lexicon: Lexicon): Vocabulary["colours"] {
  const families = ["red", "green", "blue", "yellow", "brown", "purple", "pink", "orange"].map((colour) => [
    colour,
    ...lexicon.under(`${colour}%1:07:00::`).filter((word) => /^[a-z]+$/.test(word) && !/(?:ness|ish)$/.test(word)),
  ]);
  // Neighbours among colours are one colour to many: pink and red, brown and orange, red and orange, purple and pink.
  const apart = [
    [0, 1],
    [0, 2],
    [1, 5],
    [2, 3],
    [2, 4],
    [1, 6],
    [3, 5],
    [2, 7],
  ] as const;
  return {
    apart: apart.flatMap(([a, b]) =>
      Array.from({ length: 16 }, (_, i) => [pick(families[a] ?? [], i), pick(families[b] ?? [], 3 * i + 1)] as const),
    ),
    alike: families.flatMap((family) => family.map((colour) => [colour, family[0] ?? ""] as const)),
  };
}

/**
 * Words that have nothing to do with WordNet. Of those in `seen`, what was missed was looked at and added to the checks' lists; the others
 * were only counted, once.
 *
 * @throws UserError when the packages were not fetched
 */
export function otherVocabulary(isSeen: boolean): Vocabulary {
  const emoji = readEmoji();
  return {
    of: isSeen ? ", other words" : ", words apart",
    colours: listedColours(isSeen),
    things: [
      "animal-mammal",
      "animal-bird",
      "animal-reptile",
      "animal-marine",
      "animal-bug",
      "tool",
      "musical-instrument",
    ].flatMap(emoji),
    places: readPlaces(isSeen),
    clothes: emoji("clothing"),
  };
}

/** Lists of colours in English, those together that copy each other. A name that three have is no whim. */
const colourLists = [
  ["xkcd"],
  ["wikipedia"],
  ["ntc"],
  ["html", "x11", "windows", "basic"],
  ["thesaurus"],
  ["ral"],
  ["mlmc_english"],
  ["ridgway"],
];
const AGREEING_LISTS = 3;
/** Distance in CIELAB within which colours are shades of one another, and degrees of hue beyond which they are not. */
const ALIKE_DISTANCE = 25;
const APART_DEGREES = 90;
/** Chroma below which a colour is nearly grey, and lightness, from 0 to 100, outside of which nearly black or white. */
const VIVID = { chroma: 30, darkest: 25, lightest: 90 } as const;

/** Pairs of vivid colours; names are one part or the other by their hash. */
function listedColours(isSeen: boolean): Vocabulary["colours"] {
  const { lists } = readJson("color-name-lists", "dist/colorlists.json") as {
    readonly lists: Readonly<Record<string, readonly { readonly name: string; readonly hex: string }[]>>;
  };
  const found = new Map<string, string[]>();
  for (const group of colourLists) {
    const own = new Map(
      group.flatMap((list) => (lists[list] ?? []).map(({ name, hex }) => [name.toLowerCase(), hex] as const)),
    );
    for (const [name, hex] of own) if (/^[a-z]+$/.test(name)) found.set(name, [...(found.get(name) ?? []), hex]);
  }
  const vivid = [...found]
    .filter(([name, all]) => all.length >= AGREEING_LISTS && chance(name) < 0.5 === isSeen)
    .map(([name, [hex = ""]]) => ({ name, lab: labOf(hex) }))
    .filter(({ lab: [lightness, a, b] }) => {
      return Math.hypot(a, b) >= VIVID.chroma && lightness >= VIVID.darkest && lightness <= VIVID.lightest;
    });
  const pairs = vivid.flatMap(({ name, lab }, i) =>
    vivid.slice(i + 1).map((other) => ({
      pair: [name, other.name] as const,
      degrees: degreesBetween(lab, other.lab),
      distance: Math.hypot(...lab.map((value, k) => value - (other.lab[k] ?? 0))),
    })),
  );
  return {
    apart: every(
      pairs.filter(({ degrees }) => degrees >= APART_DEGREES),
      200,
    ).map(({ pair }) => pair),
    alike: pairs.filter(({ distance }) => distance <= ALIKE_DISTANCE).map(({ pair }) => pair),
  };
}

type Lab = readonly [lightness: number, a: number, b: number];

function degreesBetween([, a1, b1]: Lab, [, a2, b2]: Lab): number {
  const turn = (Math.abs(Math.atan2(b1, a1) - Math.atan2(b2, a2)) * 180) / Math.PI;
  return Math.min(turn, 360 - turn);
}

/** CIELAB under D65 of an sRGB colour, "#rrggbb". */
function labOf(hex: string): Lab {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const value = parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  const f = (t: number): number => (t > 216 / 24389 ? Math.cbrt(t) : (24389 / 27 / 116) * t + 16 / 116);
  const x = f((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505);
  const y = f(0.2126 * r + 0.7152 * g + 0.0722 * b);
  const z = f((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/** Land, water, buildings and grounds; and what is to be seen, is old, is of airports, rivers, towns, or is one of those in particular. */
const SEEN_PLACES = /^(?:natural|building|landuse|leisure)\/[^/]+$/;
const OTHER_PLACES = /^(?:(?:tourism|historic|aeroway|waterway|place)\/[^/]+|(?:natural|building|landuse|leisure)\/[^/]+\/.+)$/;

/** What is mapped as an area, by the names that mappers see: of one or two words. */
function readPlaces(isSeen: boolean): readonly string[] {
  const keys = isSeen ? SEEN_PLACES : OTHER_PLACES;
  const schema = "@openstreetmap/id-tagging-schema";
  const presets = readJson(schema, "dist/presets.json") as Readonly<
    Record<string, { readonly geometry?: readonly string[]; readonly searchable?: boolean }>
  >;
  const { en } = readJson(schema, "dist/translations/en.json") as {
    readonly en: { readonly presets: { readonly presets: Readonly<Record<string, { readonly name?: string }>> } };
  };
  const names = Object.entries(presets).flatMap(([key, { geometry = [], searchable = true }]) => {
    const name = en.presets.presets[key]?.name?.toLowerCase() ?? "";
    const isPlace = keys.test(key) && geometry.includes("area") && searchable;
    return isPlace && /^[a-z-]+(?: [a-z-]+)?$/.test(name) ? [name] : [];
  });
  return [...new Set(names)];
}

/** Names of at most two words, of what emoji of a kind show. */
function readEmoji(): (subgroup: string) => readonly string[] {
  const { subgroups } = readJson("emojibase-data", "en/messages.json") as {
    readonly subgroups: readonly { readonly key: string; readonly order: number }[];
  };
  const all = readJson("emojibase-data", "en/data.json") as readonly { readonly label: string; readonly subgroup?: number }[];
  return (key) => {
    const order = subgroups.find((group) => group.key === key)?.order;
    return all.flatMap(({ label, subgroup }) =>
      subgroup !== undefined && subgroup === order && /^[a-z-]+(?: [a-z-]+)?$/.test(label) ? [label] : [],
    );
  };
}

function readJson(name: string, file: string): unknown {
  const path = join(pictureFolder, name, "package", file);
  try {
    return JSON.parse(readFileSync(path, "utf8")) as unknown;
  } catch (error) {
    throw new UserError(`${path} is missing.`, { fix: "npx tsx bench/inspect/pictures.ts fetches it.", cause: error });
  }
}

export const pick = (list: readonly string[], i: number): string => list[i % list.length] ?? "";

export function every<T>(list: readonly T[], most: number): readonly T[] {
  const count = Math.min(most, list.length);
  return Array.from({ length: count }, (_, i) => list[Math.floor((i * list.length) / count)]).flatMap((item) => item ?? []);
}
