/** Reads a CLIP tokenizer from its folder: vocab.json, merges.txt and tokenizer_config.json. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import type { ClipTextConfig } from "../models/clip/config.ts";
import { type ClipTokenizer, createClipTokenizer } from "../models/clip/tokenizer.ts";

/** @throws UserError when a file is missing, damaged, or does not fit the text encoder's vocabulary */
export async function readTokenizer(folder: string, config: ClipTextConfig): Promise<ClipTokenizer> {
  const vocab = await readVocabulary(join(folder, "vocab.json"));
  const merges = await readText(join(folder, "merges.txt"));
  const settings = await readSettings(join(folder, "tokenizer_config.json"));
  const maxLength = Math.min(settings.maxLength ?? config.maxPositionEmbeddings, config.maxPositionEmbeddings);
  const tokenizer = createTokenizer(folder, {
    vocab,
    merges,
    maxLength,
    ...(settings.padToken === undefined ? {} : { padToken: settings.padToken }),
  });
  if (tokenizer.vocabSize > config.vocabSize) {
    const sizes = `ids up to ${tokenizer.vocabSize - 1}, but the text encoder has ${config.vocabSize} token embeddings`;
    throw new UserError(`${folder} has ${sizes}.`, { fix: "Use the tokenizer that came with this text encoder." });
  }
  return tokenizer;
}

function createTokenizer(folder: string, files: Parameters<typeof createClipTokenizer>[0]): ClipTokenizer {
  try {
    return createClipTokenizer(files);
  } catch (error) {
    throw new UserError(`The tokenizer in ${folder} is not sound: ${(error as Error).message}.`, { fix: AGAIN, cause: error });
  }
}

const AGAIN = "Download the model again.";

async function readText(path: string): Promise<string> {
  return readFile(path, "utf8").catch((error: unknown) => {
    throw new UserError(`The base model has no ${path}.`, { fix: AGAIN, cause: error });
  });
}

async function readVocabulary(path: string): Promise<Record<string, number>> {
  const json = parseJson(path, await readText(path));
  const entries = Object.entries(json);
  if (entries.length === 0 || entries.some(([, id]) => typeof id !== "number" || !Number.isInteger(id) || id < 0)) {
    throw new UserError(`${path} is not a list of tokens and their numbers.`, { fix: AGAIN });
  }
  return json as Record<string, number>;
}

/** What of the configuration matters. An absent file means CLIP's own values. */
async function readSettings(path: string): Promise<{ padToken: string | undefined; maxLength: number | undefined }> {
  const text = await readFile(path, "utf8").catch(() => "{}");
  const { pad_token: pad, model_max_length: length } = parseJson(path, text);
  const isObject = typeof pad === "object" && pad !== null;
  const content = isObject && "content" in pad ? pad.content : pad;
  return {
    padToken: typeof content === "string" ? content : undefined,
    maxLength: typeof length === "number" && Number.isSafeInteger(length) && length >= 2 ? length : undefined,
  };
}

function parseJson(path: string, text: string): Record<string, unknown> {
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json === "object" && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  } catch (error) {
    throw new UserError(`${path} is not JSON: ${(error as Error).message}.`, { fix: AGAIN, cause: error });
  }
  throw new UserError(`${path} does not hold a JSON object.`, { fix: AGAIN });
}
