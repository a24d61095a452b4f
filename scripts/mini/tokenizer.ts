/** Makes mini's vocabulary: byte-pair encoding in CLIP's format, trained on the subjects, the styles and general English. */
import { existsSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { UserError } from "../../src/errors.ts";
import { createByteTable, endOfWord, toSymbols } from "../../src/models/clip/byte-pairs.ts";
import { splitWords } from "../../src/models/clip/tokenizer.ts";
import { maxTokens } from "./configs.ts";
import { emojiSets } from "./sets.ts";
import { subjects } from "./subjects.ts";

const help = `Makes mini's two tokenizers in the layout of transformers.

Usage: npx tsx scripts/mini/tokenizer.ts [--out FOLDER]
  --out FOLDER   the model's folder (default models/mini); tokenizer/ and tokenizer_2/ in it are written

First: npm --prefix scripts/mini ci`;

/** 256 bytes, 256 bytes that end a word, the merges, and two marks. */
const vocabSize = 2048;
const [bosToken, eosToken] = ["<|startoftext|>", "<|endoftext|>"];

// What people write in captions and prompts beside the names of things.
const generalWords = `
  a an the and or but of in on at to from with without by for near over under above below behind between inside outside into through
  around across against along up down left right top bottom front back side middle center corner it its is are was be being has have
  his her their he she they we you i my your our this that these those there here who which what while as like not no yes very more most
  less some any all both each every other another one two three four five six seven eight nine ten many few several single pair group
  red orange yellow green blue purple violet pink brown black white gray grey gold golden silver bronze dark light bright pale deep vivid
  colorful color colors colour colours coloured colored pastel neon monochrome transparent
  big small large tiny huge little tall short long wide narrow thick thin fat round square flat straight curved sharp soft hard smooth
  rough shiny matte wet dry hot cold warm cool old new young modern ancient vintage retro classic simple plain complex detailed clean
  dirty broken empty full open closed half whole upper lower
  happy sad angry scared surprised tired sleepy excited calm serious funny cute cool silly proud shy worried laughing crying smiling
  grinning winking kissing sleeping eating drinking running walking standing sitting lying jumping flying swimming dancing singing
  playing reading writing holding wearing looking facing pointing waving riding driving working cooking fighting falling floating
  person people man woman boy girl child baby kid friend mother father king queen prince princess knight soldier pirate witch wizard
  hero robot monster ghost angel devil doctor teacher student farmer artist singer astronaut
  head face hair eye eyes ear ears nose mouth teeth tongue beard neck body arm arms hand hands finger leg legs foot feet tail wing wings
  horn fur feather skin heart
  hat cap shirt dress coat shoes glasses bag belt ring crown mask
  animal pet bird fish insect tree flower leaf plant grass forest garden field mountain river sea ocean lake beach island desert sky
  sun moon star stars cloud clouds rain snow wind storm fire water ice smoke night day morning evening sunset sunrise winter spring
  summer autumn
  house home room kitchen wall floor window door roof street road city town village bridge tower building park school shop table chair
  bed lamp book paper pen box cup plate bowl bottle glass knife toy ball game music phone computer screen machine engine wheel
  car truck train boat plane
  food fruit vegetable meat cheese cake chocolate sugar coffee tea milk juice beer wine
  style picture photo photograph image drawing painting sketch illustration icon sticker emoji logo symbol sign cartoon comic anime
  pixel art line lines outline outlined bold ink pencil watercolor oil render digital vector shape shapes pattern texture shadow
  shading gradient background foreground portrait close view scene landscape still life design character figure object
  in the style of best quality high low resolution blurry worst masterpiece realistic abstract minimal minimalist cropped watermark text
  sks token dog cat
`;

type WordCounts = Map<string, number>;

function addWords(counts: WordCounts, text: string, weight: number): void {
  for (const word of splitWords(text)) counts.set(word, (counts.get(word) ?? 0) + weight);
}

/**
 * Words and how much each counts. The captions' words weigh so much that every one of them becomes a single token before any merge is
 * spent on the rest: what mini learns about, it should see whole.
 */
function countWords(): WordCounts {
  const counts: WordCounts = new Map();
  for (const { name } of subjects) addWords(counts, name, 10_000);
  for (const { style, use } of emojiSets) if (use === "train") addWords(counts, `${style} style,`, 100_000);
  for (const word of new Set(splitWords(generalWords))) addWords(counts, word, 20);
  const emoji = new URL("node_modules/unicode-emoji-json/data-by-emoji.json", import.meta.url);
  if (!existsSync(emoji)) throw new UserError("The emoji packages are not installed.", { fix: "npm --prefix scripts/mini ci" });
  // "flag: Chad" is left out: names of countries are no words of captions.
  for (const { name, group } of Object.values(
    JSON.parse(readFileSync(emoji, "utf8")) as Record<string, { name: string; group: string }>,
  )) {
    if (group !== "Flags") addWords(counts, name, 1);
  }
  return counts;
}

interface TrainedWord {
  symbols: string[];
  readonly count: number;
}

/** The pair of neighbouring symbols that occurs most; among equals the first in code-point order, so that the result is fixed. */
function findBestPair(words: readonly TrainedWord[]): [string, string] | undefined {
  const counts = new Map<string, number>();
  for (const { symbols, count } of words) {
    for (let i = 1; i < symbols.length; i++) {
      const pair = `${symbols[i - 1] ?? ""} ${symbols[i] ?? ""}`;
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  let best: string | undefined;
  let most = 0;
  for (const [pair, count] of counts) {
    if (count > most || (count === most && best !== undefined && pair < best)) [best, most] = [pair, count];
  }
  const [left, right] = best?.split(" ") ?? [];
  return left === undefined || right === undefined ? undefined : [left, right];
}

function applyMerge(symbols: readonly string[], [left, right]: readonly [string, string]): string[] {
  const merged: string[] = [];
  for (const symbol of symbols) {
    if (symbol === right && merged.at(-1) === left) merged[merged.length - 1] = left + right;
    else merged.push(symbol);
  }
  return merged;
}

/** Learns `count` merges, fewer when every word is whole before. */
function trainMerges(counts: WordCounts, count: number): [string, string][] {
  const words: TrainedWord[] = [...counts].map(([word, weight]) => ({ symbols: toSymbols(word), count: weight }));
  const merges: [string, string][] = [];
  while (merges.length < count) {
    const pair = findBestPair(words);
    if (!pair) break;
    merges.push(pair);
    for (const word of words) if (word.symbols.includes(pair[0])) word.symbols = applyMerge(word.symbols, pair);
  }
  return merges;
}

/** CLIP's order: bytes (those that print first, so that "!" is 0), the same at a word's end, merges, marks. */
function listTokens(merges: readonly (readonly [string, string])[]): string[] {
  const bytes = [...createByteTable()].sort((a, b) => (a.codePointAt(0) ?? 0) - (b.codePointAt(0) ?? 0));
  return [...bytes, ...bytes.map((byte) => byte + endOfWord), ...merges.map((pair) => pair.join("")), bosToken, eosToken];
}

async function writeTokenizer(
  folder: string,
  tokens: readonly string[],
  merges: readonly (readonly [string, string])[],
  pad: string,
) {
  const json = (value: unknown): string => JSON.stringify(value, undefined, 2) + "\n";
  const special = { bos_token: bosToken, eos_token: eosToken, pad_token: pad, unk_token: eosToken };
  await mkdir(folder, { recursive: true });
  await writeFile(
    join(folder, "vocab.json"),
    JSON.stringify(Object.fromEntries(tokens.map((token, id) => [token, id]))) + "\n",
  );
  await writeFile(join(folder, "merges.txt"), ["#version: 0.2", ...merges.map((pair) => pair.join(" "))].join("\n") + "\n");
  await writeFile(join(folder, "special_tokens_map.json"), json(special));
  await writeFile(
    join(folder, "tokenizer_config.json"),
    json({
      add_prefix_space: false,
      ...special,
      clean_up_tokenization_spaces: true,
      do_lower_case: true,
      errors: "replace",
      model_max_length: maxTokens,
      tokenizer_class: "CLIPTokenizer",
    }),
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { out: { type: "string", default: "models/mini" }, help: { type: "boolean", default: false } },
  });
  if (values.help) return console.log(help);
  const merges = trainMerges(countWords(), vocabSize - 514);
  const tokens = listTokens(merges);
  await writeTokenizer(join(resolve(values.out), "tokenizer"), tokens, merges, eosToken);
  await writeTokenizer(join(resolve(values.out), "tokenizer_2"), tokens, merges, "!");
  const known = new Set(tokens);
  const split = [...new Set(subjects.flatMap(({ name }) => splitWords(name)))].filter(
    (word) => !known.has(toSymbols(word).join("")),
  );
  console.log(`${tokens.length} tokens in ${values.out}; subject words that are not one token: ${split.join(" ") || "none"}`);
}

await main();
