/**
 * Planted faults in captions. The captions come with drawings, or from WordNet's examples; the words that are planted from WordNet's
 * headings for techniques, movements, colours, places, hours and lights, and for colours, places and clothes from other packages as well.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describeCaption, type CaptionFacts } from "../../src/dataset/caption-facts.ts";
import { captionChecks, contentWords } from "../../src/dataset/checks/captions.ts";
import type { InspectionFacts } from "../../src/dataset/checks/check.ts";
import { type Lexicon, openLexicon } from "./lexicon.ts";
import { every, otherVocabulary, pick, type Vocabulary, wordNetVocabulary } from "./vocabulary.ts";
import { thresholds } from "../../src/dataset/thresholds.ts";
import { pictureFolder } from "./sources.ts";
import type { Tally } from "./judge.ts";

const trigger = "inkwash7";
/** One token a word of up to five letters, two a longer one, as many as CLIP reads. */
const tokenizer = {
  name: "words",
  limit: 75,
  encode: (text: string): readonly number[] => text.split(/\s+/).flatMap((word) => (word.length > 5 ? [1, 2] : [1])),
  cutOff: (text: string): string => text.split(/\s+/).slice(40).join(" "),
};

/** A check's captions: those that it must find, and those that it must not. */
interface Trial {
  readonly check: string;
  readonly faulty: readonly string[];
  readonly clean: readonly string[];
  readonly isFound: (facts: CaptionFacts) => boolean;
}

export function captionProof(): readonly Tally[] {
  const lexicon = openLexicon();
  return [...setTallies(lexicon), ...makeTrials(lexicon).map(judgeTrial)];
}

function judgeTrial({ check, faulty, clean, isFound }: Trial): Tally {
  const found = (text: string): boolean => isFound(describeCaption(text, { trigger, tokenizer }));
  return {
    check,
    right: faulty.filter(found).length,
    missed: faulty.filter((text) => !found(text)),
    wrong: clean.filter(found),
    looked: clean.length,
  };
}

const setSize = 20;

/** Checks that look at all captions of a set: in 20 sets of 20 captions each, half of them without any fault. */
function setTallies(lexicon: Lexicon): readonly Tally[] {
  const sentences = lexicon
    .examplesUnder("artifact%1:03:00::")
    .filter((text) => text.split(" ").length > thresholds.phraseWords.value);
  const tagLists = readTagLists();
  const faults: Readonly<Record<string, (text: string, i: number) => string>> = {
    "caption.missing": () => "",
    "caption.same": () => pick(sentences, 7),
    "caption.mixed": (_, i) => pick(tagLists, i),
  };
  return Object.entries(faults).map(([check, plant], k) => {
    const tally = { check, right: 0, missed: [] as string[], wrong: [] as string[], looked: 0 };
    for (let set = 0; set < 20; set++) {
      const isFaulty = (i: number): boolean => set % 2 === 0 && i < 0.4 * setSize;
      const texts = Array.from({ length: setSize }, (_, i) => {
        const text = pick(sentences, 997 * k + set * setSize + i);
        return isFaulty(i) ? plant(text, set * setSize + i) : text;
      });
      const found = new Set(judgeSet(check, texts));
      for (const [i, text] of texts.entries()) {
        if (!isFaulty(i)) tally.looked++;
        if (isFaulty(i) && found.has(`${i}`)) tally.right++;
        else if (isFaulty(i)) tally.missed.push(text);
        else if (found.has(`${i}`)) tally.wrong.push(text);
      }
    }
    return tally;
  });
}

/** Names of the captions, which are their places, that a check finds. */
function judgeSet(id: string, texts: readonly string[]): readonly string[] {
  const check = captionChecks.find((row) => row.id === id);
  const pictures = texts.map((text, i) => ({
    item: { name: `${i}`, caption: text, captionSource: text === "" ? "none" : "text file" },
    caption: describeCaption(text, { trigger, tokenizer }),
  }));
  const facts = { pictures, target: { type: "style", base: "sdxl", tokenizer } } as unknown as InspectionFacts;
  return (check?.judge(facts) ?? []).flatMap((verdict) => verdict.pictures.map(({ name }) => name));
}

function makeTrials(lexicon: Lexicon): readonly Trial[] {
  const descriptions = readDescriptions();
  // Shorter ones are called phrases, on purpose: "a branch of the sewer" may be a tag as well.
  const sentences = every(
    lexicon.examplesUnder("artifact%1:03:00::").filter((text) => text.split(" ").length > thresholds.phraseWords.value),
    400,
  ).map((text) => `${text}.`);
  const looks = looksOf(lexicon);
  // Some drawings are filed under their technique as well.
  const tagLists = readTagLists().filter((list) => !list.split(", ").some((tag) => looks.includes(tag)));
  const words = wordNetVocabulary(lexicon);
  const { things } = words;
  const after = (text: string): string => `${trigger}, ${text}`;
  const plain = [...descriptions, ...things.map((thing) => `a ${thing}`), ...tagLists].map(after);
  return [
    ...triggerTrials(descriptions, plain),
    {
      check: "caption.long",
      faulty: sentences.slice(0, 60).map((text, i) => after(`${text} ${sentences[i + 60] ?? ""} `.repeat(8))),
      clean: plain,
      isFound: ({ tokens = 0 }) => tokens > tokenizer.limit,
    },
    {
      check: "caption.kind sentence",
      faulty: sentences,
      clean: tagLists,
      isFound: ({ kind }) => kind === "sentence",
    },
    { check: "caption.kind tags", faulty: tagLists, clean: sentences, isFound: ({ kind }) => kind === "tags" },
    ...lookTrials(looks, things, plain),
    ...[words, otherVocabulary(true), otherVocabulary(false)].flatMap((vocabulary) => [
      contradictionTrial(vocabulary, plain),
      ...groundTrials(vocabulary),
    ]),
    {
      check: "caption.quality-tags",
      faulty: descriptions
        .slice(0, 120)
        .map((text, i) =>
          after(`${text}, ${pick(["masterpiece", "score_9", "best quality", "absurdres", "score_7_up", "8k"], i)}`),
        ),
      clean: plain,
      isFound: ({ qualityTags }) => qualityTags.length > 0,
    },
  ];
}

function triggerTrials(descriptions: readonly string[], plain: readonly string[]): readonly Trial[] {
  const variants = ["Inkwash7", "inkwash 7", "inkwsh7", "ink_wash7", "INKWASH7", "inkwash-7"];
  return [
    { check: "trigger.absent", faulty: descriptions, clean: plain, isFound: ({ trigger: place }) => place?.at === "absent" },
    {
      check: "trigger.variant",
      faulty: descriptions.map((text, i) => `${pick(variants, i)}, ${text}`),
      clean: [...plain, ...descriptions],
      isFound: ({ trigger: place }) => place?.at === "variant",
    },
    {
      check: "trigger.later",
      faulty: descriptions.map((text) => `${text}, ${trigger}`),
      clean: plain,
      isFound: ({ trigger: place }) => place?.at === "later",
    },
  ];
}

/** Kinds of painting, drawing and print, and movements; words that mean something else more often (a "bar", a "plan") are left out by hand. */
const notLooks =
  /^(?:icon|ikon|plan|study|trace|tracing|canvas|canvass|landscape|seascape|waterscape|cityscape|still life|nude|nude painting|vignette|design|draft|elevation|zodiac|horoscope|delineation|depiction|diagram|block diagram|floor plan|ground plan|schematic|schematic drawing|wiring diagram|horizontal section|vertical section|architectural plan|rendering|scrabble|miniature|illumination|wash|print|picture|van|vanguard|lake poets|pentimento|animalization|limning|overprint|surprint|copperplate|imagism|reductivism|deco|daub|distemper|tanka|contact print|new wave)$/;

function looksOf(lexicon: Lexicon): readonly string[] {
  const senses = ["painting%1:06:00::", "drawing%1:06:00::", "print%1:06:00::", "art_movement%1:14:00::"];
  return [...new Set(senses.flatMap((sense) => lexicon.under(sense)))].filter((word) => !notLooks.test(word));
}

function lookTrials(looks: readonly string[], things: readonly string[], plain: readonly string[]): readonly Trial[] {
  return [
    {
      check: "caption.style-words",
      faulty: looks.flatMap((look, i) => [
        `${trigger}, a ${pick(things, 3 * i)}, ${look}`,
        `${trigger}, ${look} of a ${pick(things, 3 * i + 1)}`,
      ]),
      clean: plain,
      isFound: ({ styleWords }) => styleWords.length > 0,
    },
    {
      check: "caption.thin",
      faulty: looks.map((look) => `${trigger}, ${look}`),
      clean: plain,
      isFound: (caption) => contentWords({ caption }, trigger).length === 0,
    },
  ];
}

/** Tags of which no two can be true of one picture. */
const exclusive = [
  "1girl, 2girls",
  "indoors, outdoors",
  "solo, multiple girls",
  "short hair, long hair",
  "day, night",
  "standing, sitting",
];

function contradictionTrial({ of, colours, things }: Vocabulary, plain: readonly string[]): Trial {
  const after = (i: number, tags: string): string => `${trigger}, a ${pick(things, i)}, ${tags}`;
  return {
    check: `caption.contradiction${of}`,
    faulty: [
      ...colours.apart.map(([a, b], i) => after(i, `${a} ${pick(parts, i)}, ${b} ${pick(parts, i)}`)),
      ...Array.from({ length: 60 }, (_, i) => after(i, pick(exclusive, i))),
    ],
    clean: [
      ...plain,
      ...colours.alike.map(([a, b], i) => after(i, `${a} ${pick(parts, i)}, ${b} ${pick(parts, i)}`)),
      ...colours.apart.map(([a, b], i) => after(i, `${a} eyes, ${b} hair`)),
    ],
    isFound: ({ contradictions }) => contradictions.length > 0,
  };
}

const parts = ["eyes", "hair"];

/** Captions that name neither place nor light are the faulty ones: with an animal or a tool, and with what somebody wears. */
function groundTrials({ of, things, places, clothes }: Vocabulary): readonly Trial[] {
  const silent = [
    ...things.map((thing) => `${trigger}, a ${thing}`),
    ...clothes.map((piece, i) => `${trigger}, a ${pick(["man", "woman", "girl", "boy"], i)} in a ${piece}`),
  ];
  const speaks = (caption: CaptionFacts): boolean => caption.namesBackground || caption.namesLight;
  const trial = (check: string, clean: readonly string[]): Trial => ({
    check: `${check}${of}`,
    faulty: silent,
    clean,
    isFound: (caption) => !speaks(caption),
  });
  const where = ["in a", "behind a", "near the", "beside a", "at the"];
  return [
    trial(
      "caption.ground (in sentences)",
      places.map((word, i) => `${trigger}, a ${pick(things, i)} ${pick(where, i)} ${word}`),
    ),
    trial(
      "caption.ground (in tags)",
      places.map((word, i) => `${trigger}, ${pick(things, i)}, ${word}`),
    ),
  ];
}

/** The first line of each stamp's description is English. */
function readDescriptions(): readonly string[] {
  const folder = join(pictureFolder, "tuxpaint-stamps-default");
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".txt"))
    .sort();
  const texts = files.map((file) => (readFileSync(join(folder, file), "utf8").split("\n")[0] ?? "").trim().replace(/\.$/, ""));
  return [...new Set(texts)].filter((text) => text.length > 3 && !text.includes(",") && !text.includes("=")).slice(0, 280);
}

/** What people put their drawings under, as the drawings carry it: three words and more. */
function readTagLists(): readonly string[] {
  const folder = join(pictureFolder, "openclipart-svg");
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".svg"));
  const lists = every(files.sort(), 1200).flatMap((file) => {
    const tags = [...readFileSync(join(folder, file), "utf8").matchAll(/<rdf:li>([^<]{2,30})<\/rdf:li>/g)].map(([, tag = ""]) =>
      tag.trim().toLowerCase(),
    );
    return tags.length >= 3 && tags.every((tag) => /^[a-z0-9 -]+$/.test(tag)) ? [tags.join(", ")] : [];
  });
  return [...new Set(lists)].slice(0, 200);
}
