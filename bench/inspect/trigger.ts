/** Whether `gesso inspect --draw` tells words that mini knows from those that it does not: `npm run bench -- inspect-trigger`. */
import { openBase } from "../../src/checkpoints/open-base.ts";
import { thresholds } from "../../src/dataset/thresholds.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { drawForTrigger } from "../../src/trainer/draw-trigger.ts";
import { type Claim, row } from "../claim.ts";

/** Names of emoji that mini was trained on, none of them among the words that the limit was set on. */
const known = "strawberry lion mushroom key camera envelope turtle pizza lemon bicycle candle elephant".split(" ");
/** Made up, so that they have no meaning anywhere. */
const unknown = "vrantok zilmep ohwx mqtr7 plorvax dgnx kuvbo xtylo brunzik fjorqa nalvet wixgor".split(" ");

export const inspectTrigger: Claim = {
  onlyWhenNamed: true,
  name: "inspect-trigger",
  about: "whether drawing a trigger word with mini tells known words from made-up ones; takes minutes",
  async run({ machine }) {
    const limit = thresholds.triggerDraws.value;
    const base = await openBase("mini", { hashCacheFile: undefined });
    const measure = async (word: string): Promise<number> => {
      const drawing = drawForTrigger(word, [], { base, createEngine: createOrtEngine });
      for (;;) {
        const { done, value } = await drawing.next();
        if (done) return value.alone;
      }
    };
    const lines = ["what mini draws for words by themselves", ...machine];
    const start = performance.now();
    let right = 0;
    for (const [label, words, isKnown] of [
      ["known", known, true],
      ["made up", unknown, false],
    ] as const) {
      const figures: string[] = [];
      for (const word of words) {
        const value = await measure(word);
        if (value >= limit === isKnown) right++;
        figures.push(`${word} ${value.toFixed(2)}${value >= limit === isKnown ? "" : " WRONG"}`);
      }
      lines.push(row(label, figures.join(", ")));
    }
    const count = known.length + unknown.length;
    lines.push(row("told right", `${right} of ${count}, with the limit at ${limit}`));
    lines.push(row("time", `${((performance.now() - start) / 1000 / count).toFixed(1)} s for a word (12 pictures)`));
    return lines;
  },
};
