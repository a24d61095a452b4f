/** What a check is: a small pure function over measured facts, and the words that go with what it finds. */
import type { BucketFit } from "../buckets.ts";
import type { CaptionFacts, CaptionTokenizer } from "../caption-facts.ts";
import type { Cluster } from "../clusters.ts";
import type { CopyPair } from "../compare.ts";
import type { RepeatedMark } from "../marks.ts";
import type { PictureMeasurement } from "../measure/picture.ts";
import type { Face } from "../../models/faces/boxes.ts";
import type { DatasetItem } from "../read.ts";
import type { HoldOutChoice } from "../split.ts";
import { type Threshold, thresholds, type ThresholdName } from "../thresholds.ts";
import type { TriggerFacts } from "../trigger-facts.ts";

/** error: do not train before it is mended; warning: the result will suffer; info: worth knowing. */
export type Severity = "error" | "warning" | "info";

/** How a base wants to be spoken to; "either" where nothing is known of it. */
export type CaptionHabit = "tags" | "sentences" | "either";

/** What the dataset is meant for. */
export interface InspectionTarget {
  /** "mini", a family such as "sdxl", or a checkpoint's name. */
  readonly base: string;
  /** Row of `setSizes`. */
  readonly family: "mini" | "sd15" | "sdxl" | "anime" | "flux";
  readonly type: "character" | "style" | "concept";
  readonly trigger: string | undefined;
  readonly resolutionPx: number;
  readonly bucketStepPx: number;
  readonly batch: number;
  readonly captionHabit: CaptionHabit;
  readonly tokenizer: CaptionTokenizer | undefined;
  /** What is proposed to be held out; as usual where absent. */
  readonly holdOut?: HoldOutChoice | undefined;
}

/** One picture with all that is known of it. */
export interface InspectedPicture {
  readonly item: DatasetItem;
  readonly fileHash: string;
  readonly measurement: PictureMeasurement;
  readonly fit: BucketFit;
  readonly caption: CaptionFacts;
}

/** Pictures that are trained at one size. */
export interface BucketUse {
  readonly widthPx: number;
  readonly heightPx: number;
  /** Distinct pictures, and how many an epoch shows. */
  readonly pictures: number;
  readonly exposures: number;
}

/** Everything that the checks may look at. */
export interface InspectionFacts {
  readonly target: InspectionTarget;
  readonly pictures: readonly InspectedPicture[];
  /** By places in `pictures`. */
  readonly copies: readonly CopyPair[];
  /** Groups connected by copies that are surely copies, see `isSureCopy`. */
  readonly copyGroups: readonly (readonly number[])[];
  readonly clusters: readonly Cluster[];
  /** See `measureDiversity`. */
  readonly diversity: number;
  readonly marks: readonly RepeatedMark[];
  readonly buckets: readonly BucketUse[];
  /** Undefined where no trigger word is set. */
  readonly trigger: TriggerFacts | undefined;
  /** Of each picture, by its place in `pictures`; undefined where faces were not looked for. */
  readonly faces?: readonly (readonly Face[])[] | undefined;
}

/** One picture of a finding. */
export interface Hit {
  /** `DatasetItem.name` */
  readonly name: string;
  /** The value in words: "412 x 300 px". */
  readonly measured: string;
}

/** What a check says. */
export interface Verdict {
  readonly severity: Severity;
  /** One sentence, with the numbers. */
  readonly message: string;
  /** Empty where the set as a whole is meant. */
  readonly pictures: readonly Hit[];
  /** Pictures that belong together, such as copies, by name. */
  readonly groups?: readonly (readonly string[])[];
}

/** A check as a row of the table. */
export interface Check {
  /** "sharpness.blur": stable, for filters and scripts. */
  readonly id: string;
  /** What it looks for, in two to five words. */
  readonly title: string;
  /** Why it matters to training. */
  readonly why: string;
  /** What to do. */
  readonly mend: string;
  /** Rows of `thresholds` that it goes by. */
  readonly thresholds: readonly ThresholdName[];
  /** What `gesso inspect --fix` does about it, where that is safe. */
  readonly fix?: string;
  judge(facts: InspectionFacts): readonly Verdict[];
}

/** A picture's verdict before pictures are counted. */
export interface PictureVerdict {
  readonly severity: Severity;
  readonly measured: string;
}

/** One verdict for each severity that pictures got, worst first. `say` gets how many, as "3 pictures". */
export function perPicture(
  { pictures }: InspectionFacts,
  judge: (picture: InspectedPicture) => PictureVerdict | undefined,
  say: (count: string, severity: Severity) => string,
): readonly Verdict[] {
  const judged = pictures.flatMap((picture) => {
    const verdict = judge(picture);
    return verdict ? [{ name: picture.item.name, ...verdict }] : [];
  });
  return severities.flatMap((severity) => {
    const hits = judged.filter((hit) => hit.severity === severity).map(({ name, measured }) => ({ name, measured }));
    return hits.length === 0 ? [] : [{ severity, message: say(countPictures(hits.length), severity), pictures: hits }];
  });
}

/** Worst first. */
export const severities: readonly Severity[] = ["error", "warning", "info"];

export function countPictures(count: number): string {
  return count === 1 ? "1 picture" : `${count} pictures`;
}

/** "is" or "are", by the count. */
export function isOrAre(count: string): string {
  return count.startsWith("1 ") ? "is" : "are";
}

/** "12 %" */
export function percent(share: number): string {
  const value = 100 * share;
  return `${value > 0 && value < 9.95 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)} %`;
}

/** "20 %" for a share, "1.6 px at training size" for the rest. */
export function describeThreshold({ value, unit }: Threshold): string {
  const isShare = unit.startsWith("of the") && value <= 1;
  return isShare ? `${percent(value)} ${unit}` : `${value} ${unit}`.trim();
}

export function limit(name: ThresholdName): number {
  return thresholds[name].value;
}

/** Whether a pair is one picture twice, and not only two that look alike. */
export function isSureCopy({ kind }: Pick<CopyPair, "kind">): boolean {
  return kind !== "similar";
}
