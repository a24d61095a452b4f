/** Planted faults in captions: descriptions that come with drawings, and one fault each. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describeCaption } from "../../src/dataset/caption-facts.ts";
import type { CaptionFacts } from "../../src/dataset/caption-facts.ts";
import { pictureFolder } from "./sources.ts";
import type { Tally } from "./judge.ts";

const trigger = "inkwash7";

interface CaptionFault {
  readonly check: string;
  /** Faults of these checks are not judged by this one. */
  readonly also?: readonly string[];
  plant(text: string, i: number): string;
  readonly isFound: (facts: CaptionFacts) => boolean;
}

const pick = (list: readonly string[], i: number): string => list[i % list.length] ?? "";

const captionFaults: readonly CaptionFault[] = [
  {
    check: "trigger.absent",
    also: ["trigger.variant"],
    plant: (text) => text,
    isFound: ({ trigger: place }) => place?.at === "absent",
  },
  {
    check: "trigger.variant",
    also: ["trigger.absent"],
    plant: (text, i) => `${pick(["Inkwash7", "inkwash 7", "inkwsh7", "ink_wash7", "INKWASH7", "inkwash-7"], i)}, ${text}`,
    isFound: ({ trigger: place }) => place?.at === "variant",
  },
  { check: "trigger.later", plant: (text) => `${text}, ${trigger}`, isFound: ({ trigger: place }) => place?.at === "later" },
  {
    check: "caption.style-words",
    plant: (text, i) =>
      `${trigger}, ${text}, ${pick(["watercolor", "pencil drawing", "anime style", "oil painting", "line art", "sketch", "digital painting"], i)}`,
    isFound: ({ styleWords }) => styleWords.length > 0,
  },
  {
    check: "caption.contradiction",
    plant: (text, i) =>
      `${trigger}, ${text}, ${pick(["1girl, 2girls", "blue eyes, red eyes", "indoors, outdoors", "solo, multiple girls", "short hair, long hair", "day, night", "standing, sitting"], i)}`,
    isFound: ({ contradictions }) => contradictions.length > 0,
  },
  {
    check: "caption.quality-tags",
    plant: (text, i) =>
      `${trigger}, ${text}, ${pick(["masterpiece", "score_9", "best quality", "absurdres", "score_7_up", "8k"], i)}`,
    isFound: ({ qualityTags }) => qualityTags.length > 0,
  },
];

/** The first line of each stamp's description is English. */
function readDescriptions(): readonly string[] {
  const folder = join(pictureFolder, "tuxpaint-stamps-default");
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".txt"))
    .sort();
  const texts = files.map((file) => (readFileSync(join(folder, file), "utf8").split("\n")[0] ?? "").trim().replace(/\.$/, ""));
  return [...new Set(texts)].filter((text) => text.length > 3 && !text.includes(",") && !text.includes("=")).slice(0, 280);
}

export function captionProof(): readonly Tally[] {
  const texts = readDescriptions();
  const clean = texts.map((text) => ({ name: text, check: "", facts: describe(`${trigger}, ${text}`) }));
  const planted = texts.flatMap((text, i) => {
    const fault = captionFaults[i % captionFaults.length];
    return fault
      ? [
          {
            name: `${fault.check}: ${text}`,
            check: fault.check,
            facts: describe(fault.plant(text, Math.floor(i / captionFaults.length))),
          },
        ]
      : [];
  });
  return captionFaults.map((fault) => {
    const { check, also = [] } = fault;
    const all = [...clean, ...planted].filter((entry) => !also.includes(entry.check));
    return {
      check,
      right: all.filter((entry) => entry.check === check && fault.isFound(entry.facts)).length,
      missed: all.filter((entry) => entry.check === check && !fault.isFound(entry.facts)).map(({ name }) => name),
      wrong: all.filter((entry) => entry.check !== check && fault.isFound(entry.facts)).map(({ name }) => name),
    };
  });
}

function describe(text: string): CaptionFacts {
  return describeCaption(text, { trigger, tokenizer: undefined });
}
