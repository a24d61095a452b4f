/** Checks of tags over the whole set, and of the trigger word. */
import { type Check, type InspectionFacts, limit, percent, perPicture, type Verdict } from "./check.ts";
import { namesCertainPlace } from "../caption-places.ts";
import { describeDrawing } from "../trigger-facts.ts";
import { contentWords, countBy, shorten } from "./captions.ts";

export const wordChecks: readonly Check[] = [
  {
    id: "tags.core",
    title: "tags of the character itself",
    why: "A trait that captions name (hair, eyes) stays changeable; one that they leave out goes into the trigger word. Both can be meant.",
    mend: "For a strong trigger word take these tags out of the captions; to be able to change the traits, leave them in.",
    thresholds: ["coreTag"],
    judge(facts) {
      const core = frequentTags(facts, limit("coreTag")).filter(({ tag }) => CORE.test(tag));
      if (facts.target.type !== "character" || core.length === 0) return [];
      const list = core.map(({ tag, share }) => `${tag} ${percent(share)}`).join(", ");
      return [{ severity: "info", message: `Candidates to take out: ${list}.`, pictures: [] }];
    },
  },
  {
    id: "tags.entangled",
    title: "words on nearly every picture",
    why: "A word that is in every caption beside the trigger word cannot be told from it: neither will work alone.",
    mend: "Take it out of the captions if it belongs to what you teach; else add pictures without it.",
    thresholds: ["entangledTag"],
    judge(facts) {
      const words = frequentTags(facts, limit("entangledTag")).filter(
        ({ tag }) => !CORE.test(tag) && !CLASS.test(tag) && !namesCertainPlace(tag),
      );
      if (words.length === 0 || facts.pictures.length < 5) return [];
      const list = words.map(({ tag, share }) => `${tag} ${percent(share)}`).join(", ");
      return [
        {
          severity: facts.target.type === "style" ? "warning" : "info",
          message: `In nearly every caption: ${list}.`,
          pictures: [],
        },
      ];
    },
  },
  {
    id: "tags.single",
    title: "many tags that occur once",
    why: "Most tags that occur once are slips of an automatic tagger.",
    mend: "Raise the tagger's threshold, or look through the rare tags.",
    thresholds: ["singleTags"],
    judge({ pictures }) {
      const tagged = pictures.filter(({ caption }) => caption.kind === "tags" && caption.tags.length >= 4);
      const counts = countBy(tagged.flatMap(({ caption }) => [...new Set(caption.tags)]));
      const single = [...counts].filter(([, count]) => count === 1).map(([tag]) => tag);
      if (tagged.length < 10 || single.length <= limit("singleTags") * counts.size) return [];
      const message = `${single.length} of ${counts.size} tags occur once: ${shorten(single.join(", "), 100)}`;
      return [{ severity: "info", message, pictures: [] }];
    },
  },
  {
    id: "trigger.none",
    title: "no trigger word",
    why: "Without a trigger word a character or object is learnt into the words that captions use, and changes them everywhere.",
    mend: "Choose one with --trigger: a rare word of one or two tokens.",
    thresholds: [],
    judge: ({ trigger, target }) =>
      trigger || target.type === "style"
        ? []
        : [{ severity: "warning", message: `No trigger word is set for this ${target.type}.`, pictures: [] }],
  },
  {
    id: "trigger.absent",
    title: "captions without the trigger word",
    why: "A caption without the trigger word teaches what it shows without it.",
    mend: "Put it in front of every caption. gesso train does that by itself; other trainers do not.",
    fix: "puts it in front",
    thresholds: [],
    judge: (facts) => {
      const known = facts.pictures.filter(({ caption }) => caption.text !== "");
      // None has it: nobody meant to write it yet. Some have it: the others were forgotten.
      const isNowhere = known.every(({ caption }) => caption.trigger?.at === "absent");
      return perPicture(
        facts,
        ({ caption }) =>
          caption.trigger?.at === "absent" && caption.text !== ""
            ? { severity: isNowhere ? "info" : "warning", measured: `"${shorten(caption.text)}"` }
            : undefined,
        (count) =>
          isNowhere
            ? `No caption has the trigger word "${facts.target.trigger}" yet.`
            : `${count} ${count.startsWith("1 ") ? "lacks" : "lack"} the trigger word "${facts.target.trigger}".`,
      );
    },
  },
  {
    id: "trigger.variant",
    title: "the trigger word misspelt",
    why: "To the text encoder another spelling is another word.",
    mend: "Write it the same way everywhere.",
    fix: "corrects the spelling",
    thresholds: [],
    judge: (facts) =>
      perPicture(
        facts,
        ({ caption: { trigger } }) => {
          if (trigger?.at !== "variant") return undefined;
          // CLIP lower-cases what it reads; T5 does not.
          const isHarmless = trigger.isCaseOnly && facts.target.tokenizer !== undefined;
          return { severity: isHarmless ? "info" : "warning", measured: `"${trigger.variant}"` };
        },
        (count) =>
          `${count} ${count.startsWith("1 ") ? "spells" : "spell"} the trigger word "${facts.target.trigger}" otherwise.`,
      ),
  },
  {
    id: "trigger.later",
    title: "the trigger word not first",
    why: "Early tokens weigh more, and trainers that shuffle tags keep only the first in place.",
    mend: "Put it first.",
    thresholds: [],
    judge: (facts) =>
      perPicture(
        facts,
        ({ caption }) =>
          caption.trigger?.at === "later" && caption.kind === "tags"
            ? { severity: "info", measured: `"${shorten(caption.text)}"` }
            : undefined,
        (count) => `${count} ${count.startsWith("1 ") ? "has" : "have"} the trigger word, but not first.`,
      ),
  },
  {
    id: "trigger.word",
    title: "the trigger word itself",
    why: "A word that the base knows brings its own meaning along, and one of many common pieces is spelt, not learnt.",
    mend: "Choose a rare word of one or two tokens, or mean the likeness.",
    thresholds: ["triggerTokens", "triggerCommonId", "triggerRareId"],
    judge: judgeTriggerWord,
  },
  {
    id: "trigger.draws",
    title: "what the base draws for the trigger word",
    why: "Where the base draws something of its own for the word, training first has to paint over that: it fights your pictures, unless it is like them and helps.",
    mend: "Look at the pictures in the page that --html writes. If they are nothing like yours, choose another word; if they are, keep it.",
    thresholds: ["triggerDraws"],
    judge: ({ trigger }) => {
      const { word, baseDraws } = trigger ?? {};
      if (!word || !baseDraws || !(baseDraws.deviations >= limit("triggerDraws"))) return [];
      const message = `The base draws something of its own for "${word}": ${describeDrawing(baseDraws)}.`;
      return [{ severity: "warning", message, pictures: [] }];
    },
  },
];

/** Traits of a person as tags name them. */
const CORE =
  /\b(hair|eyes|eye|ears|tail|horns|skin|freckles|beard|mustache|fangs|wings|bangs|ponytail|twintails|braid|ahoge|scar|mole|glasses)\b/;
/** Words for what it is, which belong beside the trigger word. */
const CLASS = /^(1girl|1boy|1other|solo|person|man|woman|girl|boy|dog|cat|character|no humans)$/;

/** Tags, or words where captions are sentences, on more than `share` of the pictures; the trigger word left out. */
function frequentTags(facts: InspectionFacts, share: number): readonly { tag: string; share: number }[] {
  const { pictures, target } = facts;
  const known = pictures.filter(({ caption }) => caption.text !== "");
  const counts = countBy(
    known.flatMap((picture) => {
      const { kind, tags } = picture.caption;
      return [...new Set(kind === "tags" ? tags : contentWords(picture, target.trigger))];
    }),
  );
  const trigger = target.trigger?.toLowerCase().replaceAll("_", " ");
  return [...counts]
    .map(([tag, count]) => ({ tag, share: count / Math.max(1, known.length) }))
    .filter(({ tag, share: own }) => own >= share && tag !== trigger)
    .sort((a, b) => b.share - a.share || (a.tag < b.tag ? -1 : 1));
}

function judgeTriggerWord({ trigger, target, pictures }: InspectionFacts): readonly Verdict[] {
  if (!trigger) return [];
  const { word, tokenIds, isKnownWord, looksLike } = trigger;
  const found: Verdict[] = [];
  const say = (severity: Verdict["severity"], message: string): void => {
    found.push({ severity, message, pictures: [] });
  };
  if (isKnownWord) say("warning", `"${word}" is a word that ${target.base} knows already.`);
  if (looksLike !== undefined) say("warning", `"${word}" looks like the common word "${looksLike}".`);
  if (tokenIds && tokenIds.length > limit("triggerTokens"))
    say("warning", `"${word}" is ${tokenIds.length} tokens: ${tokenIds.join(", ")}.`);
  else if (
    tokenIds &&
    target.family !== "mini" &&
    tokenIds.length > 1 &&
    tokenIds.every((id) => id < limit("triggerCommonId"))
  ) {
    say("warning", `"${word}" falls into very common pieces: tokens ${tokenIds.join(", ")}.`);
  }
  const clash = pictures.filter(({ caption }) => caption.trigger?.at === "absent" && holdsPart(caption.words, word));
  if (clash.length > 0) {
    const hits = clash.map(({ item, caption }) => ({ name: item.name, measured: shorten(caption.text) }));
    found.push({ severity: "info", message: `"${word}" is part of other words in ${clash.length} captions.`, pictures: hits });
  }
  return found;
}

function holdsPart(words: readonly string[], trigger: string): boolean {
  const plain = trigger.toLowerCase();
  return plain.length > 2 && words.some((word) => word !== plain && word.includes(plain));
}

export { frequentTags };
