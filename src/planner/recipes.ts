/** What to train with by default, by kind of base and by what is to be learnt; the one place where these numbers stand. */

/** What the adapter is to teach. */
export type LoraType = (typeof loraTypes)[number];
export const loraTypes = ["character", "style", "concept"] as const;

/** Which row of recipes a base takes: the bundled model is a family of its own, being a hundred times smaller. */
export type RecipeFamily = "mini" | "sd15" | "sdxl";

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
  readonly captionDropout: number;
}

/** Rows that several recipes share. */
const sd15 = { schedule: "cosine", warmup: 0.05, batch: 2, minSnrGamma: 5 } as const;
const sdxl = { textEncoderLearningRate: 0, warmup: 0, batch: 1, minSnrGamma: 5 } as const;
const mini = {
  textEncoderLearningRate: 0,
  schedule: "cosine",
  warmup: 0.05,
  batch: 4,
  minSnrGamma: 5,
  rank: 16,
  alpha: 16,
} as const;

/**
 * SD 1.5 and SDXL: the middle of what kohya-ss/sd-scripts, OneTrainer, Civitai's trainer and the HoloStrawberry notebooks use.
 * mini: measured on the bundled examples.
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
      textEncoderLearningRate: 0,
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
      schedule: "constant",
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
    },
    concept: {
      ...sdxl,
      exposures: 1500,
      exposuresRange: [1000, 3000],
      rank: 16,
      alpha: 8,
      learningRate: 1e-4,
      schedule: "constant",
      captionDropout: 0,
    },
  },
  mini: {
    character: { ...mini, exposures: 1200, exposuresRange: [600, 2400], learningRate: 1e-3, captionDropout: 0 },
    style: { ...mini, exposures: 1200, exposuresRange: [800, 3200], learningRate: 1e-3, captionDropout: 0.05 },
    concept: { ...mini, exposures: 1200, exposuresRange: [600, 2400], learningRate: 1e-3, captionDropout: 0 },
  },
};
