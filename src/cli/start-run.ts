/** From a plan to a run: the page before it, the preflight, and whether to go on, ask or stop. */
import { formatBytes } from "../bytes.ts";
import { type PreflightEvent, type RunProspect, train } from "../index.ts";
import type { Terminal } from "./command.ts";
import { countFindings } from "./findings-page.ts";
import { describeProspect } from "./forecast-page.ts";
import { followRun } from "./follow-run.ts";
import { formatDuration, wrapText } from "./format.ts";
import { describePlace, describePlan, toldOnPage } from "./plan-page.ts";
import { countErrors, countWarnings, type ProspectedRun } from "./plan-run.ts";

export interface StartOptions {
  readonly isJson: boolean;
  /** Begin in spite of errors, and do not ask. */
  readonly yes: boolean;
  /** Warnings stop the run as errors do. */
  readonly strict: boolean;
  /** Try everything once before the run. */
  readonly preflight: boolean;
  /** Arguments for torchrun, where several machines train together. */
  readonly torchrun?: string | undefined;
}

/** @returns the exit code: 0 done, 1 failed or stopped by what was found, 130 interrupted or declined */
export async function startRun(run: ProspectedRun, options: StartOptions, terminal: Terminal): Promise<number> {
  const { summary, prospect } = run;
  const { isJson } = options;
  const { plan } = prospect;
  if (!isJson) terminal.out(describePage(run, terminal.columns));
  const refusal = findRefusal(run, options);
  if (refusal !== undefined) {
    terminal.err(refusal);
    return 1;
  }
  const agree = (): Promise<boolean> => agreeTo(run, options, terminal);
  const approve = (event: PreflightEvent): Promise<boolean> => {
    if (!isJson) terminal.out(describePreflight(event, prospect, terminal.columns));
    return agree();
  };
  if (!options.preflight && !(await agree())) {
    terminal.out("Not begun.");
    return 130;
  }
  const { preflight, torchrun } = options;
  const events = train(plan, {
    signal: terminal.signal,
    preflight,
    torchrun,
    approve,
    forecast: prospect.forecast.memory,
  });
  return followRun(events, terminal, { isJson, told: toldOnPage(plan, summary) });
}

function describePage({ summary, prospect }: ProspectedRun, columns: number): string {
  const { plan } = prospect;
  const parts = [
    describePlan(plan, summary, columns),
    describeProspect(prospect, columns, "short"),
    describePlace(plan, columns),
  ];
  return `${parts.join("\n\n")}\n`;
}

/** Why the run is not begun; undefined when it may be. */
function findRefusal(run: ProspectedRun, { yes, strict }: StartOptions): string | undefined {
  const [errors, warnings] = [countErrors(run), countWarnings(run)];
  if (strict && errors + warnings > 0)
    return `Not begun, as --strict asks: ${countFindings(errors, warnings)}.\nFix: Mend what is listed above.`;
  if (errors > 0 && !yes)
    return `Not begun: ${countFindings(errors, 0)} that would waste the run.\nFix: Mend what is listed above, or insist with --yes.`;
  return undefined;
}

/** Asks where there are warnings and somebody to ask; goes on otherwise. */
async function agreeTo(run: ProspectedRun, { yes, isJson }: StartOptions, terminal: Terminal): Promise<boolean> {
  const found = countFindings(countErrors(run), countWarnings(run));
  if (found === "" || isJson) return true;
  if (yes || !terminal.ask) {
    terminal.out(`Going on with ${found}${yes ? ", as --yes asks" : ""}; --strict would stop here.`);
    return true;
  }
  const answer = await terminal.ask(`There are ${found}, listed above. Begin all the same? [y/N] `);
  return /^y(es)?$/i.test(answer?.trim() ?? "");
}

/** What was measured beside what was predicted. */
export function describePreflight(event: PreflightEvent, { forecast }: RunProspect, columns: number): string {
  const { bucket, sizes, stepMs, validationMs, preview, checkpointMs, checkpointBytes, peakBytes, runMs, durationMs } = event;
  const { time, memory } = forecast;
  const duration = (seconds: number): string => formatDuration(1000 * seconds);
  const rows: readonly (readonly [label: string, measured: string, predicted: string, about: string])[] = [
    ["", "measured", "predicted", ""],
    ["step", formatDuration(stepMs), duration(time.stepSeconds), "predicted: mean of all sizes"],
    ["measuring a batch", formatDuration(validationMs), "", ""],
    ...(preview
      ? [
          [
            "preview, a step",
            formatDuration(preview.samplerStepMs),
            "",
            `and ${formatDuration(preview.decodeMs)} to decode a picture`,
          ] as const,
        ]
      : []),
    ["checkpoint", formatDuration(checkpointMs), duration(time.checkpointSeconds), formatBytes(checkpointBytes)],
    ["memory", formatBytes(peakBytes), formatBytes(memory.peakBytes), "measured: so far; predicted: the run's peak"],
    ["whole run", formatDuration(runMs), duration(time.totalSeconds - time.startSeconds), "without loading and encoding"],
  ];
  const widths = [0, 1, 2].map((i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  const lines = rows.map(([label, measured, predicted, about]) =>
    `  ${label.padEnd(widths[0] ?? 0)}  ${measured.padStart(widths[1] ?? 0)}  ${predicted.padStart(widths[2] ?? 0)}  ${about}`.trimEnd(),
  );
  const { widthPx, heightPx, batch } = bucket;
  const head = `Preflight: everything was done once in ${formatDuration(durationMs)}, on the largest pictures (${widthPx} x ${heightPx} px, batch ${batch}); ${describeSizes(sizes)}.`;
  return ["", wrapText(head, columns), ...lines, ""].join("\n");
}

function describeSizes({ count, compiled, checked }: PreflightEvent["sizes"]): string {
  if (compiled === count) return count === 1 ? "all have this size" : `the steps of all ${count} sizes are ready`;
  const rest = checked > 0 ? ` and ${checked} more checked` : "";
  return `the steps of ${compiled} of ${count} sizes are ready${rest}, the others come in the run`;
}
