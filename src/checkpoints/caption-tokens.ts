/** Counts a caption's tokens exactly, with a base's own tokenizer. */
import type { CaptionTokenizer } from "../dataset/caption-facts.ts";
import { type ClipTokenizer, splitWords } from "../models/clip/tokenizer.ts";

/**
 * A tokenizer as the dataset inspection uses it: all ids of a text, however long, and what does not fit in one piece.
 *
 * @param name whose tokens they are, for reports
 */
export function createCaptionTokenizer(tokenizer: ClipTokenizer, name: string): CaptionTokenizer {
  const known = new Map<string, readonly number[]>();
  // Merges stay within words, so that a text's ids are its words' ids, and each word is encoded once.
  const idsOf = (word: string): readonly number[] => {
    const found = known.get(word);
    if (found) return found;
    const { ids, length } = tokenizer.encode(word);
    const own = [...ids.subarray(1, length - 1)];
    known.set(word, own);
    return own;
  };
  return {
    name,
    limit: tokenizer.maxLength - 2,
    encode: (text) => splitWords(text).flatMap(idsOf),
    cutOff: (text) => tokenizer.encode(text).cutText,
  };
}
