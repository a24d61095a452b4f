/** What a dataset is inspected for: a base model that is here, or a family of bases that is trained elsewhere. */
import type { BaseModel } from "../checkpoints/base.ts";
import { createCaptionTokenizer } from "../checkpoints/caption-tokens.ts";
import { readClipVocabulary } from "../checkpoints/clip-vocabulary.ts";
import type { CaptionHabit, InspectionTarget } from "../dataset/checks/check.ts";
import type { HoldOutChoice } from "../dataset/split.ts";
import { createClipTokenizer } from "../models/clip/tokenizer.ts";
import { lineages } from "../models/lineages.ts";
import { networkUnitPx } from "../planner/decide-training.ts";
import { recipeFamily } from "../planner/plan.ts";
import { type LoraType, type RecipeFamily, recipes } from "../planner/recipes.ts";

/** Families that can be named without a checkpoint, as rows: what matters to a dataset. */
interface FamilyRow {
  readonly family: InspectionTarget["family"];
  readonly recipe: RecipeFamily;
  readonly resolutionPx: number;
  readonly captionHabit: CaptionHabit;
  /** Flux reads captions with T5, whose tokens are not counted here. */
  readonly readsClip: boolean;
}

const xl = { recipe: "sdxl", resolutionPx: 1024, readsClip: true } as const;

const families = {
  sd15: { family: "sd15", recipe: "sd15", resolutionPx: 512, captionHabit: "either", readsClip: true },
  sdxl: { ...xl, family: "sdxl", captionHabit: "sentences" },
  pony: { ...xl, recipe: "pony", family: "anime", captionHabit: "tags" },
  illustrious: { ...xl, recipe: "illustrious", family: "anime", captionHabit: "tags" },
  noobai: { ...xl, recipe: "illustrious", family: "anime", captionHabit: "tags" },
  flux: { ...xl, family: "flux", captionHabit: "sentences", readsClip: false },
} as const satisfies Readonly<Record<string, FamilyRow>>;

/** Names that `--base` takes besides mini and checkpoints. */
export const inspectionFamilies = Object.keys(families) as readonly InspectionFamily[];
export type InspectionFamily = keyof typeof families;

export function isInspectionFamily(name: string): name is InspectionFamily {
  return name in families;
}

export interface TargetChoices {
  readonly type: LoraType;
  readonly trigger?: string | undefined;
  /** Side of the square that is trained at; by default what the base was made for. */
  readonly resolutionPx?: number | undefined;
  readonly batch?: number | undefined;
  /** Sides of buckets are multiples of it; by default what gesso train would take. */
  readonly bucketStepPx?: number | undefined;
  /** What is held out of training; as usual by default. */
  readonly holdOut?: HoldOutChoice | undefined;
}

/** Rows of `setSizes` by recipe; a narrow base that is not mini is judged by the pictures of a small model. */
const setFamilies: { readonly [R in RecipeFamily]: InspectionTarget["family"] } = {
  mini: "mini",
  sd15: "sd15",
  sdxl: "sdxl",
  pony: "anime",
  illustrious: "anime",
  "noobai-vpred": "anime",
};

/** The target for a base model: captions are counted with its own tokenizer. */
export function targetOfBase(base: BaseModel, choices: TargetChoices): InspectionTarget {
  const recipe = recipeFamily(base);
  const [encoder] = base.textEncoders;
  const step = Math.max(networkUnitPx(base), recipe === "mini" ? 1 : 64);
  return {
    base: base.name,
    family: setFamilies[recipe],
    type: choices.type,
    trigger: choices.trigger,
    resolutionPx: choices.resolutionPx ?? base.nativeResolutionPx,
    bucketStepPx: choices.bucketStepPx ?? step,
    holdOut: choices.holdOut,
    batch: choices.batch ?? recipes[recipe][choices.type].batch,
    // A checkpoint without a known lineage may be tuned to either; nothing in it says so.
    captionHabit: base.lineage.name !== base.family && lineages[base.lineage.name].captions === "tags" ? "tags" : "either",
    tokenizer: encoder && createCaptionTokenizer(encoder.tokenizer, base.name),
  };
}

/** The target for a family by name. @throws UserError when the bundled vocabulary is missing */
export async function targetOfFamily(name: InspectionFamily, choices: TargetChoices): Promise<InspectionTarget> {
  const row: FamilyRow = families[name];
  const clip = row.readsClip ? createCaptionTokenizer(createClipTokenizer(await readClipVocabulary()), "CLIP") : undefined;
  return {
    base: name,
    family: row.family,
    type: choices.type,
    trigger: choices.trigger,
    resolutionPx: choices.resolutionPx ?? row.resolutionPx,
    bucketStepPx: choices.bucketStepPx ?? 64,
    holdOut: choices.holdOut,
    batch: choices.batch ?? recipes[row.recipe][choices.type].batch,
    captionHabit: row.captionHabit,
    tokenizer: clip,
  };
}
