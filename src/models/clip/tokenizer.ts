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

/** A text of any length as token ids, in chunks that the text encoder reads one by one. */
interface ChunkedText {
  /** [chunks * length]: each chunk with its start token, its tokens, its end token and padding; chunks without tokens come last. */
  readonly ids: Int32Array;
  /** What did not fit into all chunks, lower-cased, from the first word that is not whole; "" when all fits. */
  readonly cutText: string;
}

/** CLIP's tokenizer over one vocabulary. */
export interface ClipTokenizer {
  encode(text: string): EncodedText;
  /**
   * Cuts the text after every `length` - 2 tokens, in the middle of a word if need be.
   *
   * @param length tokens in a chunk, start and end token included: the text encoder's positions
   */
  encodeChunks(text: string, chunks: number, length: number): ChunkedText;
  /** Tokens of the whole text, without start and end token. */
  countTokens(text: string): number;
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
  const read = createReader(specialIds, createMerger(vocab, merges, eosId));
  /** Start, tokens, end, and padding to `length`. */
  const pad = (tokens: readonly number[], length: number): Int32Array => {
    const padded = new Int32Array(length).fill(padId);
    padded.set([bosId, ...tokens, eosId]);
    return padded;
  };
  return {
    encode(text) {
      const { tokens, cutText } = read(text, maxLength - 2);
      const padded = pad(tokens, maxLength);
      return { ids: padded, length: tokens.length + 2, eosIndex: padded.indexOf(eosId), cutText };
    },
    encodeChunks(text, chunks, length) {
      const room = length - 2;
      const { tokens, cutText } = read(text, chunks * room);
      const padded = new Int32Array(chunks * length);
      for (let i = 0; i < chunks; i++) padded.set(pad(tokens.slice(i * room, (i + 1) * room), length), i * length);
      return { ids: padded, cutText };
    },
    countTokens: (text) => read(text, Infinity).tokens.length,
    vocabSize: Math.max(...ids.values()) + 1,
    bosId,
    eosId,
    padId,
    maxLength,
  };
}

/** The first `room` tokens of a text, without marks, and the text from its first word that is not whole in them. */
type Reader = (text: string, room: number) => { readonly tokens: readonly number[]; readonly cutText: string };

function createReader(specialIds: ReadonlyMap<string, number>, mergeWord: (word: string) => readonly number[]): Reader {
  const special = [...specialIds.keys()];
  return (text, room) => {
    const tokens: number[] = [];
    let cutText = "";
    for (const { text: part, isSpecial } of splitSpecial(text, special)) {
      if (cutText !== "") {
        cutText += part;
        continue;
      }
      for (const match of isSpecial ? [{ 0: part, index: 0 }] : part.matchAll(wordPattern)) {
        const id = isSpecial ? specialIds.get(part) : undefined;
        for (const token of id === undefined ? mergeWord(match[0]) : [id]) tokens.push(token);
        if (tokens.length <= room) continue;
        cutText = part.slice(match.index);
        break;
      }
    }
    return { tokens: tokens.slice(0, room), cutText: cutText.trim() };
  };
}

/** The text cut at special tokens; what lies between them is normalized. */
function splitSpecial(text: string, special: readonly string[]): { text: string; isSpecial: boolean }[] {
  const pattern = new RegExp(`(${special.map((token) => token.replace(/[^\w]/g, "\\$&")).join("|")})`);
  // Splitting at a captured pattern puts the separators at the odd places.
  return text.split(pattern).map((part, i) => (i % 2 === 1 ? { text: part, isSpecial: true } : { text: normalize(part), isSpecial: false }));
}
