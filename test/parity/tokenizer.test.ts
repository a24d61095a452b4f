/** CLIP's tokenizer against transformers' ids for odd texts, over the part of CLIP's own vocabulary that they use. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { createClipTokenizer } from "../../src/models/clip/tokenizer.ts";

interface TokenizerCase {
  readonly maxLength: number;
  readonly vocab: Readonly<Record<string, number>>;
  readonly merges: readonly string[];
  /** Ids with start and end token, cut at `maxLength`, without padding. */
  readonly texts: readonly { readonly text: string; readonly ids: readonly number[] }[];
}

const file = path.join(import.meta.dirname, "fixtures/tokenizer/case.json");
const { maxLength, vocab, merges, texts } = JSON.parse(readFileSync(file, "utf8")) as TokenizerCase;

describe("CLIP's tokenizer over CLIP's own vocabulary", () => {
  const tokenizer = createClipTokenizer({ vocab, merges: merges.join("\n"), maxLength });

  test.each(texts.map(({ text, ids }) => [JSON.stringify(text), text, ids] as const))(
    "gives the ids of transformers, and only padding after them, for %s",
    (_, text, expected) => {
      const { ids, length } = tokenizer.encode(text);
      expect([...ids.subarray(0, length)]).toEqual(expected);
      expect([...ids.subarray(length)]).toEqual(Array.from({ length: maxLength - expected.length }, () => tokenizer.padId));
    },
  );

  test("start, end and padding are the tokens 49406, 49407 and 49407", () => {
    expect(tokenizer).toMatchObject({ bosId: 49406, eosId: 49407, padId: 49407, vocabSize: 49408 });
  });
});
