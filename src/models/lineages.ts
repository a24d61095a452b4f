/** The published models that most others were trained from: the same networks, but each wants other captions and other settings. */

export type LineageName = (typeof lineageNames)[number];
export const lineageNames = ["sd15", "sd15-anime", "sdxl", "pony", "illustrious", "noobai", "noobai-vpred"] as const;

export interface Lineage {
  readonly family: "sd15" | "sdxl";
  /** In a sentence: "Pony Diffusion V6 XL". */
  readonly label: string;
  /** What its captions were: comma-separated tags, or sentences. */
  readonly captions: "tags" | "sentences";
  readonly captionAdvice: string;
  /**
   * Which layer of SD 1.5's text encoder the UNet reads, counted from the end. SDXL always reads the second-to-last of both encoders,
   * whatever interfaces show.
   */
  readonly clipSkip: 1 | 2;
  /** Whether it predicts velocity on a schedule that ends in pure noise, without its file having to say so. */
  readonly isVPrediction: boolean;
}

const sdxl = { family: "sdxl", clipSkip: 2, isVPrediction: false } as const;
const booru = { ...sdxl, captions: "tags" } as const;
const danbooru = "it was trained on Danbooru tags; quality tags (masterpiece, best quality) are for prompts, not for captions";

export const lineages: { readonly [N in LineageName]: Lineage } = {
  sd15: {
    family: "sd15",
    label: "Stable Diffusion 1.5",
    captions: "sentences",
    captionAdvice: "it was trained on short descriptions",
    clipSkip: 1,
    isVPrediction: false,
  },
  "sd15-anime": {
    family: "sd15",
    label: "an anime model on Stable Diffusion 1.5",
    captions: "tags",
    captionAdvice: "anime models on SD 1.5 were trained on Danbooru tags",
    clipSkip: 2,
    isVPrediction: false,
  },
  sdxl: {
    ...sdxl,
    label: "SDXL",
    captions: "sentences",
    captionAdvice: "it was trained on descriptions in sentences",
  },
  pony: {
    ...booru,
    label: "Pony Diffusion V6 XL",
    captionAdvice: "it was trained on e621 and Danbooru tags; leave score_9 and its like to prompts: they take 34 of 75 tokens",
  },
  illustrious: { ...booru, label: "Illustrious XL", captionAdvice: danbooru },
  noobai: { ...booru, label: "NoobAI XL", captionAdvice: danbooru },
  "noobai-vpred": { ...booru, label: "NoobAI XL V-Pred", captionAdvice: danbooru, isVPrediction: true },
};
