/** What was found of a dataset and a plan, in short: errors and warnings, and how many notes there are. */
import type { DatasetReport, PlanFinding } from "../index.ts";
import { countOf } from "../words.ts";
import { quotePath, wrapText } from "./format.ts";

/** Findings of one severity that are told in full; the rest are counted. */
const SHOWN = 5;
const INDENT = 2;

const labels = { error: "ERROR", warning: "WARNING" } as const;
type Severity = keyof typeof labels;

interface ToldFinding {
  readonly severity: Severity;
  readonly id: string;
  readonly text: string;
}

/**
 * Lines without a line end: the dataset's findings, worst first.
 *
 * @param base as --base takes it
 */
export function datasetFindingLines(report: DatasetReport, base: string, columns: number): readonly string[] {
  const told = report.findings.flatMap(({ severity, id, message, mend }): ToldFinding[] =>
    severity === "info" ? [] : [{ severity, id, text: `${message} ${mend}` }],
  );
  const { error, warning, info } = report.counts;
  const lines = tell(told, columns);
  const hidden = error + warning - lines.length + info;
  return hidden > 0
    ? [...lines, indent(`${countOf(hidden, "more finding")}: ${inspectCommand(report, base)}`, columns)]
    : lines;
}

/** What tells all findings: the report is of these options. */
function inspectCommand({ folder, target: { type, trigger } }: DatasetReport, base: string): string {
  const options = [
    ...(base === "mini" ? [] : ["--base", quotePath(base)]),
    ...["--type", type],
    ...(trigger === undefined ? [] : ["--trigger", quotePath(trigger)]),
  ];
  return `gesso inspect ${quotePath(folder)} ${options.join(" ")}`;
}

/** Lines without a line end: what the rules say of the plan, errors first. */
export function planFindingLines(findings: readonly PlanFinding[], columns: number): readonly string[] {
  return findings.map(({ severity, message, mend }) => indent(`${labels[severity]}: ${message} ${mend}`, columns));
}

function tell(findings: readonly ToldFinding[], columns: number): readonly string[] {
  return (["error", "warning"] as const).flatMap((severity) =>
    findings
      .filter((finding) => finding.severity === severity)
      .slice(0, SHOWN)
      .map(({ id, text }) => indent(`${labels[severity]}: ${text} [${id}]`, columns)),
  );
}

function indent(text: string, columns: number): string {
  return " ".repeat(INDENT) + wrapText(text, columns, INDENT);
}

/** "2 errors and 3 warnings", or "" where nothing was found. */
export function countFindings(errors: number, warnings: number): string {
  const parts = [...(errors > 0 ? [countOf(errors, "error")] : []), ...(warnings > 0 ? [countOf(warnings, "warning")] : [])];
  return parts.join(" and ");
}
