/** Words that the checks of captions do not carry: those under a heading of WordNet (Debian's package wordnet-base). */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../src/errors.ts";
import { pictureFolder } from "./sources.ts";

/** The package that the words come from, beside those that `pictures.ts` fetches for their pictures. */
export const lexiconPackage = {
  name: "wordnet-base",
  registry: "debian",
  licence: "WordNet 3.0, see its copyright file",
} as const;

const folder = join(pictureFolder, lexiconPackage.name, "usr/share/wordnet");

interface Synset {
  readonly words: readonly { readonly lemma: string; readonly key: string }[];
  readonly narrower: readonly string[];
  readonly gloss: string;
}

export interface Lexicon {
  /**
   * Nouns under a sense, such as "room%1:06:00::", at any depth, that were met so often in the texts that WordNet was counted on;
   * proper names left out.
   */
  under(sense: string, leastCount?: number): readonly string[];
  /** The same, less words that mostly mean something else there: "line" is a railway, but seldom. */
  chieflyUnder(sense: string, leastCount?: number): readonly string[];
  /** Examples in quotation marks from the explanations of the senses under this one: sentences that somebody else wrote. */
  examplesUnder(sense: string): readonly string[];
}

/** @throws UserError when the package was not fetched */
export function openLexicon(): Lexicon {
  const synsets = readSynsets();
  const counts = new Map(
    read("cntlist.rev").flatMap((line) => {
      const [key = "", , count = "0"] = line.split(" ");
      return key === "" ? [] : [[key, Number(count)] as const];
    }),
  );
  const byKey = new Map([...synsets].flatMap(([offset, { words }]) => words.map(({ key }) => [key, offset] as const)));
  const belowOf = (sense: string): readonly Synset[] => {
    const start = byKey.get(sense);
    if (start === undefined) throw new Error(`openLexicon: WordNet has no sense ${sense}`);
    const seen = new Set<string>();
    const queue = [...(synsets.get(start)?.narrower ?? [])];
    for (let offset = queue.pop(); offset !== undefined; offset = queue.pop()) {
      if (seen.has(offset)) continue;
      seen.add(offset);
      queue.push(...(synsets.get(offset)?.narrower ?? []));
    }
    return [...seen].sort().flatMap((offset) => synsets.get(offset) ?? []);
  };
  const ofAllSenses = new Map<string, number>();
  for (const [key, count] of counts) ofAllSenses.set(lemmaOf(key), (ofAllSenses.get(lemmaOf(key)) ?? 0) + count);
  const isChief = (key: string): boolean => 2 * (counts.get(key) ?? 0) >= (ofAllSenses.get(lemmaOf(key)) ?? 0);
  const listUnder = (sense: string, isWanted: (key: string) => boolean): readonly string[] => [
    ...new Set(
      belowOf(sense).flatMap(({ words }) =>
        words
          .filter(({ lemma, key }) => /^[a-z][a-z_-]+$/.test(lemma) && isWanted(key))
          .map(({ lemma }) => lemma.replaceAll("_", " ")),
      ),
    ),
  ];
  const isCommon = (key: string, leastCount: number): boolean => (counts.get(key) ?? 0) >= leastCount;
  return {
    under: (sense, leastCount = 0) => listUnder(sense, (key) => isCommon(key, leastCount)),
    chieflyUnder: (sense, leastCount = 0) => listUnder(sense, (key) => isCommon(key, leastCount) && isChief(key)),
    examplesUnder: (sense) => [
      ...new Set(belowOf(sense).flatMap(({ gloss }) => [...gloss.matchAll(/"([^"]{15,90})"/g)].map(([, text = ""]) => text))),
    ],
  };
}

/** "room" of "room%1:06:00::". */
function lemmaOf(key: string): string {
  return key.slice(0, key.indexOf("%"));
}

/** Of data.noun (wndb(5WN)): offset, file, type, words, pointers, "|" and the explanation. */
function readSynsets(): ReadonlyMap<string, Synset> {
  return new Map(
    read("data.noun").flatMap((line) => {
      if (line.startsWith(" ") || line === "") return [];
      const [head = "", gloss = ""] = line.split(" | ");
      const parts = head.split(" ");
      const [offset = "", file = ""] = parts;
      const count = parseInt(parts[3] ?? "0", 16);
      const words = Array.from({ length: count }, (_, i) => {
        const lemma = parts[4 + 2 * i] ?? "";
        const id = parseInt(parts[5 + 2 * i] ?? "0", 16)
          .toString()
          .padStart(2, "0");
        return { lemma, key: `${lemma.toLowerCase()}%1:${file}:${id}::` };
      });
      const narrower = [...head.matchAll(/ ~ (\d{8}) n/g)].map(([, to = ""]) => to);
      return [[offset, { words, narrower, gloss }] as const];
    }),
  );
}

function read(name: string): readonly string[] {
  try {
    return readFileSync(join(folder, name), "utf8").split("\n");
  } catch (error) {
    throw new UserError(`${join(folder, name)} is missing.`, {
      fix: "npx tsx bench/inspect/pictures.ts fetches it.",
      cause: error,
    });
  }
}
