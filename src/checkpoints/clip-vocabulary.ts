/** CLIP's own vocabulary, for base models that come without a tokenizer, as single-file checkpoints do. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { brotliDecompress } from "node:zlib";
import { UserError } from "../errors.ts";
import { createByteTable, endOfWord } from "../models/clip/byte-pairs.ts";
import type { ClipTokenizerFiles } from "../models/clip/tokenizer.ts";

/**
 * The 49,408 tokens of OpenAI's CLIP, which SD 1.5, both encoders of SDXL and all that was trained from them share. The first
 * tokenizer pads with its end token, SDXL's second with "!".
 *
 * @throws UserError when the bundled file is missing or damaged
 * @example const tokenizer = createClipTokenizer({ ...(await readClipVocabulary()), padToken: "!" });
 */
export async function readClipVocabulary(): Promise<Pick<ClipTokenizerFiles, "vocab" | "merges">> {
  // The file lies beside src and dist alike.
  const path = fileURLToPath(new URL("../../models/clip-vocabulary/merges.txt.br", import.meta.url));
  const bytes = await readFile(path)
    .then(promisify(brotliDecompress))
    .catch((error: unknown) => {
      throw new UserError(`CLIP's vocabulary cannot be read from ${path}: ${(error as Error).message}.`, {
        fix: "Install Gesso again.",
        cause: error,
      });
    });
  const merges = bytes.toString("utf8");
  return { vocab: vocabularyOf(merges), merges };
}

/** Ids as CLIP gives them: single bytes, bytes at a word's end, what each merge makes, the marks of start and end. */
function vocabularyOf(merges: string): Record<string, number> {
  const table = createByteTable();
  // Bytes that print as themselves come first, then the others: by the code point of their character, not by the byte.
  const letters = [...table].sort((a, b) => (a.codePointAt(0) ?? 0) - (b.codePointAt(0) ?? 0));
  const merged = merges.trimEnd().split("\n");
  const tokens = [
    ...letters,
    ...letters.map((letter) => letter + endOfWord),
    ...merged.map((merge) => merge.replace(" ", "")),
    "<|startoftext|>",
    "<|endoftext|>",
  ];
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}
