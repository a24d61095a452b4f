/** Checks of each caption: there, not too long, of one kind, not at odds with itself, and saying what should stay changeable. */
import { type Check, countPictures, type InspectedPicture, isOrAre, limit, percent, perPicture } from "./check.ts";

export const captionChecks: readonly Check[] = [
  {
    id: "caption.missing",
    title: "no caption",
    why: "What no caption names is learnt as part of the trigger word, all of it.",
    mend: "Write what the picture shows into a .txt file of its name.",
    thresholds: [],
    judge: (facts) =>
      perPicture(
        facts,
        ({ item }) => {
          if (item.captionSource === "none") return { severity: "error", measured: "no text file, or an empty one" };
          return item.captionSource === "folder name"
            ? { severity: "warning", measured: `only the folder's name: ${item.caption}` }
            : undefined;
        },
        (count, severity) =>
          severity === "error"
            ? `${count} ${count.startsWith("1 ") ? "has" : "have"} no caption.`
            : `${count} ${count.startsWith("1 ") ? "has" : "have"} only the folder's name for a caption.`,
      ),
  },
  {
    id: "caption.same",
    title: "the same caption on many",
    why: "With one caption for many pictures, everything in which they differ is learnt as chance.",
    mend: "Say of each picture what is its own: pose, place, light, clothes.",
    thresholds: ["sameCaptions"],
    judge(facts) {
      const counts = countBy(facts.pictures.map(({ caption }) => caption.text).filter((text) => text !== ""));
      const same = facts.pictures.filter(({ caption }) => (counts.get(caption.text) ?? 0) > 1);
      if (same.length <= limit("sameCaptions") * facts.pictures.length) return [];
      const pictures = same.map(({ item, caption }) => ({ name: item.name, measured: shorten(caption.text) }));
      return [{ severity: "warning", message: `${countPictures(same.length)} share their caption with another.`, pictures }];
    },
  },
  {
    id: "caption.long",
    title: "caption cut off",
    why: "The text encoder reads a fixed number of tokens; what comes after is not seen, but you count on it.",
    mend: "Shorten it, most important first.",
    thresholds: [],
    judge: (facts) =>
      perPicture(
        facts,
        ({ caption: { tokens, cutOff } }) => {
          const room = facts.target.tokenizer?.limit;
          if (tokens === undefined || room === undefined || tokens <= room) return undefined;
          return { severity: "warning", measured: `${tokens} of ${room} tokens; not read: "${shorten(cutOff)}"` };
        },
        (count) =>
          `${count} ${count.startsWith("1 ") ? "has a caption" : "have captions"} longer than ${facts.target.base} reads.`,
      ),
  },
  {
    id: "caption.mixed",
    title: "sentences and tags mixed",
    why: "Two ways of speaking halve what each teaches: the LoRA answers to neither as well as it could.",
    mend: "Write all captions the same way.",
    thresholds: ["mixedCaptions", "sentenceLength", "sentenceCommas"],
    judge({ pictures }) {
      const known = pictures.filter(({ caption }) => caption.kind === "sentence" || caption.kind === "tags");
      const sentences = known.filter(({ caption }) => caption.kind === "sentence");
      const tags = known.length - sentences.length;
      if (Math.min(sentences.length, tags) <= limit("mixedCaptions") * known.length) return [];
      const rarer = sentences.length < tags ? sentences : known.filter(({ caption }) => caption.kind === "tags");
      const hits = rarer.map(({ item, caption }) => ({
        name: item.name,
        measured: `${caption.kind}: ${shorten(caption.text)}`,
      }));
      return [
        { severity: "warning", message: `${sentences.length} captions are sentences, ${tags} are tags.`, pictures: hits },
      ];
    },
  },
  {
    id: "caption.kind",
    title: "captions that do not suit the base",
    why: "A base understands best what it was trained on: tags for Pony and Illustrious, sentences for SDXL with photographs and Flux.",
    mend: "Write the captions the other way, or choose a base that was trained on them.",
    thresholds: ["sentenceLength", "sentenceCommas"],
    judge({ pictures, target }) {
      const wanted = target.captionHabit === "tags" ? "tags" : target.captionHabit === "sentences" ? "sentence" : undefined;
      const known = pictures.filter(({ caption }) => caption.kind === "sentence" || caption.kind === "tags");
      const others = known.filter(({ caption }) => caption.kind !== wanted);
      if (wanted === undefined || others.length <= known.length / 2) return [];
      const hits = others.map(({ item, caption }) => ({ name: item.name, measured: shorten(caption.text) }));
      const message = `${percent(others.length / known.length)} of the captions are ${wanted === "tags" ? "sentences" : "tags"}; ${target.base} was trained on ${target.captionHabit}.`;
      return [{ severity: "warning", message, pictures: hits }];
    },
  },
  {
    id: "caption.contradiction",
    title: "a caption at odds with itself",
    why: "Two tags that cannot both be true teach that neither means anything.",
    mend: "Look at the picture, and keep the tag that is true.",
    thresholds: [],
    judge: (facts) =>
      perPicture(
        facts,
        ({ caption: { contradictions } }) =>
          contradictions.length > 0 ? { severity: "warning", measured: contradictions.join("; ") } : undefined,
        (count) =>
          `${count} ${count.startsWith("1 ") ? "has a caption that contradicts itself" : "have captions that contradict themselves"}.`,
      ),
  },
  {
    id: "caption.style-words",
    title: "the style named in a style set",
    why: "What a caption names stays changeable: naming the look ties it to those words instead of the trigger word.",
    mend: "Say what is shown, and leave out how it is drawn.",
    thresholds: [],
    judge: (facts) =>
      facts.target.type !== "style"
        ? []
        : perPicture(
            facts,
            ({ caption }) =>
              caption.styleWords.length > 0 ? { severity: "warning", measured: caption.styleWords.join(", ") } : undefined,
            (count) => `${count} ${count.startsWith("1 ") ? "names its" : "name their"} look.`,
          ),
  },
  {
    id: "caption.thin",
    title: "what is shown is not said",
    why: "A style is learnt as what the captions do not explain: where they leave out the subject, the subject becomes part of the style.",
    mend: "Say what is shown: who or what, doing what, where.",
    thresholds: [],
    judge: (facts) =>
      facts.target.type !== "style"
        ? []
        : perPicture(
            facts,
            (picture) => {
              const words = contentWords(picture, facts.target.trigger);
              const isThin = words.length === 0 && picture.caption.text !== "";
              return isThin ? { severity: "warning", measured: `"${shorten(picture.caption.text)}"` } : undefined;
            },
            (count) =>
              `${count} ${count.startsWith("1 ") ? "has a caption that names" : "have captions that name"} no subject.`,
          ),
  },
  {
    id: "caption.medium",
    title: "the medium is not said",
    why: "Where no caption says photo, drawing or render, the medium is learnt as part of the character and cannot be changed later.",
    mend: 'Add what kind of picture it is, such as "photo of" or "ink drawing of".',
    thresholds: [],
    judge({ pictures, target }) {
      const named = pictures.filter(({ caption }) => caption.styleWords.length > 0 || MEDIUM.test(caption.text)).length;
      const known = pictures.filter(({ caption }) => caption.text !== "").length;
      if (target.type === "style" || known === 0 || named > 0) return [];
      return [{ severity: "info", message: "No caption says what kind of picture it is.", pictures: [] }];
    },
  },
  {
    id: "caption.ground",
    title: "background and light not named",
    why: "A background that no caption names is learnt along with the subject, and comes back in every sample.",
    mend: "Add a few words on where it is and what light falls on it.",
    thresholds: ["groundNamed"],
    judge({ pictures, target }) {
      const known = pictures.filter(({ caption }) => caption.text !== "");
      const silent = known.filter(({ caption }) => !caption.namesBackground && !caption.namesLight);
      const named = known.length === 0 ? 1 : 1 - silent.length / known.length;
      if (named >= limit("groundNamed")) return [];
      const hits = silent.map(({ item, caption }) => ({ name: item.name, measured: shorten(caption.text) }));
      const severity = target.type === "style" ? "info" : "warning";
      const who = named === 0 ? "No caption names" : `Only ${percent(named)} of the captions name`;
      return [{ severity, message: `${who} the background or the light.`, pictures: hits }];
    },
  },
  {
    id: "caption.quality-tags",
    title: "tags that rate the picture",
    why: "Scores and praise take up tokens, and what is in every caption becomes part of the trigger word.",
    mend: "Leave them out of captions; they stay free for prompts.",
    thresholds: [],
    judge: (facts) =>
      perPicture(
        facts,
        ({ caption }) =>
          caption.qualityTags.length > 0 ? { severity: "info", measured: caption.qualityTags.join(", ") } : undefined,
        (count) => `${count} ${isOrAre(count)} rated in ${count.startsWith("1 ") ? "its caption" : "their captions"}.`,
      ),
  },
];

const MEDIUM =
  /\b(photo|photograph|picture of|drawing|painting|illustration|render|screenshot|artwork|emoji|icon|sketch|style)\b/i;

/** Words that name something: not the trigger word, not the look, not praise. */
export function contentWords({ caption }: Pick<InspectedPicture, "caption">, trigger: string | undefined): readonly string[] {
  const other = new Set(
    [...caption.styleWords, ...caption.qualityTags, trigger ?? ""].flatMap((text) => text.toLowerCase().split(/\s+/)),
  );
  return caption.words.filter(
    (word) => !other.has(word) && !/^(artwork|drawing|painting|illustration|image|picture)$/.test(word),
  );
}

export function countBy(values: Iterable<string>): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

/** The beginning of a long text. */
export function shorten(text: string, length = 60): string {
  return text.length <= length ? text : `${text.slice(0, length - 1).trimEnd()}…`;
}
