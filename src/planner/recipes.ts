/** What to train with by default, by kind of base and by what is to be learnt; the one place where these numbers stand. */
import type { LineageName } from "../models/lineages.ts";
import { from, heuristic } from "./sources.ts";

/** What the adapter is to teach. */
export type LoraType = (typeof loraTypes)[number];
export const loraTypes = ["character", "style", "concept"] as const;

/** Which row of recipes a base takes: the bundled model is a family of its own, being a hundred times smaller. */
export type RecipeFamily = "mini" | "sd15" | "sdxl" | "pony" | "illustrious" | "noobai-vpred";

/** The row of what a base was trained from. */
export const recipeOfLineage: { readonly [N in LineageName]: RecipeFamily } = {
  sd15: "sd15",
  "sd15-anime": "sd15",
  sdxl: "sdxl",
  pony: "pony",
  illustrious: "illustrious",
  noobai: "illustrious",
  "noobai-vpred": "noobai-vpred",
};

/** What each number of a recipe is taken from. */
export type RecipeSources = Readonly<
  Record<
    | "exposures"
    | "adapter"
    | "learningRate"
    | "textEncoder"
    | "schedule"
    | "batch"
    | "minSnr"
    | "noiseOffset"
    | "captionDropout",
    string
  >
>;

/** Recommended settings at 20 pictures; see `planTraining` for how they move with the number of pictures. */
export interface Recipe {
  /** Pictures shown in all, at 20 distinct ones, and the range that it stays in. */
  readonly exposures: number;
  readonly exposuresRange: readonly [number, number];
  readonly rank: number;
  readonly alpha: number;
  /** Of AdamW, at this alpha and batch. */
  readonly learningRate: number;
  /** 0: the text encoders are not trained. */
  readonly textEncoderLearningRate: number;
  readonly schedule: "constant" | "cosine";
  /** Share of the steps over which the rate rises from zero. */
  readonly warmup: number;
  readonly batch: number;
  readonly minSnrGamma: number;
  readonly noiseOffset: number;
  readonly captionDropout: number;
  readonly sources: RecipeSources;
}

/** What rows of one family share. */
type Shared = Omit<Recipe, "exposures" | "exposuresRange" | "learningRate" | "captionDropout" | "rank" | "alpha">;

const cosine = { schedule: "cosine", warmup: 0.05, noiseOffset: 0 } as const;

const sd15: Shared = {
  ...cosine,
  textEncoderLearningRate: 0,
  batch: 2,
  minSnrGamma: 5,
  sources: {
    exposures: from("holo", "civitai"),
    adapter: from("holo", "loraScripts"),
    learningRate: from("oneTrainer", "lycoris"),
    textEncoder: from("holo"),
    schedule: from("holo"),
    batch: from("holo"),
    minSnr: from("holo", "civitai"),
    noiseOffset: from("diffusers"),
    captionDropout: from("lycoris"),
  },
};

const sdxl: Shared = {
  textEncoderLearningRate: 0,
  schedule: "constant",
  warmup: 0,
  batch: 1,
  minSnrGamma: 5,
  noiseOffset: 0,
  sources: {
    exposures: from("kohya", "seaArt"),
    adapter: from("kohya", "civitai"),
    learningRate: from("kohya", "simpleTuner"),
    textEncoder: from("kohya"),
    schedule: from("kohya"),
    batch: heuristic("kohya"),
    minSnr: from("civitai"),
    noiseOffset: from("diffusers"),
    captionDropout: from("simpleTuner"),
  },
};

const pony: Shared = {
  ...cosine,
  textEncoderLearningRate: 0,
  batch: 4,
  minSnrGamma: 0,
  noiseOffset: 0.03,
  sources: {
    ...sdxl.sources,
    exposures: heuristic("civitai", "holoXl"),
    adapter: from("holoXl"),
    learningRate: from("holoXl"),
    textEncoder: from("holoXl"),
    schedule: from("civitai"),
    batch: from("holoXl", "civitai"),
    minSnr: from("civitai"),
    noiseOffset: from("civitai"),
  },
};

const illustrious: Shared = {
  ...cosine,
  textEncoderLearningRate: 0,
  batch: 4,
  minSnrGamma: 5,
  sources: {
    ...pony.sources,
    exposures: heuristic("holoXl", "illustriousGuide"),
    learningRate: from("holoXl", "illustriousGuide"),
    textEncoder: from("illustriousGuide"),
    minSnr: from("civitai"),
    noiseOffset: from("diffusers"),
  },
};

/** On bases of v prediction: the middle of the rates in use, 1e-4 to 2e-4; nobody has published one. */
const vRate: Pick<Recipe, "learningRate" | "sources"> = {
  learningRate: 1.5e-4,
  sources: { ...illustrious.sources, learningRate: heuristic("holoXl"), noiseOffset: from("zeroSnr") },
};

const miniSource = from("measured");
const mini: Shared & Pick<Recipe, "rank" | "alpha"> = {
  ...cosine,
  textEncoderLearningRate: 0,
  batch: 4,
  minSnrGamma: 5,
  rank: 16,
  alpha: 16,
  sources: {
    exposures: miniSource,
    adapter: miniSource,
    learningRate: miniSource,
    textEncoder: from("kohya"),
    schedule: miniSource,
    batch: miniSource,
    minSnr: from("minSnr"),
    noiseOffset: from("diffusers"),
    captionDropout: from("lycoris"),
  },
};

/** Concepts on anime bases have no recipe of their own in any source. */
function asConcept(recipe: Recipe): Recipe {
  const { sources } = recipe;
  return { ...recipe, exposures: 1500, sources: { ...sources, exposures: heuristic("kohya"), adapter: heuristic("holoXl") } };
}

const ponyCharacter: Recipe = {
  ...pony,
  exposures: 2000,
  exposuresRange: [1000, 3000],
  rank: 8,
  alpha: 4,
  learningRate: 3e-4,
  textEncoderLearningRate: 6e-5,
  captionDropout: 0,
};

const illustriousCharacter: Recipe = {
  ...illustrious,
  exposures: 2000,
  exposuresRange: [1000, 3000],
  rank: 8,
  alpha: 4,
  learningRate: 3e-4,
  textEncoderLearningRate: 3e-5,
  captionDropout: 0,
};

const illustriousStyle: Recipe = {
  ...illustrious,
  exposures: 4000,
  exposuresRange: [3000, 5000],
  rank: 32,
  alpha: 16,
  learningRate: 2e-4,
  captionDropout: 0.05,
};

/**
 * SD 1.5 and SDXL: the middle of what kohya-ss/sd-scripts, OneTrainer, Civitai's trainer and the HoloStrawberry notebooks use. Pony and
 * Illustrious: the HoloStrawberry XL notebook and Civitai's trainer. mini: measured on the bundled examples.
 */
export const recipes: Readonly<Record<RecipeFamily, Readonly<Record<LoraType, Recipe>>>> = {
  sd15: {
    character: {
      ...sd15,
      exposures: 3000,
      exposuresRange: [2000, 4000],
      rank: 16,
      alpha: 8,
      learningRate: 3e-4,
      textEncoderLearningRate: 5e-5,
      captionDropout: 0,
    },
    style: {
      ...sd15,
      exposures: 4000,
      exposuresRange: [3000, 8000],
      rank: 32,
      alpha: 16,
      learningRate: 2e-4,
      captionDropout: 0.05,
    },
    concept: {
      ...sd15,
      exposures: 2500,
      exposuresRange: [1500, 4000],
      rank: 16,
      alpha: 8,
      learningRate: 2e-4,
      textEncoderLearningRate: 3e-5,
      captionDropout: 0,
    },
  },
  sdxl: {
    character: {
      ...sdxl,
      exposures: 2000,
      exposuresRange: [1000, 3000],
      rank: 32,
      alpha: 16,
      learningRate: 1e-4,
      captionDropout: 0,
    },
    style: {
      ...sdxl,
      exposures: 3000,
      exposuresRange: [2000, 6000],
      rank: 32,
      alpha: 16,
      learningRate: 1e-4,
      schedule: "cosine",
      captionDropout: 0.05,
      sources: { ...sdxl.sources, exposures: from("seaArt"), schedule: from("civitai") },
    },
    concept: {
      ...sdxl,
      exposures: 1500,
      exposuresRange: [1000, 3000],
      rank: 16,
      alpha: 8,
      learningRate: 1e-4,
      captionDropout: 0,
      sources: { ...sdxl.sources, exposures: heuristic("kohya") },
    },
  },
  pony: {
    character: ponyCharacter,
    style: {
      ...pony,
      exposures: 3000,
      exposuresRange: [2000, 6000],
      rank: 16,
      alpha: 8,
      learningRate: 3e-4,
      captionDropout: 0.05,
    },
    concept: asConcept(ponyCharacter),
  },
  illustrious: {
    character: illustriousCharacter,
    style: illustriousStyle,
    concept: asConcept(illustriousCharacter),
  },
  "noobai-vpred": {
    character: { ...illustriousCharacter, ...vRate },
    style: { ...illustriousStyle, ...vRate },
    concept: { ...asConcept(illustriousCharacter), ...vRate },
  },
  mini: {
    character: { ...mini, exposures: 1200, exposuresRange: [600, 2400], learningRate: 1e-3, captionDropout: 0 },
    style: { ...mini, exposures: 1200, exposuresRange: [800, 3200], learningRate: 1e-3, captionDropout: 0.05 },
    concept: { ...mini, exposures: 1200, exposuresRange: [600, 2400], learningRate: 1e-3, captionDropout: 0 },
  },
};
