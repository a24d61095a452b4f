/** What there is to know about each caption before it is judged: its parts, its kind, its tokens, and where the trigger word stands. Pure. */
import {
  backgroundWords,
  emptyWords,
  exclusiveGroups,
  lightWords,
  mixedTags,
  qualityTags,
  styleWords,
} from "./caption-words.ts";
import { hasTrigger, tidyCaption } from "./captions.ts";
import { thresholds } from "./thresholds.ts";

/** Counts tokens as a base model's text encoder does. */
export interface CaptionTokenizer {
  /** Whose tokens they are. */
  readonly name: string;
  /** Tokens of a caption that are read in one piece, without start and end. */
  readonly limit: number;
  /** Ids of a text, without start and end. */
  encode(text: string): readonly number[];
  /** What is not read of a text that is too long; "" where all is. */
  cutOff(text: string): string;
}

export interface CaptionFacts {
  readonly text: string;
  /** Undefined for an empty one. */
  readonly kind: "sentence" | "tags" | undefined;
  /** The parts between commas, lower case, underscores as spaces, weights such as (red:1.2) taken off. */
  readonly tags: readonly string[];
  /** The words that say something, lower case. */
  readonly words: readonly string[];
  /** Undefined without a tokenizer. */
  readonly tokens: number | undefined;
  readonly cutOff: string;
  readonly trigger: TriggerPlace;
  readonly styleWords: readonly string[];
  readonly qualityTags: readonly string[];
  readonly namesBackground: boolean;
  readonly namesLight: boolean;
  /** Such as "1girl, 2girls (how many girls)". */
  readonly contradictions: readonly string[];
}

/** "variant": written otherwise, as `variant` has it. Undefined where no trigger word is set. */
export type TriggerPlace =
  { readonly at: "first" | "later" | "absent" } | { readonly at: "variant"; readonly variant: string } | undefined;

export function describeCaption(
  text: string,
  options: { readonly trigger: string | undefined; readonly tokenizer: CaptionTokenizer | undefined },
): CaptionFacts {
  const { tokenizer } = options;
  const tags = splitTags(text);
  const words = wordsOf(text);
  return {
    text,
    kind: kindOf(text),
    tags,
    words,
    tokens: tokenizer?.encode(text).length,
    cutOff: tokenizer?.cutOff(text) ?? "",
    trigger: placeOf(text, options.trigger),
    styleWords: styleWords.filter((word) => holds(text, word)),
    qualityTags: tags.filter((tag) => qualityTags.some((pattern) => pattern.test(tag))),
    namesBackground: backgroundWords.some((word) => holds(text, word)),
    namesLight: lightWords.some((word) => holds(text, word)),
    contradictions: findContradictions(tags),
  };
}

/** The rule of Civitai's trainer: long with few commas is a sentence. A short text without any comma is one as well. */
function kindOf(text: string): CaptionFacts["kind"] {
  if (text === "") return undefined;
  const commas = text.split(",").length - 1;
  const isLong = text.length > thresholds.sentenceLength.value;
  if (isLong)
    return commas < thresholds.sentenceCommas.value * text.length && /\s/.test(text) && !isTagList(text) ? "sentence" : "tags";
  return commas === 0 && text.split(" ").length > 3 ? "sentence" : "tags";
}

/** Several parts, hardly any longer than three words. */
function isTagList(text: string): boolean {
  const parts = text.split(",").map((part) => part.trim().split(/\s+/).length);
  return parts.length >= 4 && parts.filter((words) => words > 3).length <= parts.length / 5;
}

export function splitTags(text: string): readonly string[] {
  return text
    .split(",")
    .map((part) =>
      tidyCaption(part)
        .toLowerCase()
        .replaceAll("_", " ")
        .replace(/^\(+(.+?)(?::[\d.]+)?\)+$/, "$1")
        .replace(/\.$/, ""),
    )
    .filter((part) => part !== "");
}

function wordsOf(text: string): readonly string[] {
  const words = text.toLowerCase().match(/[\p{L}\p{N}][\p{L}\p{N}'-]*/gu) ?? [];
  return [...new Set(words.filter((word) => !emptyWords.has(word)))];
}

/** Whole words, in whatever case; a tag's underscores count as spaces. */
function holds(text: string, words: string): boolean {
  return hasTrigger(text.replaceAll("_", " "), words);
}

function placeOf(text: string, trigger: string | undefined): TriggerPlace {
  const word = tidyCaption(trigger ?? "");
  if (word === "") return undefined;
  if (text.startsWith(word) && !/[\p{L}\p{N}_]/u.test(text.charAt(word.length))) return { at: "first" };
  if (hasExactly(text, word)) return { at: "later" };
  const variant = findVariant(text, word);
  return variant === undefined ? { at: "absent" } : { at: "variant", variant };
}

function hasExactly(text: string, word: string): boolean {
  const at = text.indexOf(word);
  if (at < 0) return false;
  const isPart = (character: string): boolean => /[\p{L}\p{N}_]/u.test(character);
  return !isPart(text.charAt(at - 1)) && !isPart(text.charAt(at + word.length));
}

/** The trigger in other case, with other separators, or one letter off: the first letters must be right. */
function findVariant(text: string, trigger: string): string | undefined {
  const plain = (word: string): string => word.toLowerCase().replace(/[\s_-]+/g, "");
  const target = plain(trigger);
  const parts = text.split(/[,.;]/).flatMap((part) => {
    const words = part.trim().split(/\s+/);
    const spans = words.flatMap((_, i) => [1, 2, 3].map((n) => words.slice(i, i + n).join(" ")));
    return [part.trim(), ...spans];
  });
  return parts.find((part) => part !== "" && (plain(part) === target || isOneOff(plain(part), target)));
}

function isOneOff(a: string, b: string): boolean {
  if (b.length < 5 || Math.abs(a.length - b.length) > 1 || a.slice(0, 2) !== b.slice(0, 2)) return false;
  let [start, end] = [0, 0];
  while (start < Math.min(a.length, b.length) && a[start] === b[start]) start++;
  while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end++;
  return Math.max(a.length, b.length) - start - end <= 1;
}

function findContradictions(tags: readonly string[]): readonly string[] {
  const present = new Set(tags);
  if (mixedTags.some((tag) => present.has(tag))) return [];
  const crowds = ["2girls", "3girls", "multiple girls", "2boys", "multiple boys", "couple", "crowd", "group"];
  // Two people may have two colours of hair, and one may stand while the other sits.
  const isSeveral = crowds.some((tag) => present.has(tag)) || (present.has("1girl") && present.has("1boy"));
  return exclusiveGroups.flatMap(({ about, tags: group }) => {
    const isOfPerson = /eyes|hair|posture/.test(about);
    const found = group.filter((tag) => present.has(tag));
    const clash = about === "alone or not" ? found.includes("solo") && found.length > 1 : found.length > 1;
    return clash && !(isOfPerson && isSeveral) ? [`${found.join(", ")} (${about})`] : [];
  });
}
