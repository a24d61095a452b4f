/** Draws how far an inspection is. */
import type { DatasetReport, InspectionEvent } from "../index.ts";
import { countOf } from "../words.ts";
import type { Terminal } from "./command.ts";

/** Draws the progress. Undefined when it was stopped. */
export async function followInspection(
  events: AsyncGenerator<InspectionEvent, void>,
  terminal: Terminal,
): Promise<DatasetReport | undefined> {
  let toldAtMs = 0;
  for await (const event of events) {
    if (event.type === "done") {
      terminal.status("");
      return event.report;
    }
    if (event.type === "stopped") {
      const left = event.total - event.done;
      terminal.err(
        `Stopped with ${countOf(left, "picture")} left. What was measured is kept; the same command goes on from here.`,
      );
      return undefined;
    }
    const now = performance.now();
    // Redrawing for each of thousands of remembered pictures would take longer than looking them up.
    if (event.phase !== "compare" && event.done < event.total && now - toldAtMs < 100) continue;
    toldAtMs = now;
    terminal.status(describeProgress(event, terminal.columns));
  }
  return undefined;
}

const BAR = 24;
const work = {
  measure: "pictures measured",
  faces: "pictures looked through for faces",
  draw: "parts of what the base draws for the trigger word",
} as const;

function describeProgress(event: Extract<InspectionEvent, { type: "progress" }>, columns: number): string {
  if (event.phase === "compare") return `Comparing ${countOf(event.total, "picture")} with each other`.slice(0, columns - 1);
  const full = Math.round((BAR * event.done) / Math.max(1, event.total));
  const known = event.remembered > 0 ? `, ${event.remembered} known from before` : "";
  const what = `${event.done} of ${event.total} ${work[event.phase]}${known}`;
  return `${"━".repeat(full)}${"─".repeat(BAR - full)}  ${what}`.slice(0, columns - 1);
}
