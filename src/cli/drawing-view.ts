/** Shows how far a set of pictures is: a line that is redrawn where a person watches, now and then a plain one where nobody does. */
import { countOf } from "../words.ts";
import type { Terminal } from "./command.ts";
import { formatDuration } from "./format.ts";

export interface DrawingView {
  /** Work done on all pictures, in any unit. */
  progress(done: number, total: number): void;
  /** A picture is complete. */
  picture(): void;
  /** Takes the redrawn line away. */
  end(): void;
}

/** Where nobody watches: about this many lines for a job, or one every half a minute. */
const PLAIN_LINES = 10;
const PLAIN_MS = 30_000;

/** @param now milliseconds, from anywhere */
export function createDrawingView(terminal: Terminal, pictures: number, now = () => performance.now()): DrawingView {
  let drawn = 0;
  let work = { done: 0, total: 0 };
  /** The first step, from which the rate is counted: all before it was preparation. */
  let from: { readonly done: number; readonly atMs: number } | undefined;
  let told = { drawn: 0, atMs: now() };

  const left = (): string => {
    const rate = from && work.done > from.done ? (now() - from.atMs) / (work.done - from.done) : undefined;
    const ms = rate === undefined ? 0 : rate * (work.total - work.done);
    return ms > 0 ? `${formatDuration(ms)} left` : "";
  };
  const redraw = (): void => {
    const count = pictures > 1 ? `drawing picture ${Math.min(drawn + 1, pictures)}/${pictures}` : "drawing";
    const text = [renderBar(work.done, work.total), count, left()].filter((part) => part !== "").join("  ");
    terminal.status(text.length < terminal.columns ? text : count);
  };
  redraw();
  return {
    progress(done, total) {
      work = { done, total };
      from ??= { done, atMs: now() };
      redraw();
    },
    picture() {
      drawn++;
      const isTime = drawn - told.drawn >= pictures / PLAIN_LINES || now() - told.atMs >= PLAIN_MS;
      if (terminal.isInteractive || drawn === pictures || !isTime) return;
      told = { drawn, atMs: now() };
      terminal.out(`${drawn} of ${countOf(pictures, "picture")} drawn, ${left()}.`);
    },
    end: () => terminal.status(""),
  };
}

function renderBar(done: number, total: number): string {
  if (done === 0) return "";
  const width = 24;
  const full = Math.floor((width * done) / total);
  return "━".repeat(full) + "─".repeat(width - full);
}
