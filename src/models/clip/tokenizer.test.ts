/** CLIP's tokenizer against the ids of transformers' own, over mini's vocabulary. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { createByteTable } from "./byte-pairs.ts";
import { createClipTokenizer, type ClipTokenizer } from "./tokenizer.ts";

// "madeWith" in the file says how the ids were made; they change with mini's vocabulary and must then be made again.
interface Fixture {
  readonly madeWith: string;
  readonly texts: readonly string[];
  readonly tokenizer: readonly (readonly number[])[];
  readonly tokenizer_2: readonly (readonly number[])[];
}

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8");
const fixture = JSON.parse(read("./tokenizer.fixture.json")) as Fixture;

function loadMini(folder: string): ClipTokenizer {
  const file = (name: string): string => read(`../../../models/mini/${folder}/${name}`);
  const config = JSON.parse(file("tokenizer_config.json")) as { pad_token: string; model_max_length: number };
  return createClipTokenizer({
    vocab: JSON.parse(file("vocab.json")) as Record<string, number>,
    merges: file("merges.txt"),
    padToken: config.pad_token,
    maxLength: config.model_max_length,
  });
}

/** Every byte, alone and at a word's end, and the given merges. */
function createToy(merges: readonly string[], maxLength: number): ClipTokenizer {
  const bytes = createByteTable();
  const merged = merges.map((merge) => merge.replace(" ", ""));
  const tokens = [...bytes, ...bytes.map((byte) => `${byte}</w>`), ...merged, "<|startoftext|>", "<|endoftext|>"];
  return createClipTokenizer({
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges: merges.join("\n"),
    maxLength,
  });
}

describe.each(["tokenizer", "tokenizer_2"] as const)("mini's %s", (folder) => {
  const tokenizer = loadMini(folder);

  test.each(fixture.texts.map((text, i) => [JSON.stringify(text), text, fixture[folder][i] ?? []] as const))(
    "gives the ids of transformers for %s",
    (_, text, expected) => {
      const { ids, length } = tokenizer.encode(text);
      expect([...ids.subarray(0, length)]).toEqual(expected);
      expect(ids.subarray(length).every((id) => id === tokenizer.padId)).toBe(true);
    },
  );
});

describe("createClipTokenizer", () => {
  test("SDXL's second tokenizer pads with 0 and the first with its end token", () => {
    expect(loadMini("tokenizer").encode("a cat").ids.at(-1)).toBe(2047);
    expect(loadMini("tokenizer_2").encode("a cat").ids.at(-1)).toBe(0);
  });

  test("every byte of any text is a token, so that nothing is unknown", () => {
    const tokenizer = loadMini("tokenizer");
    const everyByte = Array.from({ length: 0x800 }, (_, point) => String.fromCodePoint(point)).join(" ");
    for (const word of everyByte.split(" ")) {
      const { ids, length } = tokenizer.encode(word);
      expect([...ids.subarray(1, length - 1)]).not.toContain(tokenizer.eosId);
    }
  });

  test("the lowest-ranked merge goes first and equal ones from the left", () => {
    const tokenizer = createToy(["b c", "a b", "a a"], 16);
    // "abcc": b c before a b. "aaaa": the last character carries the end mark, so only the first two a's merge.
    expect([...tokenizer.encode("abcc aaaa").ids.subarray(1, 7)]).toEqual([0x61, 512, 256 + 0x63, 514, 0x61, 256 + 0x61]);
  });

  test("a text that does not fit is cut after maxLength tokens, and cutText holds it from its first unfinished word", () => {
    const tokenizer = createToy([], 7);
    expect(tokenizer.encode("ab  CD ef gh")).toMatchObject({ length: 7, eosIndex: 6, cutText: "ef gh" });
    expect(tokenizer.encode("ab cd e")).toMatchObject({ length: 7, eosIndex: 6, cutText: "" });
    expect(tokenizer.encode("abcdef <|endoftext|> gh").cutText).toBe("abcdef <|endoftext|> gh");
  });

  test("a long text is cut into chunks with marks of their own, and each has the same length", () => {
    const tokenizer = createToy([], 7);
    const { bosId, eosId, padId } = tokenizer;
    const end = (letter: string): number => 256 + letter.charCodeAt(0);
    const { ids, cutText } = tokenizer.encodeChunks("ab cde fg", 3, 6);
    const [a, c, d, f] = [0x61, 0x63, 0x64, 0x66];
    expect([...ids.subarray(0, 6)]).toEqual([bosId, a, end("b"), c, d, eosId]);
    expect([...ids.subarray(6, 12)]).toEqual([bosId, end("e"), f, end("g"), eosId, padId]);
    expect([...ids.subarray(12)]).toEqual([bosId, eosId, padId, padId, padId, padId]);
    expect(cutText).toBe("");
    expect(tokenizer.encodeChunks("ab cde fg", 1, 6).cutText).toBe("cde fg");
    expect(tokenizer.encodeChunks("ab", 1, 7).ids).toEqual(tokenizer.encode("ab").ids);
  });

  test("all tokens of a text are counted, whatever fits, without marks", () => {
    const tokenizer = createToy(["a b"], 4);
    expect(["", "ab", "ab abc", "a".repeat(500)].map((text) => tokenizer.countTokens(text))).toEqual([0, 2, 4, 500]);
  });

  test("an end token in the text itself is where the text is pooled", () => {
    expect(createToy([], 9).encode("a<|endoftext|>b")).toMatchObject({ length: 5, eosIndex: 2 });
  });

  test("one word of 10,000 letters takes well under a second", () => {
    const tokenizer = loadMini("tokenizer");
    const start = performance.now();
    const { length, cutText } = tokenizer.encode("grinningapple".repeat(770));
    expect(performance.now() - start).toBeLessThan(500);
    expect({ length, cut: cutText.length }).toEqual({ length: tokenizer.maxLength, cut: 10_010 });
  });

  test("a vocabulary without the padding token or a merge's parts is refused with the name of what is missing", () => {
    const vocab = { a: 0, "<|startoftext|>": 1, "<|endoftext|>": 2 };
    expect(() => createClipTokenizer({ vocab, merges: "", padToken: "!" })).toThrow('lacks the token "!"');
    expect(() => createClipTokenizer({ vocab, merges: "a b" })).toThrow('merge 1, "a b", names a token that the vocabulary lacks');
    expect(() => createClipTokenizer({ vocab, merges: "", maxLength: 1 })).toThrow("at least 2, got 1");
  });
});
