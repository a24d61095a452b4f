/** Pure rules about caption text: tidying it, and putting the trigger word in where it is missing. */

/** Text as files hold it made into one line: no byte-order mark, no line ends, single spaces. */
export function tidyCaption(text: string): string {
  return text
    .replace(/^\uFEFF/, "")
    .replace(/\s+/g, " ")
    .trim();
}

/** A caption, and whether the trigger word had to be put in, so that it can be said. */
export interface TriggeredCaption {
  readonly caption: string;
  readonly isAdded: boolean;
}

/**
 * Puts the trigger word in front of a caption that lacks it. A caption has it when it stands there as whole words, in whatever
 * case: "sks" is in "a photo of SKS", not in "risks".
 *
 * @example insertTrigger("a dog on grass", "sks"); // { caption: "sks, a dog on grass", isAdded: true }
 */
export function insertTrigger(caption: string, trigger: string): TriggeredCaption {
  const word = tidyCaption(trigger);
  if (word === "" || hasTrigger(caption, word)) return { caption, isAdded: false };
  return { caption: caption === "" ? word : `${word}, ${caption}`, isAdded: true };
}

/** What was done to the captions of a dataset. @param added captions that the trigger word was put in front of */
export function tellInserted(trigger: string, added: number, captions: number): string {
  const which =
    added === captions ? `all ${captions} captions: none had it` : `${added} of ${captions} captions, which lacked it`;
  return `The trigger word "${trigger}" was put in front of ${which}.`;
}

/** Whether `trigger` stands in `caption` as whole words, in whatever case. */
export function hasTrigger(caption: string, trigger: string): boolean {
  const words = tidyCaption(trigger)
    .split(" ")
    .map((part) => part.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"));
  // \b knows only ASCII letters; a trigger may be of any script.
  return new RegExp(`(?<![\\p{L}\\p{N}_])${words.join("\\s+")}(?![\\p{L}\\p{N}_])`, "iu").test(caption);
}
