/** The bundled vocabulary against transformers' tokens and ids for the same published file (interop/fixtures/tokenizer.py). */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { createClipTokenizer, type ClipTokenizerFiles } from "../models/clip/tokenizer.ts";
import { readClipVocabulary } from "./clip-vocabulary.ts";

interface TokenizerCase {
  readonly wholeVocabularySha256: string;
  /** Ids with start and end token, without padding. */
  readonly texts: readonly { readonly text: string; readonly ids: readonly number[] }[];
  /** The same by SDXL's second tokenizer, with padding. */
  readonly second: readonly { readonly text: string; readonly ids: readonly number[] }[];
}

const file = new URL("../../test/parity/fixtures/tokenizer/case.json", import.meta.url);
const { wholeVocabularySha256, texts, second } = JSON.parse(readFileSync(file, "utf8")) as TokenizerCase;

describe("readClipVocabulary", () => {
  let files: Pick<ClipTokenizerFiles, "vocab" | "merges">;
  beforeAll(async () => {
    files = await readClipVocabulary();
  });

  test("has the 49,408 tokens of transformers' tokenizer under the same ids", () => {
    const tokens = Object.entries(files.vocab).sort(([, a], [, b]) => a - b);
    expect(tokens.map(([, id]) => id)).toEqual(Array.from({ length: 49_408 }, (_, id) => id));
    expect(
      createHash("sha256")
        .update(tokens.map(([token]) => token).join("\n"))
        .digest("hex"),
    ).toBe(wholeVocabularySha256);
  });

  test("gives transformers' ids for words, accents, emoji, numbers, signs and odd spaces, padded with the end token", () => {
    const tokenizer = createClipTokenizer(files);
    expect(texts.length).toBeGreaterThan(50);
    for (const { text, ids } of texts) {
      expect([text, ...tokenizer.encode(text).ids]).toEqual([text, ...ids, ...Array<number>(77 - ids.length).fill(49_407)]);
    }
  });

  test('gives the ids of SDXL\'s second tokenizer, which pads with "!"', () => {
    const tokenizer = createClipTokenizer({ ...files, padToken: "!" });
    for (const { text, ids } of second) expect([text, ...tokenizer.encode(text).ids]).toEqual([text, ...ids]);
    expect(tokenizer.encode("a red apple").ids.at(-1)).toBe(0);
  });
});
