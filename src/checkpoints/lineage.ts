/** What a base was trained from and what it predicts, by what its file says of itself: models of one family have the same keys and shapes. */
import { UserError } from "../errors.ts";
import { lineages, type LineageName, lineageNames } from "../models/lineages.ts";
import type { BaseFamily } from "./base.ts";

export interface DetectedLineage {
  readonly name: LineageName;
  /** How that is known: "its name says so". */
  readonly reason: string;
}

/** What is known of a file besides its keys. */
export interface LineageEvidence {
  readonly fileName: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Words that stand for a lineage in names; the first that is found counts, for NoobAI names Illustrious as its origin, and merges of
 * Illustrious name Pony.
 */
const words: { readonly [F in BaseFamily]: readonly (readonly [word: RegExp, name: LineageName])[] } = {
  sdxl: [
    [/noob[-_ ]?(ai|xl)|(^|[^a-z])nai[-_ ]?xl/i, "noobai"],
    [/illustrious|(^|[^a-z])il(lu)?[-_ ]?xl/i, "illustrious"],
    [/pony(?!tail|o\b)/i, "pony"],
  ],
  sd15: [
    [
      /(^|[^a-z])(anything[-_ ]?v?\d|anime|anylora|nai[-_ ]|meina|novelai)|abyss[-_ ]?orange|orange[-_ ]?mix|cetus[-_ ]?mix|counterfeit|hassaku|pastel[-_ ]?mix/i,
      "sd15-anime",
    ],
  ],
};

/** Fields of a file's metadata in which its own or its parents' names stand: ModelSpec, sd-scripts, and the merger of A1111. */
const nameFields = [
  "modelspec.title",
  "modelspec.architecture",
  "ss_base_model_version",
  "ss_sd_model_name",
  "ss_output_name",
  "sd_merge_models",
] as const;

/**
 * @param asked what the user says it is
 * @throws UserError when that belongs to another family
 */
export function detectLineage(family: BaseFamily, evidence: LineageEvidence, asked: LineageName | undefined): DetectedLineage {
  if (asked !== undefined) {
    if (lineages[asked].family === family) return { name: asked, reason: "you said so" };
    const fitting = lineageNames.filter((name) => lineages[name].family === family).join(", ");
    throw new UserError(`${evidence.fileName} is ${lineages[family].label} by its keys, which ${asked} is not.`, {
      fix: `Give --family one of ${fitting}, or leave it out.`,
      exitCode: 2,
    });
  }
  for (const [word, name] of words[family]) {
    const field = nameFields.find((candidate) => word.test(evidence.metadata[candidate] ?? ""));
    if (field !== undefined) return { name, reason: `its metadata says so (${field})` };
    if (word.test(evidence.fileName)) return { name, reason: "its name says so" };
  }
  return { name: family, reason: "its keys and shapes; nothing says that it is another" };
}

/** What a base predicts, where no scheduler_config.json says it. */
export interface DetectedPrediction {
  readonly isVPrediction: boolean;
  /** Whether its schedule ends in pure noise (Lin et al. 2023). */
  readonly zeroTerminalSnr: boolean;
  readonly reason: string;
}

/**
 * By the marker tensors `v_pred` and `ztsnr`, which ComfyUI and Forge go by, then ModelSpec, then the lineage, then the name.
 *
 * @param hasKey whether the file holds a tensor
 */
export function detectPrediction(
  hasKey: (key: string) => boolean,
  { fileName, metadata }: LineageEvidence,
  lineage: LineageName,
): DetectedPrediction {
  const zeroTerminalSnr = hasKey("ztsnr");
  if (hasKey("v_pred")) {
    const markers = zeroTerminalSnr ? "the tensors v_pred and ztsnr" : "the tensor v_pred";
    return { isVPrediction: true, zeroTerminalSnr, reason: `the file holds ${markers}` };
  }
  const stated = metadata["modelspec.prediction_type"] ?? metadata["modelspec.predict_key"];
  if (stated !== undefined && /^v(_|-|$)/i.test(stated))
    return { isVPrediction: true, zeroTerminalSnr, reason: `its metadata says so (prediction type ${stated})` };
  if (lineages[lineage].isVPrediction)
    return { isVPrediction: true, zeroTerminalSnr: true, reason: `as ${lineages[lineage].label} does` };
  if (lineage === "noobai" && /v[-_ ]?pred/i.test(fileName) && stated === undefined)
    return { isVPrediction: true, zeroTerminalSnr: true, reason: "its name says so, and NoobAI's V-Pred ends in pure noise" };
  return { isVPrediction: false, zeroTerminalSnr, reason: "usual, and the file says nothing else" };
}
