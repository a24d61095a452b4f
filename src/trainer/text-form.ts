/** How a run's captions are read: settings to the form that graphs and feeds have, and what of the captions is not seen. */
import type { BaseConfigs, BaseModel, TextForm } from "../checkpoints/base.ts";
import { UserError } from "../errors.ts";
import { chunkLength, MAX_CHUNKS } from "../models/clip/chunks.ts";
import type { TrainSettings } from "../planner/plan.ts";
import type { RunPictures } from "./pictures.ts";

type TextEncoders = Pick<BaseModel, "textEncoders">;

/** @throws UserError when the settings do not fit the base: a plan that another version made */
export function textFormOf(
  base: Pick<BaseConfigs, "textEncoders">,
  { maxCaptionTokens, clipSkip }: Pick<TrainSettings, "maxCaptionTokens" | "clipSkip">,
): TextForm {
  const chunks = maxCaptionTokens / (chunkLength(base) - 2);
  if (Number.isInteger(chunks) && chunks >= 1 && chunks <= MAX_CHUNKS && Number.isInteger(clipSkip))
    return { chunks, clipSkip };
  throw new UserError(`The plan reads captions of ${maxCaptionTokens} tokens, which does not fit this base.`, {
    fix: "Another version of Gesso made the plan: start a new run.",
  });
}

/** The fewest chunks, up to the most there can be, that hold each of the texts for every text encoder. */
export function chunksFor({ textEncoders }: TextEncoders, texts: readonly string[]): number {
  const room = chunkLength({ textEncoders }) - 2;
  const longest = longestCaption({ textEncoders }, texts);
  return Math.min(MAX_CHUNKS, Math.max(1, Math.ceil(longest / room)));
}

/** Tokens of the longest text, without start and end. */
export function longestCaption({ textEncoders }: TextEncoders, texts: readonly string[]): number {
  return Math.max(0, ...texts.flatMap((text) => textEncoders.map(({ tokenizer }) => tokenizer.countTokens(text))));
}

/** What of a text no text encoder sees, from the first word that is not whole; "" when one of them sees all. */
export function unseenText(base: TextEncoders, text: string, { chunks }: Pick<TextForm, "chunks">): string {
  const length = chunkLength(base);
  const cut = base.textEncoders.map(({ tokenizer }) => tokenizer.encodeChunks(text, chunks, length).cutText);
  return cut.includes("") ? "" : (cut[0] ?? "");
}

/** Captions whose end no text encoder sees. */
export function describeCutCaptions(base: TextEncoders, { pictures }: RunPictures, form: TextForm): readonly string[] {
  const cut = pictures.flatMap(({ item, caption }) => {
    const text = unseenText(base, caption, form);
    return text === "" ? [] : [{ name: item.name, text }];
  });
  const [first] = cut;
  if (!first) return [];
  const many = cut.length === 1 ? `The caption of ${first.name} is` : `${cut.length} of ${pictures.length} captions are`;
  const where = cut.length === 1 ? "" : ` in ${first.name}`;
  const room = chunkLength(base) - 2;
  const mend =
    form.chunks < MAX_CHUNKS
      ? `Put what matters first, or give --max-caption-tokens up to ${MAX_CHUNKS * room}.`
      : "Put what matters first.";
  const limit = `longer than the ${form.chunks * room} tokens that are read`;
  return [`${many} ${limit}; what is not seen${where}: "${shorten(first.text)}". ${mend}`];
}

/** A prompt whose end no text encoder sees; undefined when all of it is read. */
export function describeCutPrompt(base: TextEncoders, prompt: string, form: Pick<TextForm, "chunks">): string | undefined {
  const text = unseenText(base, prompt, form);
  if (text === "") return undefined;
  const room = chunkLength(base) - 2;
  return `The prompt is longer than the ${form.chunks * room} tokens that are read; what is not seen: "${shorten(text)}".`;
}

/** Text for a message: its first 60 characters. */
function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
