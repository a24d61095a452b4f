/** The dataset report as text: what is wrong, worst first, each with the mend. */
import type { DatasetReport, InspectionFinding, MendReport } from "../index.ts";
import { countOf, cut, wrapText } from "./format.ts";

export interface ReportTextOptions {
  readonly columns: number;
  /** All pictures of each finding, why it matters, and the thresholds. */
  readonly showAll: boolean;
}

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
    ...findings.flatMap((finding) => ["", ...findingLines(finding, options)]),
    "",
    ...footLines(report, options),
  ].join("\n");
}

function headLines({ folder, pictures, target, buckets, diversity, clusters, trigger }: DatasetReport): readonly string[] {
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
  ];
}

function findingLines(finding: InspectionFinding, { columns, showAll }: ReportTextOptions): readonly string[] {
  const { severity, id, message, why, mend, fix, thresholds } = finding;
  const indent = " ".repeat(INDENT);
  const wrapped = (text: string): string => indent + wrapText(text, Math.max(columns, 50), INDENT);
  return [
    `${labels[severity].padEnd(INDENT)}${wrapText(`${message}  [${id}]`, Math.max(columns, 50), INDENT)}`,
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
      : [wrapText("--all shows every picture and why; --html FILE makes a page with thumbnails.", columns)]),
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
