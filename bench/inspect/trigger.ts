/** Whether `gesso inspect --draw` tells words that mini knows from those that it does not: `npm run bench -- inspect-trigger`. */
import { openBase } from "../../src/checkpoints/open-base.ts";
import { thresholds } from "../../src/dataset/thresholds.ts";
import type { TriggerDrawing } from "../../src/dataset/trigger-facts.ts";
import type { Engine } from "../../src/engines/engine.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { countCost } from "../../src/graph/cost.ts";
import { parseUnetConfig } from "../../src/models/unet/config.ts";
import { buildDenoiser } from "../../src/trainer/denoiser.ts";
import { drawForTrigger } from "../../src/trainer/draw-trigger.ts";
import { type Claim, median, row } from "../claim.ts";
import { sdxlTextEncoders, sdxlUnet } from "../sdxl-graph.ts";

// Neither kind was chosen by what it gives: an order by hashes picked the known words from the names of emoji in mini's training captions,
// and made up the others. No word that the measure or its limit was worked out on is among them.
const kinds: Readonly<Record<string, { readonly words: readonly string[]; readonly isKnown: boolean }>> = {
  known: {
    words: (
      "koala tooth handbag zebra princess scorpion parrot bomb kangaroo castle headphone cloud fox trophy girl flashlight pretzel door " +
      "alien spider hamburger airplane magnet ladybug"
    ).split(" "),
    isKnown: true,
  },
  syllables: {
    words: "lixer suji henamet govox jezcomiv hejqafoh fidkic wolqaq gimfaf3 hegcig dovqat4 padhot".split(" "),
    isKnown: false,
  },
  consonants: { words: "hjvdzv gxhkjr vkxz bqkj clgc tgsxfm".split(" "), isKnown: false },
  lookalikes: { words: "kanaroo clud flashlgiht h3adphone manet h4mburger".split(" "), isKnown: false },
};

/** Its latents are larger: one way from noise to a picture is enough, of 3 noise levels with 16 words in pairs. */
const SDXL_RUNS = 24;

export const inspectTrigger: Claim = {
  onlyWhenNamed: true,
  name: "inspect-trigger",
  about: "whether drawing a trigger word with mini tells known words from made-up ones, and what it takes; takes minutes",
  async run({ machine }) {
    const limit = thresholds.triggerDraws.value;
    const base = await openBase("mini", { hashCacheFile: undefined });
    const lines = ["what mini draws for words by themselves", ...machine];
    const told: { isKnown: boolean; isRight: boolean; seconds: number; runs: number }[] = [];
    for (const [label, { words, isKnown }] of Object.entries(kinds)) {
      const figures: string[] = [];
      for (const word of words) {
        const counter = { runs: 0 };
        const start = performance.now();
        const { deviations } = await last(drawForTrigger(word, { base, createEngine: () => createCountingEngine(counter) }));
        const isRight = deviations >= limit === isKnown;
        told.push({ ...counter, isKnown, isRight, seconds: (performance.now() - start) / 1000 });
        figures.push(`${word} ${deviations.toFixed(1)}${isRight ? "" : " WRONG"}`);
      }
      lines.push(row(label, figures.join(", ")));
    }
    const right = told.filter(({ isRight }) => isRight).length;
    lines.push(row("told right", `${right} of ${told.length}, with the limit at ${limit} standard deviations`));
    for (const isKnown of [false, true]) {
      const kind = told.filter((word) => word.isKnown === isKnown && word.isRight);
      const [seconds, runs] = [median(kind.map((word) => word.seconds)), median(kind.map((word) => word.runs))];
      const which = isKnown ? "a known word, which is drawn too" : "a made-up word";
      lines.push(row("time", `${seconds.toFixed(1)} s for ${which}: ${runs} runs of the UNet, on two prompts each`));
    }
    return [...lines, row("SDXL", await forecastSdxl())];
  },
};

async function last(drawing: AsyncGenerator<unknown, TriggerDrawing>): Promise<TriggerDrawing> {
  for (;;) {
    const { done, value } = await drawing.next();
    if (done) return value;
  }
}

async function createCountingEngine(counter: { runs: number }): Promise<Engine> {
  const engine = await createOrtEngine();
  const compile = engine.compile.bind(engine);
  return Object.assign(engine, {
    async compile(...[graph, options]: Parameters<typeof compile>) {
      const executable = await compile(graph, options);
      const run: typeof executable.run = (feeds) => {
        if (options.name.startsWith("denoiser")) counter.runs++;
        return executable.run(feeds);
      };
      return { ...executable, run };
    },
  });
}

/** What the comparison takes with SDXL here, if all of its UNet ran as fast as a large matrix product. */
async function forecastSdxl(): Promise<string> {
  const base = { unet: parseUnetConfig(sdxlUnet), textEncoders: await sdxlTextEncoders() };
  const shape = { batch: 2, height: 128, width: 128 };
  const { matmulFlops } = countCost(buildDenoiser(base, { shape, adapters: [], text: "embeddings" }));
  const engine = await createOrtEngine();
  const { flopsPerSecond } = await engine.measureProfile();
  await engine.dispose();
  const minutes = (SDXL_RUNS * matmulFlops) / flopsPerSecond / 60;
  const work = `${((SDXL_RUNS * matmulFlops) / 1e12).toFixed(0)} TFLOP for a made-up word at 1024 px, in ${SDXL_RUNS} runs`;
  return `${work}: at least ${minutes.toFixed(0)} min at the ${(flopsPerSecond / 1e9).toFixed(0)} GFLOP/s of this processor's matrix product`;
}
