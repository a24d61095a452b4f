/** What there is to know about each caption before it is judged: its parts, its kind, its tokens, and where the trigger word stands. Pure. */
import { findLooks } from "./caption-looks.ts";
import { namesLight, namesPlace } from "./caption-places.ts";
import { colourFamilies, emptyWords, exclusiveGroups, mixedTags, qualityTags } from "./caption-words.ts";
import { tidyCaption } from "./captions.ts";
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
  /** A phrase is too short to be told: "kissing face". Undefined for an empty one. */
  readonly kind: "sentence" | "tags" | "phrase" | undefined;
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

/** "variant": written otherwise, as `variant` has it; `isCaseOnly` where only capitals differ, which CLIP does not see. Undefined where no trigger word is set. */
export type TriggerPlace =
  | { readonly at: "first" | "later" | "absent" }
  | { readonly at: "variant"; readonly variant: string; readonly isCaseOnly: boolean }
  | undefined;

export function describeCaption(
  text: string,
  options: { readonly trigger: string | undefined; readonly tokenizer: CaptionTokenizer | undefined },
): CaptionFacts {
  const { tokenizer } = options;
  const tags = splitTags(text);
  const words = wordsOf(text);
  const around = withoutSubject(text, options.trigger);
  return {
    text,
    kind: kindOf(text, options.trigger),
    tags,
    words,
    tokens: tokenizer?.encode(text).length,
    cutOff: tokenizer?.cutOff(text) ?? "",
    trigger: placeOf(text, options.trigger),
    styleWords: findLooks(tags, text.toLowerCase().replace(/[^\p{L}\p{N}'-]+/gu, " ")),
    qualityTags: tags.filter((tag) => qualityTags.some((pattern) => pattern.test(tag))),
    namesBackground: namesPlace(around, spaced(around)),
    namesLight: namesLight(spaced(around)),
    contradictions: findContradictions(tags),
  };
}

/** Less a first part such as "a lamp": what is shown says nothing of where it is, though it may be a word for places and lights. */
function withoutSubject(text: string, trigger: string | undefined): string {
  const [first = "", ...others] = text.split(",").filter((part) => part.trim() !== trigger);
  return /^\s*(?:a|an|the)\s+[\p{L}-]+(?:\s[\p{L}-]+)?\.?\s*$/iu.test(first) ? others.join(",") : text;
}

/** The rule of Civitai's trainer: long with few commas is a sentence. Of short texts, those whose parts are long. */
function kindOf(text: string, trigger: string | undefined): CaptionFacts["kind"] {
  if (text === "") return undefined;
  if (text.length > thresholds.sentenceLength.value) {
    const commas = text.split(",").length - 1;
    return commas < thresholds.sentenceCommas.value * text.length && !isTagList(text) ? "sentence" : "tags";
  }
  const parts = splitTags(text).filter((part) => part !== trigger?.toLowerCase());
  const words = parts.reduce((sum, part) => sum + part.split(" ").length, 0);
  if (parts.length <= 1 && words <= thresholds.phraseWords.value) return "phrase";
  return words >= thresholds.sentenceWords.value * Math.max(1, parts.length) ? "sentence" : "tags";
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

/** Lower case, every run of other signs as one space, one at each end: whole words are found by looking for " word ". */
function spaced(text: string): string {
  return ` ${text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, " ")} `.replace(/ {2,}/g, " ");
}

function placeOf(text: string, trigger: string | undefined): TriggerPlace {
  const word = tidyCaption(trigger ?? "");
  if (word === "") return undefined;
  if (text.startsWith(word) && !/[\p{L}\p{N}_]/u.test(text.charAt(word.length))) return { at: "first" };
  if (hasExactly(text, word)) return { at: "later" };
  const variant = findVariant(text, word);
  return variant === undefined
    ? { at: "absent" }
    : { at: "variant", variant, isCaseOnly: variant.toLowerCase() === word.toLowerCase() };
}

function hasExactly(text: string, word: string): boolean {
  const at = text.indexOf(word);
  if (at < 0) return false;
  const isPart = (character: string): boolean => /[\p{L}\p{N}_]/u.test(character);
  return !isPart(text.charAt(at - 1)) && !isPart(text.charAt(at + word.length));
}

/** The trigger in other case, with other separators, or one letter off; the first two letters must be right. */
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

/** One letter more, less or other, or two neighbours swapped. */
function isOneOff(a: string, b: string): boolean {
  if (b.length < 5 || Math.abs(a.length - b.length) > 1 || a.slice(0, 2) !== b.slice(0, 2)) return false;
  let start = 0;
  let end = 0;
  while (start < Math.min(a.length, b.length) && a[start] === b[start]) start++;
  while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end++;
  const [left, right] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  return Math.max(left.length, right.length) <= 1 || (left.length === 2 && left === [...right].reverse().join(""));
}

function findContradictions(tags: readonly string[]): readonly string[] {
  const present = new Set(tags);
  if (mixedTags.some((tag) => present.has(tag))) return [];
  const crowds = ["2girls", "3girls", "multiple girls", "2boys", "multiple boys", "couple", "crowd", "group"];
  // Two people may have two colours of hair, and one may stand while the other sits.
  const isSeveral = crowds.some((tag) => present.has(tag)) || (present.has("1girl") && present.has("1boy"));
  const coloured = isSeveral ? [] : ["eyes", "hair"].flatMap((part) => twoColours(tags, part));
  const clashes = exclusiveGroups.flatMap(({ about, tags: group }) => {
    const isOfPerson = /hair|posture/.test(about);
    const found = group.filter((tag) => present.has(tag));
    const clash = about === "alone or not" ? found.includes("solo") && found.length > 1 : found.length > 1;
    return clash && !(isOfPerson && isSeveral) ? [`${found.join(", ")} (${about})`] : [];
  });
  return [...coloured, ...clashes];
}

/** Tags that give one part two colours which are not shades of each other. */
function twoColours(tags: readonly string[], part: string): readonly string[] {
  const named = tags.flatMap((tag) => {
    const words = tag.split(" ");
    const families = words.at(-1) === part ? familiesOf(words.slice(0, -1)) : [];
    return families.length === 0 ? [] : [{ tag, families }];
  });
  const isApart = named.some(({ families }, i) =>
    named.slice(i + 1).some((other) => !families.some((family) => other.families.includes(family))),
  );
  return isApart ? [`${named.map(({ tag }) => tag).join(", ")} (the colour of the ${part})`] : [];
}

/** What a colour may be a shade of: of "blue-green" blue and green, of "reddish brown" red and brown, of "dark blue" blue. */
function familiesOf(words: readonly string[]): readonly string[] {
  const shades = words.flatMap((word) => word.split("-")).map((word) => word.replace(/d?ish$/, ""));
  // Dark hair is black or nearly, dark blue hair is blue.
  const colours = shades
    .filter((word) => word !== "dark" || shades.length === 1)
    .flatMap((word) => [...(colourFamilies.get(word) ?? [])]);
  return [...new Set(colours)];
}
