/** Draws a run's events on a terminal: a line that is redrawn where a person watches, plain lines where nobody does. */
import { formatBytes } from "../bytes.ts";
import type { TrainEvent } from "../index.ts";
import { countOf } from "../words.ts";
import type { Terminal } from "./command.ts";
import { wrapText } from "./format.ts";
import { advance, formatRatio, initialProgress, isTimeToTell, markTold, phaseTexts, renderProgress } from "./progress.ts";

export interface ProgressView {
  show(event: TrainEvent): void;
  /** Takes the redrawn line away. */
  end(): void;
}

export interface ProgressViewOptions {
  /** Warnings that were told already, before the run. */
  readonly told?: ReadonlySet<string>;
  /** Milliseconds, from anywhere. */
  readonly now?: () => number;
}

/** The last events of a run (`done`, `stopped`, `failed`) are left to the command. */
export function createProgressView(
  terminal: Terminal,
  { told = new Set(), now = () => performance.now() }: ProgressViewOptions = {},
): ProgressView {
  let state = initialProgress;
  const phasesTold = new Set<string>();

  const tellPlainly = (event: TrainEvent): void => {
    if (event.type === "progress" && event.phase !== "preview" && !phasesTold.has(event.phase)) {
      phasesTold.add(event.phase);
      terminal.out(`${phaseTexts[event.phase].replace(/^./, (letter) => letter.toUpperCase())} ...`);
    }
    if (event.type !== "step" || !isTimeToTell(state, now())) return;
    terminal.out(renderProgress(state, Infinity).replace(/^[━─]+ +/, ""));
    state = markTold(state, now());
  };

  return {
    show(event) {
      state = advance(state, event, now());
      const line = describeEvent(event, told);
      if (line !== undefined) terminal.out(wrapText(line, terminal.columns));
      if (terminal.isInteractive) terminal.status(renderProgress(state, terminal.columns - 1));
      else tellPlainly(event);
    },
    end() {
      terminal.status("");
    },
  };
}

/** What stays on the screen of an event. */
function describeEvent(event: TrainEvent, told: ReadonlySet<string>): string | undefined {
  switch (event.type) {
    case "start": {
      const { step, steps, pictures, heldOut, layers, trainedParameters, device } = event;
      const where = step > 0 ? `Going on after step ${step} of ${steps}` : `${countOf(steps, "step")}`;
      const split = `${countOf(pictures - heldOut.length, "picture")} to learn from, ${heldOut.length} held out`;
      const size = `${countOf(layers, "layer")}, ${countOf(trainedParameters, "weight")} (${formatBytes(trainedParameters * 2)} on disk)`;
      return `${where}: ${split}; ${size}; on ${device}.`;
    }
    case "validation":
      return describeValidation(event);
    case "sample":
      return `Step ${event.step}: preview ${event.path}`;
    case "warning":
      return told.has(event.message) ? undefined : `Note: ${event.message}`;
    case "progress":
    case "step":
    case "checkpoint":
    case "memory":
    case "preflight":
    case "declined":
    case "stopped":
    case "done":
    case "failed":
      return undefined;
  }
}

function describeValidation({ step, train, heldOut, ratio }: Extract<TrainEvent, { type: "validation" }>): string {
  const on = heldOut === null ? "training pictures (none are held out)" : "held-out pictures";
  if (step === 0)
    return `Before the first step: loss ${(heldOut ?? train).toFixed(4)} on ${on}; what follows is compared with it.`;
  return `Step ${step}: loss on ${on} is ${formatRatio(ratio)} of the base model's.`;
}
