/** Every threshold of the inspection, in one table: the value, its unit, and where it comes from. Checks hold no numbers of their own. */

export interface Threshold {
  readonly value: number;
  /** Printed after the value: "px", "%", "bits of 64"; "" for a bare number. */
  readonly unit: string;
  /** What it bounds, in a few words. */
  readonly about: string;
  /** A source, or "heuristic": chosen by Gesso, and shown as such. */
  readonly source: string;
}

const heuristic = "heuristic";
const proof = "heuristic, checked by npm run bench -- inspect-proof";
const cleanVision = "CleanVision (cleanlab), its default";
const imagededup = "imagededup, its default for pHash";
const everyDream = "EveryDream2trainer's data guide";

/** A table that names its rows and keeps their type. */
function table<const T extends Readonly<Record<string, Threshold>>>(rows: T): Readonly<Record<keyof T, Threshold>> {
  return rows;
}

export const thresholds = table({
  // Resolution and shape.
  areaWarn: {
    value: 0.95,
    unit: "of the target area",
    about: "smaller pictures are enlarged",
    source: "heuristic, from EveryDream2trainer's data guide",
  },
  areaFail: { value: 0.25, unit: "of the target area", about: "smaller pictures show mostly interpolation", source: heuristic },
  enlargedShare: { value: 0.1, unit: "of the pictures", about: "more enlarged ones mark the whole set", source: heuristic },
  aspectWarn: {
    value: 3,
    unit: "to 1",
    about: "longer pictures lose much of what they show",
    source: "heuristic, from EveryDream2trainer's data guide",
  },
  aspectFail: { value: 4, unit: "to 1", about: "longer pictures fit no bucket", source: everyDream },
  cropWarn: { value: 0.2, unit: "of the picture", about: "more is cut off to fit the bucket", source: heuristic },
  cropFail: { value: 0.5, unit: "of the picture", about: "gesso train refuses more", source: "src/trainer/pictures.ts" },
  // Sharpness, exposure, content.
  blurPx: { value: 1.4, unit: "px at training size", about: "wider blur is learnt as the look", source: proof },
  softDetail: {
    value: 0.032,
    unit: "of the power",
    about: "less at the finest frequencies than at middling ones means less detail than pixels",
    source: proof,
  },
  enlargementPeak: {
    value: 8.5,
    unit: "times the median",
    about: "of a soft picture, shows that it was enlarged",
    source: proof,
  },
  dark: { value: 0.32, unit: "brightness", about: "the brightest 1 % is darker than this", source: cleanVision },
  light: { value: 0.95, unit: "brightness", about: "all but the darkest 5 % is brighter than this", source: cleanVision },
  toneRange: { value: 42, unit: "grey levels", about: "a picture that uses fewer is hazy or empty", source: proof },
  entropyBits: { value: 3, unit: "bits", about: "a picture with less says almost nothing", source: cleanVision },
  // Borders, transparency, compression.
  borderShare: { value: 0.012, unit: "of the side", about: "a wider bar or frame is learnt", source: proof },
  borderAlone: { value: 0.03, unit: "of the side", about: "a bar without one on the other side is wider", source: proof },
  borderMost: { value: 0.7, unit: "of the side", about: "more is the picture's own plain ground", source: heuristic },
  transparentShare: { value: 0.005, unit: "of the picture", about: "more transparency is worth knowing of", source: heuristic },
  transparentWarn: { value: 0.97, unit: "of the picture", about: "hardly anything is left to see", source: heuristic },
  blockiness: { value: 1.6, unit: "grey levels", about: "larger steps between blocks are seen", source: proof },
  ringing: { value: 4, unit: "grey levels", about: "larger steps where plain ground ends at a block are seen", source: proof },
  jpegQuality: { value: 60, unit: "", about: "lower qualities show their blocks", source: proof },
  // Copies.
  copyHashBits: {
    value: 10,
    unit: "bits of 64",
    about: "hashes of a picture and its copy differ by at most",
    source: imagededup,
  },
  similarHashBits: {
    value: 15,
    unit: "bits of 64",
    about: "hashes of pictures to look at differ by at most",
    source: "imagededup, its examples",
  },
  copyCorrelation: {
    value: 0.97,
    unit: "correlation",
    about: "thumbnails of a picture and its copy agree by at least",
    source: proof,
  },
  copyCorrelationSure: {
    value: 0.985,
    unit: "correlation",
    about: "thumbnails that agree by more are copies if their hashes are near at all",
    source: proof,
  },
  copyColours: { value: 0.25, unit: "of the colours", about: "such copies have in common at least", source: proof },
  copyDetails: { value: 0.9, unit: "correlation", about: "and in their details by at least", source: proof },
  copyDetailsSure: {
    value: 0.94,
    unit: "correlation",
    about: "details that agree by more are those of a copy whatever its light and colours",
    source: proof,
  },
  similarCorrelation: {
    value: 0.93,
    unit: "correlation",
    about: "thumbnails of pictures to look at agree by at least",
    source: proof,
  },
  similarColours: { value: 0.5, unit: "of the colours", about: "copies have in common at least", source: proof },
  cutColours: { value: 0.6, unit: "of the colours", about: "a cut and its whole have in common at least", source: proof },
  cutCorrelation: {
    value: 0.93,
    unit: "correlation",
    about: "a cut agrees with its place in the whole by at least",
    source: proof,
  },
  cutDetails: { value: 0.8, unit: "correlation", about: "and in its details by at least", source: proof },
  cutBits: { value: 2, unit: "bits", about: "pictures with less are not looked for in others", source: heuristic },
  // Repeated marks.
  markShare: { value: 0.2, unit: "of the pictures", about: "a mark on more of them is learnt", source: heuristic },
  markMinimum: { value: 3, unit: "pictures", about: "fewer are a coincidence", source: heuristic },
  markSeed: {
    value: 0.5,
    unit: "correlation",
    about: "a part of the corner agrees by at least, from which a mark is grown",
    source: proof,
  },
  markCorrelation: {
    value: 0.4,
    unit: "correlation",
    about: "corners from which the mark is made agree by at least",
    source: proof,
  },
  markLikeness: { value: 0.36, unit: "", about: "a picture with the mark is like it by at least", source: proof },
  markFaint: { value: 0.23, unit: "", about: "or by at least this, where the mark stands out from the corner", source: proof },
  markStandsOut: {
    value: 1.25,
    unit: "times",
    about: "a faint mark is more like its place than the rest of the corner",
    source: proof,
  },
  markEvidence: {
    value: 700,
    unit: "cells",
    about: "that a mark has, of 2560 in a corner, times the pictures that it is made from, are no coincidence",
    source: proof,
  },
  markInner: {
    value: 0.05,
    unit: "of the mark",
    about: "at the sides that face the picture's middle: more goes on into the picture, and is no mark",
    source: proof,
  },
  markLine: { value: 0.6, unit: "correlation", about: "with itself a few cells on: more is a line or an edge", source: proof },
  // Variety.
  clusterLikeness: { value: 0.8, unit: "cosine", about: "pictures of one cluster are at least so alike", source: heuristic },
  clusterShare: { value: 0.4, unit: "of the pictures", about: "one cluster with more outweighs the others", source: heuristic },
  diversityWidth: { value: 0.35, unit: "cosine distance", about: "over which pictures stop being alike", source: heuristic },
  diversityCharacter: {
    value: 0.3,
    unit: "of the pictures",
    about: "fewer really different ones, for a character",
    source: heuristic,
  },
  diversityStyle: {
    value: 0.5,
    unit: "of the pictures",
    about: "fewer really different ones, for a style or concept",
    source: heuristic,
  },
  sameBackground: {
    value: 0.6,
    unit: "of the pictures",
    about: "more on one plain ground teach the ground",
    source: heuristic,
  },
  plainGround: { value: 0.8, unit: "of the outer ring", about: "of one colour makes a plain ground", source: heuristic },
  // Captions.
  tokensKohya: {
    value: 75,
    unit: "tokens",
    about: "one chunk of CLIP; longer captions are cut or split",
    source: "Kohya's sd-scripts, its default",
  },
  sameCaptions: { value: 0.3, unit: "of the pictures", about: "more captions that are the same", source: heuristic },
  sentenceLength: { value: 80, unit: "characters", about: "a sentence has more", source: "Civitai's trainer" },
  sentenceCommas: { value: 0.05, unit: "of the characters", about: "a sentence has fewer commas", source: "Civitai's trainer" },
  sentenceWords: { value: 3.5, unit: "words", about: "parts of a short sentence have on average more", source: heuristic },
  phraseWords: { value: 5, unit: "words", about: "shorter captions are neither sentences nor tags", source: heuristic },
  mixedCaptions: { value: 0.15, unit: "of the captions", about: "more of the rarer kind is a mixture", source: heuristic },
  coreTag: {
    value: 0.4,
    unit: "of the pictures",
    about: "tags on more of them belong to the character itself",
    source: "anime_screenshot_pipeline, its default 0.35 to 0.4",
  },
  entangledTag: {
    value: 0.9,
    unit: "of the pictures",
    about: "words on more of them cannot be told from the trigger",
    source: heuristic,
  },
  singleTags: { value: 0.6, unit: "of the tags", about: "more that occur once are noise of a tagger", source: heuristic },
  samePlace: { value: 0.6, unit: "of the captions", about: "more that name one place or light teach it", source: heuristic },
  sameLook: { value: 0.9, unit: "of the captions", about: "more that name one look teach it", source: heuristic },
  groundNamed: { value: 0.7, unit: "of the captions", about: "fewer that name the background or the light", source: heuristic },
  // Trigger word.
  triggerTokens: { value: 4, unit: "tokens", about: "more are hard to learn", source: heuristic },
  triggerCommonId: {
    value: 2000,
    unit: "token id",
    about: "pieces below it are among the commonest of English",
    source: heuristic,
  },
  triggerRareId: { value: 20000, unit: "token id", about: "pieces above it are rare", source: heuristic },
  triggerDraws: {
    value: 3.5,
    unit: "standard deviations",
    about: "a word that the base knows changes its predictions by more than invented words do, by logarithms",
    source: "heuristic, checked on mini by npm run bench -- inspect-trigger",
  },
  // Faces.
  facesJudged: {
    value: 0.5,
    unit: "of the pictures",
    about: "faces are judged where more of them show one",
    source: heuristic,
  },
  oneFace: { value: 0.8, unit: "of the pictures", about: "that show exactly one face, at least", source: heuristic },
  faceHeight: { value: 0.08, unit: "of the height", about: "a face is at least so tall, or", source: heuristic },
  facePx: { value: 128, unit: "px at training size", about: "at least so tall", source: heuristic },
  shotClose: { value: 0.35, unit: "of the height", about: "a taller face makes a close-up", source: heuristic },
  shotHalf: {
    value: 0.15,
    unit: "of the height",
    about: "a taller face makes a half figure, a smaller a full one",
    source: heuristic,
  },
  shotShare: { value: 0.8, unit: "of the pictures", about: "more from one distance are too many", source: heuristic },
  shotsLeast: { value: 8, unit: "pictures", about: "with a face; of fewer the distances are not judged", source: heuristic },
  // The set.
  countFail: { value: 4, unit: "pictures", about: "fewer teach those pictures, not what they share", source: heuristic },
  bucketsMany: {
    value: 8,
    unit: "buckets",
    about: "more for fewer than 40 pictures leave most steps with one picture",
    source: heuristic,
  },
  bucketsSmallSet: { value: 40, unit: "pictures", about: "in more than 8 buckets spread thin below this", source: heuristic },
  epochSteps: { value: 1000, unit: "steps", about: "longer epochs leave too few checkpoints", source: heuristic },
  repeatsRatio: {
    value: 3,
    unit: "times",
    about: "pictures shown so much more often than others outweigh them",
    source: heuristic,
  },
  holdOutMinimum: { value: 15, unit: "pictures", about: "fewer have none to spare", source: heuristic },
  holdOutShare: {
    value: 0.12,
    unit: "of the pictures",
    about: "kept out of training to measure on",
    source: "between Kohya's 10 % and EveryDream2trainer's 15 %",
  },
});

export type ThresholdName = keyof typeof thresholds;

/** Pictures that a set of each kind needs: fewest, good, and where more helps little. RECIPES of the field, by kind of base. */
export const setSizes: Readonly<Record<"sd15" | "sdxl" | "anime" | "flux" | "mini", SizesByType>> = {
  sd15: { character: [8, 15, 100], style: [15, 50, 500], concept: [8, 20, 150] },
  sdxl: { character: [8, 15, 100], style: [15, 30, 500], concept: [5, 10, 100] },
  anime: { character: [10, 20, 150], style: [20, 50, 150], concept: [10, 20, 150] },
  flux: { character: [8, 15, 60], style: [10, 20, 200], concept: [5, 10, 25] },
  mini: { character: [5, 8, 100], style: [10, 15, 200], concept: [5, 8, 100] },
};

type SizesByType = Readonly<Record<"character" | "style" | "concept", readonly [fewest: number, good: number, many: number]>>;
