/** From facts to a report: runs every check and gathers what pages and programs show. Pure. */
import { frequentTags } from "./checks/words.ts";
import {
  type BucketUse,
  describeThreshold,
  type Hit,
  type InspectedPicture,
  type InspectionFacts,
  type InspectionTarget,
  severities,
  type Severity,
} from "./checks/check.ts";
import { checks } from "./checks/table.ts";
import { countShots, isOfPerson } from "./checks/faces.ts";
import type { Face } from "../models/faces/boxes.ts";
import type { Shot } from "./faces.ts";
import type { CopyKind } from "./compare.ts";
import type { Finding } from "./read.ts";
import { proposeHoldOut, usualHoldOut } from "./split.ts";
import { thresholds, type ThresholdName } from "./thresholds.ts";
import type { TriggerFacts } from "./trigger-facts.ts";

/** One thing that was found, with all that is needed to understand and mend it. */
export interface InspectionFinding {
  /** Of its check: "sharpness.blur"; "file" for files that could not be used. */
  readonly id: string;
  readonly severity: Severity;
  readonly title: string;
  /** One sentence with the numbers. */
  readonly message: string;
  /** Empty where the set as a whole is meant. */
  readonly pictures: readonly Hit[];
  /** Pictures that belong together, such as copies. */
  readonly groups: readonly (readonly string[])[];
  readonly why: string;
  readonly mend: string;
  /** What `--fix` does about it; undefined where that takes a person. */
  readonly fix: string | undefined;
  /** What the values were held against, each with where it comes from; "heuristic" is Gesso's own choice. */
  readonly thresholds: readonly { readonly about: string; readonly value: string; readonly source: string }[];
}

/** One picture as the report has it. */
export interface PictureReport {
  readonly name: string;
  readonly path: string;
  readonly widthPx: number;
  readonly heightPx: number;
  /** SHA-256 of the file. */
  readonly hash: string;
  readonly caption: string;
  readonly tokens: number | undefined;
  readonly repeats: number;
  readonly bucket: { readonly widthPx: number; readonly heightPx: number; readonly cropShare: number; readonly scale: number };
  /** Standard deviation of the blur in pixels of the file; undefined where nothing has an edge. */
  readonly blurPx: number | undefined;
  readonly brightness: number;
  readonly blockiness: number;
  /** Number of its cluster, from 0, the largest. */
  readonly cluster: number;
  /** Undefined where faces were not looked for. */
  readonly faces: readonly Face[] | undefined;
  /** Ids of the findings that name it. */
  readonly findings: readonly string[];
}

export interface CopyReport {
  readonly a: string;
  readonly b: string;
  readonly kind: CopyKind;
  readonly correlation: number;
}

/** Faces over the whole set. */
export interface FacesReport {
  /** Pictures with no face, exactly one, and more. */
  readonly none: number;
  readonly one: number;
  readonly several: number;
  readonly shots: Readonly<Record<Shot, number>>;
  /** Whether enough pictures show a face for the checks to judge them. */
  readonly isJudged: boolean;
}

/** What an inspection comes to. Plain data: JSON holds all of it. */
export interface DatasetReport {
  readonly folder: string;
  readonly target: Omit<InspectionTarget, "tokenizer" | "holdOut"> & { readonly tokenizer: string | undefined };
  readonly counts: Readonly<Record<Severity, number>>;
  /** Worst first. */
  readonly findings: readonly InspectionFinding[];
  readonly pictures: readonly PictureReport[];
  readonly buckets: readonly BucketUse[];
  readonly copies: readonly CopyReport[];
  /** Share of really different pictures, 0..1; see `measureDiversity`. */
  readonly diversity: number;
  /** Sizes of the clusters, largest first. */
  readonly clusters: readonly number[];
  readonly trigger: TriggerFacts | undefined;
  /** Of character sets; undefined where faces were not looked for. */
  readonly faces: FacesReport | undefined;
  /** The commonest tags, or words where captions are sentences. */
  readonly tags: readonly { readonly tag: string; readonly share: number }[];
  /** Names of pictures to keep out of training, see `proposeHoldOut`; none where there are too few. */
  readonly holdOut: readonly string[];
}

/** @param fileFindings what was found while reading the folder */
export function writeReport(folder: string, facts: InspectionFacts, fileFindings: readonly Finding[]): DatasetReport {
  const findings = [...fileFindings.map(ofFile), ...runChecks(facts)];
  const sorted = mostImportantFirst(findings, facts.pictures.length);
  const nameOf = (place: number): string => facts.pictures[place]?.item.name ?? "";
  const names = facts.pictures.map(({ item }) => item.name);
  const clusterOf = new Map(facts.clusters.flatMap((cluster, number) => cluster.map((place) => [place, number] as const)));
  const byPicture = new Map<string, string[]>();
  for (const { id, pictures } of sorted) {
    for (const { name } of pictures) byPicture.set(name, [...(byPicture.get(name) ?? []), id]);
  }
  const { tokenizer, holdOut = usualHoldOut, ...target } = facts.target;
  const count = (severity: Severity): number => sorted.filter((finding) => finding.severity === severity).length;
  return {
    folder,
    target: { ...target, tokenizer: tokenizer?.name },
    counts: { error: count("error"), warning: count("warning"), info: count("info") },
    findings: sorted,
    pictures: facts.pictures.map((picture, place) =>
      describePicture(picture, {
        cluster: clusterOf.get(place) ?? 0,
        findings: byPicture.get(picture.item.name) ?? [],
        faces: facts.faces?.[place],
      }),
    ),
    buckets: facts.buckets,
    copies: facts.copies.map(({ a, b, kind, correlation }) => ({ a: nameOf(a), b: nameOf(b), kind, correlation })),
    diversity: facts.diversity,
    clusters: facts.clusters.map(({ length }) => length),
    trigger: facts.trigger,
    faces: facts.faces && reportFaces(facts, facts.faces),
    tags: frequentTags(facts, 0).slice(0, 40),
    holdOut: proposeHoldOut({ names, clusters: facts.clusters, alike: facts.copies }, holdOut).map(nameOf),
  };
}

/** By severity, then by how much of the set is touched; what is about the set as a whole touches all of it. Otherwise as the table has it. */
function mostImportantFirst(findings: readonly InspectionFinding[], total: number): readonly InspectionFinding[] {
  const touched = ({ pictures }: InspectionFinding): number => (pictures.length === 0 ? total : pictures.length);
  return severities.flatMap((severity) =>
    findings.filter((finding) => finding.severity === severity).sort((a, b) => touched(b) - touched(a)),
  );
}

/** Every check over the facts, in the order of the table. */
export function runChecks(facts: InspectionFacts): readonly InspectionFinding[] {
  return checks.flatMap((check) =>
    check.judge(facts).map(({ severity, message, pictures, groups = [] }) => {
      const { id, title, why, mend, fix } = check;
      return {
        id,
        severity,
        title,
        message,
        pictures,
        groups,
        why,
        mend,
        fix,
        thresholds: check.thresholds.map(tellThreshold),
      };
    }),
  );
}

function tellThreshold(name: ThresholdName): InspectionFinding["thresholds"][number] {
  const threshold = thresholds[name];
  return { about: threshold.about, value: describeThreshold(threshold), source: threshold.source };
}

function ofFile({ severity, message, fix }: Finding): InspectionFinding {
  return {
    id: "file",
    severity,
    title: "files of the folder",
    message,
    pictures: [],
    groups: [],
    why: "gesso train refuses files that it cannot use, unless --skip-broken is given.",
    mend: fix,
    fix: undefined,
    thresholds: [],
  };
}

function reportFaces(facts: InspectionFacts, faces: readonly (readonly Face[])[]): FacesReport {
  const count = (isMeant: (own: readonly Face[]) => boolean): number => faces.filter(isMeant).length;
  return {
    none: count(({ length }) => length === 0),
    one: count(({ length }) => length === 1),
    several: count(({ length }) => length > 1),
    shots: countShots(facts),
    isJudged: isOfPerson(facts),
  };
}

function describePicture(
  picture: InspectedPicture,
  { cluster, findings, faces }: Pick<PictureReport, "cluster" | "findings" | "faces">,
): PictureReport {
  const { item, measurement, fit, caption, fileHash } = picture;
  return {
    name: item.name,
    path: item.path,
    widthPx: item.widthPx,
    heightPx: item.heightPx,
    hash: fileHash,
    caption: item.caption,
    tokens: caption.tokens,
    repeats: item.repeats,
    bucket: { ...fit.bucket, cropShare: fit.cropFraction, scale: fit.scale },
    blurPx: measurement.blurPx,
    brightness: measurement.meanBrightness,
    blockiness: measurement.blockiness,
    cluster,
    faces,
    findings: [...new Set(findings)],
  };
}
