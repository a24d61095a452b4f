/** What is known of a trigger word before training: its tokens, what it looks like, and where else it stands. Pure. */
import type { CaptionTokenizer } from "./caption-facts.ts";
import { lookNames } from "./caption-looks.ts";
import { emptyWords } from "./caption-words.ts";

export interface TriggerFacts {
  readonly word: string;
  /** Undefined where the base's tokenizer is not known. */
  readonly tokenIds: readonly number[] | undefined;
  /** Whether the encoder has the whole word as one common token, so that it means something already. */
  readonly isKnownWord: boolean;
  /** A common word that differs by one letter or by look-alike signs (3 for e, 0 for o), or undefined. */
  readonly looksLike: string | undefined;
  /** What the base draws for it by itself, measured with the model; undefined where that was not asked for. */
  readonly baseDraws?: TriggerDrawing | undefined;
}

/** How far what the base predicts for the word by itself is from what it predicts for invented words, measured as theirs from each other. */
export interface TriggerDrawing {
  /** The word's distance over the invented words'. */
  readonly times: number;
  /** The same in standard deviations, by logarithms; less than 0 for a word that does less than they do. */
  readonly deviations: number;
  readonly invented: readonly string[];
  /** Small WebP pictures in base64, of the same seeds: drawn for the word, and for nothing. None for a word that the base does not know. */
  readonly withWord: readonly string[];
  readonly without: readonly string[];
}

/** Measures and draws, and tells how far it is. */
export type DrawTrigger = (word: string) => AsyncGenerator<{ readonly done: number; readonly total: number }, TriggerDrawing>;

/** "it changes what the base predicts 2.7 times as much as an invented word does, 8.4 standard deviations above 15 of them". */
export function describeDrawing({ times, deviations, invented }: TriggerDrawing): string {
  const place = `${Math.abs(deviations).toFixed(1)} standard deviations ${deviations < 0 ? "below" : "above"} ${invented.length} of them`;
  return `it changes what the base predicts ${times.toFixed(1)} times as much as an invented word does, ${place}`;
}

const LOOKALIKES: Readonly<Record<string, string>> = {
  "0": "o",
  "1": "l",
  "3": "e",
  "4": "a",
  "5": "s",
  "7": "t",
  "@": "a",
  $: "s",
};

/** Words that captions are full of; a trigger that is one of them cannot be told from it. */
const COMMON: readonly string[] = (
  "person man woman boy girl child baby people face dog cat horse bird fish car house tree flower chair table cup book ball train plane " +
  "style art photo painting drawing picture portrait character anime toy robot dragon castle king queen knight red blue green black white"
).split(" ");

export function describeTrigger(word: string, tokenizer: CaptionTokenizer | undefined): TriggerFacts {
  const ids = tokenizer?.encode(word);
  const lower = word.toLowerCase();
  const plain = lower.replace(/[013457@$]/g, (sign) => LOOKALIKES[sign] ?? sign);
  const words = [...COMMON, ...emptyWords, ...lookNames];
  const isListed = words.includes(lower);
  // Ids follow the order in which tokens were merged, commonest first; the first 512 are single bytes.
  const isCommonToken =
    ids?.length === 1 && (ids[0] ?? 0) >= 512 && (ids[0] ?? 0) < COMMON_WORD_ID && tokenizer?.name !== "mini";
  return {
    word,
    tokenIds: ids,
    isKnownWord: isListed || isCommonToken,
    looksLike: isListed
      ? undefined
      : words.find((known) => known.length > 3 && (known === plain || isOneLetterOff(known, lower))),
  };
}

/** CLIP's first 30,000 tokens are words and names that it has seen often. */
const COMMON_WORD_ID = 30_000;

function isOneLetterOff(a: string, b: string): boolean {
  if (a === b || Math.abs(a.length - b.length) > 1) return false;
  let [start, end] = [0, 0];
  while (start < Math.min(a.length, b.length) && a[start] === b[start]) start++;
  while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end++;
  return Math.max(a.length, b.length) - start - end <= 1;
}
