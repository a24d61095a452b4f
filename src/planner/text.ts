/** How captions are read: how much of them, and which of the text encoder's hidden states is taken. */
import { UserError } from "../errors.ts";
import { chunkLength, MAX_CHUNKS } from "../models/clip/chunks.ts";
import { lineages } from "../models/lineages.ts";
import { choose } from "./decide.ts";
import type { BaseFacts, DatasetFacts, Planned, UserChoices } from "./plan.ts";
import { from, sources } from "./sources.ts";

/** @throws UserError for a length or a clip skip that the base has not */
export function decideText(
  dataset: DatasetFacts,
  base: BaseFacts,
  choices: UserChoices,
): { maxCaptionTokens: Planned<number>; clipSkip: Planned<number> } {
  if (choices.maxCaptionTokens !== undefined) refuseCaptionTokens(base, choices.maxCaptionTokens);
  if (choices.clipSkip !== undefined) refuseClipSkip(base, choices.clipSkip);
  const length = lengthFor(dataset, base);
  const skip = usualSkip(base);
  return {
    maxCaptionTokens: choose(choices.maxCaptionTokens, length.value, length.reason, sources.dataset),
    clipSkip:
      base.family === "sdxl"
        ? { value: SDXL_SKIP, reason: "SDXL always reads the second-to-last layer", source: from("kohya") }
        : choose(choices.clipSkip, skip.value, skip.reason, from("civitai", "holo")),
  };
}

/** The hidden state that SDXL takes of both text encoders, from the end. */
const SDXL_SKIP = 2;

/** What suits what the base was trained from. */
function usualSkip({ lineage, family }: BaseFacts): Planned<number> {
  const { clipSkip, label } = lineages[lineage?.name ?? family];
  return clipSkip === 1
    ? { value: 1, reason: "the last layer, as SD 1.5 was trained; many bases for anime want 2" }
    : { value: clipSkip, reason: `usual for ${label}` };
}

/** The lengths that a base can read: one chunk, two, or three. */
function lengths(base: Pick<BaseFacts, "textEncoders">): readonly number[] {
  const room = chunkLength(base) - 2;
  return Array.from({ length: MAX_CHUNKS }, (_, i) => (i + 1) * room);
}

/** The shortest that holds all captions. */
function lengthFor({ longestCaption }: DatasetFacts, base: BaseFacts): Planned<number> {
  const possible = lengths(base);
  const [shortest = 0] = possible;
  if (longestCaption === undefined) return { value: shortest, reason: "what the text encoder reads at once" };
  const long = `the longest caption has ${longestCaption} tokens`;
  const fitting = possible.find((length) => longestCaption <= length);
  if (fitting !== undefined) return { value: fitting, reason: `${long}, and the text encoder reads ${shortest} at once` };
  return { value: possible.at(-1) ?? shortest, reason: `the most there is; ${long}, of which the end is not seen` };
}

/** @throws UserError unless the base can read texts of so many tokens */
export function refuseCaptionTokens(base: Pick<BaseFacts, "textEncoders" | "name">, tokens: number): void {
  const possible = lengths(base);
  if (possible.includes(tokens)) return;
  throw new UserError(
    `${base.name} cannot read captions of up to ${tokens} tokens: it reads them in chunks of ${possible[0]}.`,
    {
      fix: `Give ${possible.slice(0, -1).join(", ")} or ${possible.at(-1)}.`,
      exitCode: 2,
    },
  );
}

/** @throws UserError for a clip skip that is not 1 or 2, or that SDXL does not have */
export function refuseClipSkip(base: Pick<BaseFacts, "family" | "name">, clipSkip: number): void {
  if (base.family === "sdxl" && clipSkip !== SDXL_SKIP) {
    throw new UserError(
      `${base.name} cannot be read with a clip skip of ${clipSkip}: SDXL was trained on the second-to-last layer, which is 2.`,
      { fix: "Leave --clip-skip out.", exitCode: 2 },
    );
  }
  if (clipSkip === 1 || clipSkip === 2) return;
  throw new UserError(`A clip skip of ${clipSkip} is of no use.`, {
    fix: "Give 1, the last layer, or 2, the one before it, as the base model's card says.",
    exitCode: 2,
  });
}
