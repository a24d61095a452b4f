/** What was found of a dataset and a plan, in short: errors and warnings, and how many notes there are. */
import type { DatasetReport, PlanFinding } from "../index.ts";
import { countOf } from "../words.ts";
import { quotePath, wrapText } from "./format.ts";

/** Findings of one severity that are told in full; the rest are counted. */
const SHOWN = 5;
const INDENT = 2;

const labels = { error: "ERROR", warning: "Mind" } as const;
type Severity = keyof typeof labels;

interface ToldFinding {
  readonly severity: Severity;
  readonly id: string;
  readonly text: string;
}

/** Lines without a line end: the dataset's findings, worst first. */
export function datasetFindingLines(report: DatasetReport, columns: number): readonly string[] {
  const told = report.findings.flatMap(({ severity, id, message, mend }): ToldFinding[] =>
    severity === "info" ? [] : [{ severity, id, text: `${message} ${mend}` }],
  );
  const { error, warning, info } = report.counts;
  const lines = tell(told, columns);
  const hidden = error + warning - lines.length + info;
  const more = hidden > 0 ? [`${countOf(hidden, "more finding")}: gesso inspect ${quotePath(report.folder)}`] : [];
  return [...lines, ...more.map((line) => indent(line, columns))];
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
