/** The dataset report as text: what is wrong, worst first, each with the mend. */
import {
  type DatasetReport,
  describeDrawing,
  type FacesReport,
  inspectionLimit,
  type InspectionFinding,
  type MendReport,
  type TriggerDrawing,
} from "../index.ts";
import { countOf } from "../words.ts";
import { cut, wrapText } from "./format.ts";

export interface ReportTextOptions {
  readonly columns: number;
  /** All pictures of each finding, why it matters, and the thresholds; otherwise notes take one line each. */
  readonly showAll: boolean;
}

/** From so many standard deviations on the base knows a trigger word. */
const KNOWN_FROM = inspectionLimit("triggerDraws");
const labels = { error: "ERROR", warning: "WARNING", info: "NOTE" } as const;
/** Width of the label column. */
const INDENT = 9;
/** Pictures named of each finding unless all are asked for. */
const SHOWN = 3;

/** The report, without a line end. */
export function describeReport(report: DatasetReport, options: ReportTextOptions): string {
  const { counts, findings } = report;
  const total = [countOf(counts.error, "error"), countOf(counts.warning, "warning"), `${countOf(counts.info, "note")}`].join(
    ", ",
  );
  return [
    ...headLines(report).map((line) => wrapText(line, options.columns)),
    "",
    findings.length === 0 ? "Nothing was found." : `${total}.`,
    ...findings.flatMap((finding, i) => {
      const isNext = finding.severity === "info" && findings[i - 1]?.severity === "info" && !options.showAll;
      return [...(isNext ? [] : [""]), ...findingLines(finding, options)];
    }),
    "",
    ...footLines(report, options),
  ].join("\n");
}

function headLines(report: DatasetReport): readonly string[] {
  const { folder, pictures, target, buckets, diversity, clusters, trigger } = report;
  const { type, base, resolutionPx, batch } = target;
  const sizes = buckets.map(({ widthPx, heightPx, pictures: count }) => `${widthPx} x ${heightPx}: ${count}`);
  const shown = sizes.length > 6 ? [...sizes.slice(0, 6), `${sizes.length - 6} more`] : sizes;
  return [
    `${folder}: ${countOf(pictures.length, "picture")}, for a ${type} on ${base} at ${resolutionPx} px, batch ${batch}.`,
    `Buckets: ${shown.join(", ")}.`,
    `Variety: ${diversity.toFixed(2)} of 1, ${countOf(clusters.length, "cluster")}, the largest of ${clusters[0] ?? 0}.`,
    ...(trigger?.tokenIds
      ? [`Trigger word: "${trigger.word}", ${countOf(trigger.tokenIds.length, "token")} (${trigger.tokenIds.join(", ")}).`]
      : []),
    ...(trigger?.baseDraws ? [drawingLine(trigger.word, trigger.baseDraws)] : []),
    ...(target.type === "character" ? [facesLine(report.faces)] : []),
  ];
}

/** What was found when the base drew the trigger word. */
export function drawingLine(word: string, drawing: TriggerDrawing): string {
  const isKnown = drawing.deviations >= KNOWN_FROM;
  const verdict = isKnown ? "something of its own" : "little or nothing of its own, as a trigger word should";
  return `By itself "${word}" makes the base draw ${verdict}: ${describeDrawing(drawing)}; ${KNOWN_FROM} is the limit.`;
}

export function facesLine(faces: FacesReport | undefined): string {
  if (!faces) return "Faces: not looked for, the optional package @mediapipe/face_detection is not installed.";
  const { none, one, several, shots, isJudged } = faces;
  if (one + several === 0)
    return "Faces: none found. Drawn faces, masks and animals are often not, so nothing is said about them.";
  const kinds = `${countOf(shots["close-up"], "close-up")}, ${countOf(shots.half, "half figure")}, ${countOf(shots.full, "full figure")}`;
  return `Faces: one on ${countOf(one, "picture")}, several on ${several}, none found on ${none}; ${kinds}${isJudged ? "" : " (too few to be judged)"}.`;
}

function findingLines(finding: InspectionFinding, { columns, showAll }: ReportTextOptions): readonly string[] {
  const { severity, id, message, why, mend, fix, thresholds } = finding;
  const indent = " ".repeat(INDENT);
  const wrapped = (text: string): string => indent + wrapText(text, Math.max(columns, 50), INDENT);
  const first = `${labels[severity].padEnd(INDENT)}${wrapText(`${message}  [${id}]`, Math.max(columns, 50), INDENT)}`;
  if (severity === "info" && !showAll) return [first];
  return [
    first,
    ...pictureLines(finding, showAll).map((line) => indent + cut(`  ${line}`, Math.max(columns, 50) - INDENT)),
    ...(showAll ? [wrapped(`Why: ${why}`)] : []),
    ...(showAll ? thresholds.map(({ about, value, source }) => wrapped(`Held against: ${value} (${about}; ${source})`)) : []),
    wrapped(`Mend: ${mend}${fix === undefined ? "" : ` --fix ${fix}.`}`),
  ];
}

/** Names and values in two columns. */
function pictureLines({ pictures }: InspectionFinding, showAll: boolean): readonly string[] {
  const shown = showAll ? pictures : pictures.slice(0, pictures.length === SHOWN + 1 ? SHOWN + 1 : SHOWN);
  const width = Math.min(32, Math.max(0, ...shown.map(({ name }) => name.length)));
  const more = pictures.length - shown.length;
  return [
    ...shown.map(({ name, measured }) => `${cut(name, 32).padEnd(width)}  ${measured}`),
    ...(more > 0 ? [`and ${more} more`] : []),
  ];
}

function footLines({ holdOut, tags, findings }: DatasetReport, { columns, showAll }: ReportTextOptions): readonly string[] {
  const isFixable = findings.some(({ fix }) => fix !== undefined);
  const held = holdOut.length === 0 ? "too few pictures to keep any out of training" : holdOut.join(", ");
  const common = tags.slice(0, 12).map(({ tag, share }) => `${cut(tag, 30)} ${Math.round(100 * share)} %`);
  return [
    ...(common.length > 0 ? [wrapText(`Commonest in captions: ${common.join(", ")}.`, columns)] : []),
    wrapText(`Proposed hold-out, by cluster and without copies: ${held}.`, columns),
    ...(showAll || findings.length === 0
      ? []
      : [
          wrapText(
            "--all shows every picture, the mends of notes, and why; --html FILE makes a page with thumbnails.",
            columns,
          ),
        ]),
    ...(isFixable ? [wrapText("--fix DIR carries out the safe mends in a copy.", columns)] : []),
  ];
}

/** What `--fix` did. */
export function describeMends(report: MendReport, columns: number): string {
  const { folder, pictures, dropped, trimmed, triggerAdded, triggerCorrected } = report;
  const list = (names: readonly string[]): string =>
    names.length > 5 ? `${names.slice(0, 5).join(", ")} and ${names.length - 5} more` : names.join(", ");
  const lines = [
    ...(dropped.length > 0
      ? [`Left out ${countOf(dropped.length, "copy", "copies")}: ${list(dropped.map(({ name }) => name))}.`]
      : []),
    ...(trimmed.length > 0
      ? [`Cut bars or frames off ${countOf(trimmed.length, "picture")}: ${list(trimmed.map(({ name }) => name))}.`]
      : []),
    ...(triggerAdded.length > 0
      ? [`Put the trigger word in front of ${countOf(triggerAdded.length, "caption")}: ${list(triggerAdded)}.`]
      : []),
    ...(triggerCorrected.length > 0
      ? [
          `Corrected the trigger word in ${countOf(triggerCorrected.length, "caption")}: ${list(triggerCorrected.map(({ name }) => name))}.`,
        ]
      : []),
  ];
  return [
    `Mended copy: ${folder}, ${countOf(pictures, "picture")}. Your own files are as they were.`,
    ...(lines.length === 0 ? ["Nothing needed a safe mend: it is a plain copy."] : lines),
  ]
    .map((line) => wrapText(line, columns))
    .join("\n");
}
