/** CLIP's tokenizer (Radford et al. 2021): lower-cased byte-level byte-pair encoding with an end-of-word mark. */
import { createMerger } from "./byte-pairs.ts";

/** What CLIP's `vocab.json`, `merges.txt` and `tokenizer_config.json` hold. */
export interface ClipTokenizerFiles {
  /** `vocab.json`: token -> id. */
  readonly vocab: Readonly<Record<string, number>>;
  /** The text of `merges.txt`. */
  readonly merges: string;
  /** The configuration's `pad_token`: the end token by default; "!" for SDXL's second tokenizer. */
  readonly padToken?: string;
  /** The configuration's `model_max_length`, start and end token included: 77 by default. */
  readonly maxLength?: number;
}

/** One text as token ids. */
interface EncodedText {
  /** [maxLength]: start token, the text's tokens, end token, padding. */
  readonly ids: Int32Array;
  /** Tokens before the padding, start and end token included. */
  readonly length: number;
  /** The first end token, whose row of the hidden states is CLIP's pooled output: length - 1, unless the text itself holds one. */
  readonly eosIndex: number;
  /** What did not fit, lower-cased, from the first word that is not whole; "" when all fits. */
  readonly cutText: string;
}

/** CLIP's tokenizer over one vocabulary. */
export interface ClipTokenizer {
  encode(text: string): EncodedText;
  /** Highest id plus one: the rows of the token embedding. */
  readonly vocabSize: number;
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
  readonly maxLength: number;
}

const bosToken = "<|startoftext|>";
const eosToken = "<|endoftext|>";

// CLIP's pattern, but with Unicode's White_Space, from which JavaScript's \s differs (U+0085, U+FEFF). The special tokens, which the
// pattern names too, are cut out before: see splitSpecial.
const wordPattern = /'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;

/** NFC, runs of white space as one space, lower case letter by letter (no final-sigma rule), as the `tokenizers` library has it. */
function normalize(text: string): string {
  const spaced = text.normalize("NFC").replace(/\p{White_Space}+/gu, " ");
  return Array.from(spaced, (character) => character.toLowerCase()).join("");
}

/** The words that merges stay within: runs of letters, single digits, runs of other signs, English contractions. */
export function splitWords(text: string): string[] {
  return normalize(text).match(wordPattern) ?? [];
}

/**
 * Makes a tokenizer that gives the ids of transformers' `CLIPTokenizer` for the same files.
 *
 * @throws Error when the vocabulary lacks the start, end or padding token or a part of a merge, or maxLength is below 2
 * @example
 * const tokenizer = createClipTokenizer({ vocab, merges });
 * tokenizer.encode("a red apple").ids; // Int32Array(77) [49406, 320, 736, 3055, 49407, 49407, ...]
 */
export function createClipTokenizer({ vocab, merges, padToken = eosToken, maxLength = 77 }: ClipTokenizerFiles): ClipTokenizer {
  if (!Number.isInteger(maxLength) || maxLength < 2) {
    throw new Error(`createClipTokenizer: maxLength must be a whole number of at least 2, got ${maxLength}`);
  }
  const ids = new Map(Object.entries(vocab));
  const idOf = (token: string): number => {
    const id = ids.get(token);
    if (id === undefined) throw new Error(`createClipTokenizer: the vocabulary lacks the token "${token}"`);
    return id;
  };
  const [bosId, eosId, padId] = [idOf(bosToken), idOf(eosToken), idOf(padToken)];
  // Cut out of the raw text before anything else: with SDXL's second tokenizer every "!" becomes its padding token.
  const specialIds = new Map([bosToken, eosToken, padToken].map((token) => [token, idOf(token)]));
  const mergeWord = createMerger(vocab, merges, eosId);

  const encode = (text: string): EncodedText => {
    const tokens: number[] = [];
    const room = maxLength - 2;
    let cutText = "";
    for (const { text: part, isSpecial } of splitSpecial(text, [...specialIds.keys()])) {
      if (cutText !== "") {
        cutText += part;
        continue;
      }
      for (const match of isSpecial ? [{ 0: part, index: 0 }] : part.matchAll(wordPattern)) {
        for (const id of isSpecial ? [specialIds.get(part) ?? eosId] : mergeWord(match[0])) tokens.push(id);
        if (tokens.length <= room) continue;
        cutText = part.slice(match.index);
        break;
      }
    }
    const used = [bosId, ...tokens.slice(0, room), eosId];
    const padded = new Int32Array(maxLength).fill(padId);
    padded.set(used);
    return { ids: padded, length: used.length, eosIndex: used.indexOf(eosId), cutText: cutText.trim() };
  };
  return { encode, vocabSize: Math.max(...ids.values()) + 1, bosId, eosId, padId, maxLength };
}

/** The text cut at special tokens; what lies between them is normalized. */
function splitSpecial(text: string, special: readonly string[]): { text: string; isSpecial: boolean }[] {
  const pattern = new RegExp(`(${special.map((token) => token.replace(/[^\w]/g, "\\$&")).join("|")})`);
  // Splitting at a captured pattern puts the separators at the odd places.
  return text.split(pattern).map((part, i) => (i % 2 === 1 ? { text: part, isSpecial: true } : { text: normalize(part), isSpecial: false }));
}
